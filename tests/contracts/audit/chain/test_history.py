"""The log beside the chain's own history: calls that came another way, and transactions that a node has no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.audit.audit import audit
from contracts.audit.chain.history import WRITES
from contracts.audit.report import Verdict
from contracts.ledger.artifact import ledger_artefact
from tests.builders.ledger_bench import CODEC, Bench
from tests.builders.lying_node import EVENTS, LyingNode


@pytest.fixture
async def node(bench: Bench) -> AsyncIterator[LyingNode]:
    async with LyingNode(bench) as made:
        yield made


def test_every_function_that_writes_is_known() -> None:
    """With the events that it writes."""
    functions = {
        abi["name"]
        for abi in ledger_artefact().abi
        if abi["type"] == "function" and abi["stateMutability"] not in ("view", "pure")
    }
    assert WRITES.keys() == functions
    assert {name for names in WRITES.values() for name in names} == EVENTS.keys()


async def test_a_call_by_way_of_another_contract_is_noted(bench: Bench, node: LyingNode) -> None:
    """Its arguments stand in no transaction to the ledger: they cannot be compared, which is no contradiction."""
    forwarder = bench.put(bytes.fromhex("36600060003760006000366000600073" + bench.address[2:] + "5af1600055"))
    bench.do(bench.owner, "set_relayer", forwarder, True)
    data = CODEC.encode_abi("open_round", args=[b"r" * 32, bench.now, bench.now + 60, 0, b"m" * 32])
    assert bench._send(bench.stranger, forwarder, bytes.fromhex(data[2:]))["status"] == "0x1"
    report = await audit(node.url, bench.address)
    assert (report.verdict, [each.number for each in report.rounds]) == (Verdict.AGREES, [1])
    assert any(
        note.startswith("Transactions that reached the ledger by way of another contract") for note in report.notes
    )


async def test_transactions_that_are_gone_are_a_doubt(bench: Bench, node: LyingNode) -> None:
    """The creation is still to be had: the rest of the log is only what the node says of it."""
    number = bench.round()
    bench.video(number)

    def kept(sent: Any) -> Any:
        return sent if sent["hash"] == bench.deployed["transactionHash"] else None

    node.answers = {
        "eth_getTransactionByHash": kept,
        "eth_getBlockByNumber": lambda block: (
            block | {"transactions": [each for each in block["transactions"] if isinstance(each, str)]}
        ),
    }
    report = await audit(node.url, bench.address)
    assert (report.verdict, report.problems) == (Verdict.CANNOT_TELL, [])
    assert "The node no longer has 2 of 3 transactions" in report.doubts[0]


async def test_a_block_that_is_gone_is_a_doubt(bench: Bench, node: LyingNode) -> None:
    """Nobody knows when its events came."""
    bench.round()
    gone = hex(int(bench.deployed["blockNumber"], 16) + 1)
    bench.voters(1)
    node.answers["eth_getBlockByNumber"] = lambda block: None if block["number"] == gone else block
    report = await audit(node.url, bench.address)
    assert (report.verdict, report.problems) == (Verdict.CANNOT_TELL, [])
    assert f"The node has no block {int(gone, 16)}" in report.doubts[0]
