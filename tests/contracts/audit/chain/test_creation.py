"""The creation of a ledger: what another constructor may have invented is not believed, whatever the code is now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from web3 import Web3

from contracts.audit.audit import audit
from contracts.audit.chain.creation import check_creation
from contracts.audit.report import Verdict
from contracts.audit.standalone import Audit
from contracts.ledger.client import Event
from contracts.rpc.history import Transaction
from tests.builders.forged_ledger import forged, made_by_a_factory
from tests.builders.ledger_bench import Bench
from tests.builders.lying_node import LyingNode, creation_code

NOBODY = "0x" + "0" * 40
ROLES = [f"0x{number:040X}" for number in (1, 2, 3)]
MAKER = Web3.to_checksum_address("0x6AC7EA33F8831EA9dcC53393aAA88B25A785DBF0")
MADE = "0xcd234A471b72ba2F1Ccf0A70FCABA648a5eeCD8d"


@pytest.fixture
async def node(bench: Bench) -> AsyncIterator[LyingNode]:
    async with LyingNode(bench) as made:
        yield made


async def test_a_ledger_by_our_creation_code_is_believed(bench: Bench, node: LyingNode) -> None:
    """Its transaction and roles are told; both auditors agree."""
    report = await audit(node.url, bench.address)
    assert (report.verdict, report.problems, report.doubts) == (Verdict.AGREES, [], [])
    assert report.creation_tx == bench.deployed["transactionHash"]
    assert (report.owner, report.relayers) == (bench.owner.address, [bench.relayer.address])
    alone = Audit(node.ask, bench.address)
    assert (alone.problems, alone.doubts) == ([], [])


async def test_a_forged_constructor_is_not_believed(bench: Bench, node: LyingNode) -> None:
    """The code is genuine, and a relayer is set of whom the log says nothing."""
    address = forged(bench, bench.stranger.address)
    report = await audit(node.url, address)
    assert report.verdict == Verdict.DIFFERS
    assert report.noticed_by == {"creation": 1}
    assert "was not made by FLock's creation code" in report.problems[0]
    assert Audit(node.ask, address).problems[0] == "Other code made the ledger: its past cannot be believed."


async def test_what_a_hidden_relayer_wrote_is_noticed(bench: Bench, node: LyingNode) -> None:
    """By the sender of its transactions, whom the log never made a relayer."""
    bench.address = forged(bench, bench.stranger.address)
    bench.do(bench.stranger, "open_round", b"r" * 32, bench.now, bench.now + 60, 0, b"m" * 32)
    report = await audit(node.url, bench.address)
    assert report.noticed_by == {"creation": 1, "transaction": 1}
    assert "whom the log never made a relayer" in report.problems[1]


async def test_a_seat_that_was_taken_beforehand_is_noticed(bench: Bench, node: LyingNode) -> None:
    """A linked voter who is seated in a round without a vote could never vote there."""
    round_number = bench.round()
    bench.voters(1)
    bench.link(1, bench.stranger)
    assert (await audit(node.url, bench.address)).ok
    node.forget()
    bench.suppose(seated={(round_number << 32): 1 << 1})
    report = await audit(node.url, bench.address)
    assert report.problems == ["Voter 1 has a seat in round 1 in the contract, unlike in the log."]


async def test_a_ledger_by_a_factory_is_not_believed(bench: Bench, node: LyingNode) -> None:
    """What made it ran before; the genuine creation code may not have been the first thing at that address."""
    address = made_by_a_factory(bench)
    report = await audit(node.url, address)
    assert report.verdict == Verdict.DIFFERS
    assert any("creates no contract by itself" in problem for problem in report.problems)
    assert Audit(node.ask, address).problems


@pytest.mark.parametrize("blocks_too", [False, True])
async def test_a_node_without_old_transactions(bench: Bench, node: LyingNode, blocks_too: bool) -> None:
    """They are looked for in their blocks; where those are gone as well, nobody can tell, and nothing passes."""
    node.answers["eth_getTransactionByHash"] = lambda _: None
    if blocks_too:
        node.answers["eth_getBlockByNumber"] = _without_transactions
    report = await audit(node.url, bench.address)
    assert report.problems == []
    assert report.verdict == (Verdict.CANNOT_TELL if blocks_too else Verdict.AGREES)
    assert report.ok is not blocks_too
    assert [doubt.split(":")[0] for doubt in report.doubts] == (
        [f"The node no longer has transaction {bench.deployed['transactionHash']}, in which the ledger's log begins"]
        if blocks_too
        else []
    )
    assert Audit(node.ask, bench.address).doubts


def _without_transactions(block: Any) -> Any:
    kept = [each if isinstance(each, str) else "0x" for each in block["transactions"]]
    return block | {"transactions": [each for each in kept if each != "0x"]}


def beginning(tx: str = "0x1") -> list[Event]:
    events = [
        ("OwnershipTransferred", {"previous_owner": NOBODY, "new_owner": ROLES[0]}),
        ("GuardianSet", {"guardian": ROLES[1]}),
        ("RelayerSet", {"relayer": ROLES[2], "allowed": True}),
    ]
    return [Event(name, args, 1, place, tx) for place, (name, args) in enumerate(events)]


def test_each_part_of_the_creation_is_looked_at() -> None:
    """Address, code, roles and first events; the genuine one passes."""
    genuine = Transaction("0x1", MAKER, None, 0, creation_code(ROLES))
    assert check_creation(MADE, beginning(), genuine).problem is None
    later = Event("PauseSet", {"by": ROLES[1], "paused": True}, 2, 9, "0x2")
    assert check_creation(MADE, [*beginning(), later], genuine).problem is None
    for transaction, events, words in (
        (replace(genuine, nonce=1), beginning(), "created another contract"),
        (replace(genuine, data=genuine.data + b"x"), beginning(), "not made by FLock's creation code"),
        (replace(genuine, data=b"x" + genuine.data), beginning(), "not made by FLock's creation code"),
        (replace(genuine, to=MAKER), beginning(), "creates no contract by itself"),
        (replace(genuine, data=creation_code(ROLES[::-1])), beginning(), "does not begin with the events"),
        (replace(genuine, data=genuine.data[:-32] + b"x" * 32), beginning(), "it names no roles"),
        (genuine, [*beginning(), replace(later, tx="0x1")], "does not begin with the events"),
        (genuine, beginning()[:2], "does not begin with the events"),
    ):
        problem = check_creation(MADE, events, transaction).problem
        assert problem is not None
        assert words in problem
