"""What a vote costs on chain: real transactions on a real EVM, by their receipts, 21,000 and calldata included."""

from __future__ import annotations

import tempfile
from pathlib import Path

from web3 import Web3
from web3.types import Nonce
from web3.utils.address import get_create_address

from tests.benchmarks.figures import Figure
from tests.contracts.accounts import member
from tests.contracts.conftest import Bench
from tests.contracts.measure_gas import Round, spread, used

BASELINE = Path(__file__).with_name("baseline.vy")


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
        before = _one_vote_a_transaction(bench)
        bench.blocks.close()
    return [
        Figure(
            "gas_per_vote_baseline",
            round(before),
            f"each vote a transaction of its member's (baseline.vy): {before * votes / dense:.0f} times "
            "the dense batch",
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


def _one_vote_a_transaction(bench: Bench, members: int = 5) -> float:
    """Gas of a vote as FLock began, on a video that others voted on before; it needs no relayer, and no registry."""
    from vyper.compiler import compile_code

    made = compile_code(BASELINE.read_text(), output_formats=["abi", "bytecode"])
    codec = Web3().eth.contract(abi=made["abi"])
    address = get_create_address(bench.owner.address, Nonce(bench._nonces[bench.owner.address]))
    bench._send(bench.owner, "", bytes.fromhex(made["bytecode"][2:]))
    paid = []
    for number in range(members):
        who = member(number)
        bench._send(bench.owner, who.address, b"", value=10**18)
        data = codec.encode_abi("vote", args=["d3b07384-d9a0-4c9b-8f3e-0b1f6e2a7c55", True])
        paid.append(used(bench._send(who, str(address), bytes.fromhex(data[2:]))))
    return sum(paid[1:]) / (members - 1)
