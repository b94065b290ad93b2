"""What a vote costs on chain: real transactions on a real EVM, by their receipts, 21,000 and calldata included."""

from __future__ import annotations

import tempfile
from pathlib import Path

from web3 import Web3
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.compile import compile_ledger
from tests.benchmarks.figures import Figure
from tests.builders.accounts import member
from tests.builders.ledger_bench import Bench
from tests.contracts.measure_gas import Round, spread, used

BASELINE = Path(__file__).with_name("baseline.vy")
SOLIDITY = (70_155, 53_055)  # gas of the same logic there (solc 0.8.37): a video's first vote, and each one later
VIDEO = "3f8a2c1e-9b7d-4c65-8e0f-5d2b7a916c43"


async def measure(*, votes: int = 1_000, videos: int = 10, registry: int = 10_000) -> list[Figure]:
    """One batch each of so many first votes: all on one video; of random members on random videos; of few among many.

    All of the voters are registered before; they take their seats in the round within the batch that is measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.voters(votes)
        Round(bench, 1, 1).vote([(1025, 1)])  # the first batch of all also pays for seq and digest
        one = Round(bench, 2, 1)
        dense = one.vote([(one.videos[0], voter) for voter in range(1, votes + 1)])
        some = Round(bench, 3, videos)
        typical = some.vote(spread(some.videos, votes, votes))
        bench.voters(registry - votes, first=votes + 1)
        many = Round(bench, 4, videos)
        scattered = many.vote(spread(many.videos, votes, registry))
        first, later = _one_vote_a_transaction(bench)
        bench.blocks.close()
    return [
        Figure(
            "gas_per_vote_baseline",
            later,
            "a transaction a vote, counted by msg.sender, as FLock began (tests/benchmarks/baseline.vy); the first "
            f"vote on a video {first:,}; in Solidity the same logic cost {SOLIDITY[1]:,}, the first {SOLIDITY[0]:,}",
        ),
        Figure(
            "gas_vs_baseline_dense",
            round(later * votes / dense, 1),
            f"the baseline over a vote in the dense batch of {votes:,}",
        ),
        Figure(
            f"gas_per_vote_dense_{votes}",
            round(dense / votes),
            f"{votes:,} members on one video, one batch",
            at_most=900,
        ),
        Figure(
            f"gas_per_vote_typical_{votes}",
            round(typical / votes),
            f"random votes of {votes:,} members on {videos} videos, one batch",
            at_most=2_600,
        ),
        Figure(
            f"gas_per_vote_registry_{registry}",
            round(scattered / votes),
            f"{votes:,} random votes out of {registry:,} members on {videos} videos, one batch",
            at_most=3_000,
        ),
    ]


def _one_vote_a_transaction(bench: Bench, members: int = 10) -> tuple[int, int]:
    """Gas of a video's first vote, and of each later one: all up, so that they share a tally."""
    made = compile_ledger(BASELINE)
    address = get_create_address(bench.owner.address, Nonce(bench._nonces[bench.owner.address]))
    bench._send(bench.owner, "", bytes.fromhex(made["bytecode"][2:]))
    call = Web3().eth.contract(abi=made["abi"]).encode_abi("vote", args=[VIDEO, 1])
    paid = []
    for number in range(members):
        voter = member(number)
        bench._send(bench.owner, voter.address, b"", value=10**18)
        receipt = bench._send(voter, str(address), bytes.fromhex(call[2:]))
        if receipt["status"] != "0x1" or len(receipt["logs"]) != 1:
            raise AssertionError("The baseline did not take a vote.")
        paid.append(used(receipt))
    first, *later = paid
    if len(set(later)) != 1:
        raise AssertionError(f"The baseline's later votes cost unlike: {later}")
    return first, later[0]
