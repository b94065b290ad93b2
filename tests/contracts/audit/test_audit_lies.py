"""Every lie about the log, told by a node that is honest about all else: an auditor notices it, and says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contracts.audit.audit import audit
from contracts.audit.report import Verdict
from contracts.audit.standalone import Audit
from tests.builders.ledger_bench import Bench
from tests.builders.lying_node import EVENTS, LyingNode, every_event, name_of
from tests.contracts.audit.tell_lies import Noticed, committed, table, tell_all

# Later events took back what these had done, and nothing else on the chain tells of them.
NOTICED_BY_NOBODY = {("RelayerSet", "left out"), ("GuardianSet", "left out")}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A ledger on which everything happened that can happen."""
    bench = Bench(tmp_path_factory.mktemp("lies"))
    every_event(bench)
    return bench


@pytest.fixture(scope="module")
def results(history: Bench) -> list[Noticed]:
    """The findings about every lie: that they are there shows that none ended in an exception."""
    return asyncio.run(tell_all(history))


async def test_the_truth_agrees(history: Bench) -> None:
    """Both auditors find nothing in a history with at least two events of each kind, in few requests."""
    async with LyingNode(history) as node:
        logs = node.ask([("eth_getLogs", [{"address": history.address, "fromBlock": "0x0"}])])[0]
        assert {name: [name_of(log) for log in logs].count(name) > 1 for name in EVENTS} == dict.fromkeys(EVENTS, True)
        report = await audit(node.url, history.address)
        assert (report.verdict, report.problems, report.doubts) == (Verdict.AGREES, [], [])
        assert report.noticed_by == {}
        assert node.seen[""] < len(logs)  # not one request an event
        alone = Audit(node.ask, history.address)
        assert (alone.problems, alone.doubts) == ([], [])


def test_nearly_every_lie_is_noticed(results: list[Noticed]) -> None:
    """All but those about what was taken back later."""
    assert {(each.lie.event, each.lie.kind) for each in results if not each.checks} == NOTICED_BY_NOBODY


def test_the_second_auditor_notices_every_lie_about_votes_and_videos(results: list[Noticed]) -> None:
    """It is shorter, and misses some about roles and repetitions; of what makes a result it misses none."""
    matter = ("VotesRecorded", "BallotCast", "VideoAdded", "BattleAdded")
    missed = {(each.lie.event, each.lie.kind) for each in results if each.lie.event in matter and not each.standalone}
    # Their last words are the end of where a video plays, and of a signature, which the contract checked.
    assert missed <= {("VideoAdded", "cut short"), ("BallotCast", "cut short")}
    assert [each.lie for each in results if each.standalone and not each.checks] == []


def test_the_document_has_the_table_of_these_lies(results: list[Noticed]) -> None:
    """Else `python -m tests.contracts.audit.tell_lies` writes it anew."""
    assert committed() == table(results)


async def test_other_lies_of_a_node(history: Bench) -> None:
    """About a block's time, a block, the code and the order of the log; each ends in a sentence."""
    async with LyingNode(history) as node:
        node.answers["eth_getBlockByNumber"] = lambda block: block | {"timestamp": hex(int(block["timestamp"], 16) + 1)}
        late = await audit(node.url, history.address)
        assert late.noticed_by.keys() == {"block"}
        assert any("says that it was written at" in problem for problem in late.problems)
        assert Audit(node.ask, history.address).problems
        node.answers = {"eth_getLogs": lambda logs: logs[:3] + logs[:2:-1]}
        assert "log" in (await audit(node.url, history.address)).noticed_by
        node.answers = {"eth_getTransactionByHash": lambda sent: sent | {"input": sent["input"][:-2] + "ff"}}
        assert (await audit(node.url, history.address)).verdict == Verdict.DIFFERS


async def test_a_node_that_takes_no_batches_is_asked_one_by_one(history: Bench) -> None:
    """The verdict is the same."""
    async with LyingNode(history) as node:
        node.batches = False
        report = await audit(node.url, history.address)
        assert (report.verdict, report.problems) == (Verdict.AGREES, [])


async def test_long_lists_are_drawn_from_and_the_odds_are_told(history: Bench, tmp_path: Path) -> None:
    """With a limit, the report says how likely it is that a wrong entry is found; without one everything is asked."""
    async with LyingNode(history) as node:
        few = await audit(node.url, history.address, lookups=2)
        assert few.ok
        assert (
            "Of 6 voters, 2 were looked up, drawn by chance: a single wrong one is found with a likelihood of 33 %"
            in (" ".join(few.notes))
        )
        every = await audit(node.url, history.address, lookups=None)
        assert every.ok
        assert not any("drawn" in note for note in every.notes)
