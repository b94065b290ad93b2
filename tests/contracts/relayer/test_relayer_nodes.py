"""The relayer over nodes that fail, lie or lag, on the embedded chain; and the one vote that spoils a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.audit.audit import audit
from contracts.ledger.client import Ledger
from contracts.relayer.attempts import chain_of
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import ChainUnreachableError, LedgerError, WrongLedgerError
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import PEPPER, QUICK, Community, ballots, forget_lease, persist, relay_all

SEND = "eth_sendRawTransaction"


STORMS: dict[str, list[dict[str, Any]]] = {
    "the first is away": [{"fault": "cut", "rate": 1.0}],
    "429 storm": [{"fault": "http_error", "status": 429, "rate": 0.5, "seed": 1}],
    "502 after each sending": [{"fault": "http_error", "status": 502, "method": SEND, "after": True, "rate": 1.0}],
    "cut before each sending": [{"fault": "cut", "method": SEND, "rate": 1.0}],
    "each sending slow": [{"fault": "slow", "method": SEND, "after": True, "seconds": 30, "rate": 1.0}],
}


@pytest.mark.parametrize("storm", STORMS)
async def test_one_bad_node_of_two_costs_nothing(
    community: Community, through: Ledger, nodes: list[FaultProxy], chain: Any, storm: str
) -> None:
    """Whatever the first node does, the second carries on; what the first may have taken is sent only as it is."""
    for fault in STORMS[storm]:
        more = dict(fault)
        nodes[0].add(more.pop("fault"), **more)
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1), (2, 2), (3, 1))
    await persist(Relayer(community.engine, through, chain.signer, replace(QUICK, rebroadcast_s=0.0)))
    assert await community.states() == {"final": 5}
    assert await ballots(through, 1, 3) == [1, 2, 1]
    sent = [row for kind in ("round", "video", "voters", "votes") for row in await community.sent(kind)]
    assert [len(row.hashes) for row in sent] == [1, 1, 1, 1]
    report = await audit(chain.url, through.address, database=community.engine, pepper=PEPPER)
    assert report.ok, report.problems


async def test_a_node_that_falls_behind_makes_nobody_vote_twice(
    community: Community, ledger: Ledger, nodes: list[FaultProxy], chain: Any
) -> None:
    """The only node goes back in time: the relayer waits for it, and neither a nonce nor a sequence is used again."""
    async with Ledger(nodes[0].url, ledger.address) as alone:
        relayer = Relayer(community.engine, alone, chain.signer, QUICK)
        round_id = await community.round()
        await community.video(round_id, "a")
        await community.vote(round_id, "a", (1, 1))
        before = await ledger.node.block_number()
        await relay_all(relayer)
        nodes[0].stale = before
        await community.vote(round_id, "a", (1, 2))
        for _ in range(5):
            with pytest.raises(LedgerError):
                await relayer.tick()
        nodes[0].heal()
        await persist(relayer)
        assert await ballots(ledger, 1, 1) == [2]
        assert [(row.seq, row.state) for row in await community.sent("votes")] == [(0, "final"), (1, "final")]


async def test_another_chain_with_our_code_at_our_address_is_refused_after_a_restart(
    community: Community, ledger: Ledger, nodes: list[FaultProxy], chain: Any
) -> None:
    """What was signed once tells a new relayer which chain is ours: not even an empty transaction goes to another."""
    round_id = await community.round()
    async with Ledger(nodes[0].url, ledger.address) as alone:
        await relay_all(Relayer(community.engine, alone, chain.signer, QUICK))
        await community.video(round_id, "a")
        await forget_lease(community.engine)
        nodes[0].chain_id = 5
        nodes[0].seen.clear()
        started = Relayer(community.engine, alone, chain.signer, QUICK)
        for _ in range(2):
            with pytest.raises(WrongLedgerError, match="serves chain 5, but this database's transactions are on chain"):
                await started.tick()
        assert nodes[0].seen[SEND] == 0
        assert await community.states() == {"final": 1, "pending": 1}
        nodes[0].heal()
        await relay_all(started)
        assert await community.states() == {"final": 2}


async def test_the_same_chain_goes_on_after_a_restart_and_an_empty_database_begins_on_any(
    community: Community, ledger: Ledger, nodes: list[FaultProxy], chain: Any
) -> None:
    """Nothing stored says nothing about the chain; what is stored is taken for nothing else than it is."""
    assert await chain_of(community.engine) is None
    await community.round()
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    assert await chain_of(community.engine) == await ledger.node.chain_id()
    await community.round(2)
    await forget_lease(community.engine)
    async with Ledger(nodes[1].url, ledger.address) as elsewhere:  # another node of the same chain
        await relay_all(Relayer(community.engine, elsewhere, chain.signer, QUICK))
    assert await community.states() == {"final": 2}


async def test_a_node_that_is_behind_refuses_nobody(
    community: Community, ledger: Ledger, nodes: list[FaultProxy], chain: Any
) -> None:
    """It knows no round of ours, and so no video can be entered: that is no refusal, and the entry waits."""
    async with Ledger(nodes[0].url, ledger.address) as alone:
        relayer = Relayer(community.engine, alone, chain.signer, replace(QUICK, recheck_s=3600.0))
        round_id = await community.round()
        before = await ledger.node.block_number()
        await relay_all(relayer)
        await community.video(round_id, "a")
        await community.vote(round_id, "a", (1, 1))
        nodes[0].stale = before
        for _ in range(3):
            with pytest.raises(ChainUnreachableError, match="lacks our latest transactions"):
                await relayer.tick()
        assert await community.states() == {"final": 1, "pending": 2}
        nodes[0].heal()
        await persist(relayer)
        assert await community.states() == {"final": 3}


async def test_a_single_node_that_changes_its_chain_stops_the_relayer(
    community: Community, ledger: Ledger, nodes: list[FaultProxy], chain: Any
) -> None:
    """Its address was given to another chain: nothing is sent there, and the operator reads what it serves now."""
    async with Ledger(nodes[0].url, ledger.address) as alone:
        relayer = Relayer(community.engine, alone, chain.signer, QUICK)
        await community.round()
        await relay_all(relayer)
        nodes[0].chain_id = 5
        relayer._in_trouble("the node was away for a moment", 0.0)
        await community.round(2)
        sent = nodes[0].seen[SEND]
        with pytest.raises(WrongLedgerError, match="serves chain 5, but this database's transactions are on chain"):
            await relayer.tick()
        assert nodes[0].seen[SEND] == sent
        nodes[0].heal()
        await persist(relayer)
        assert await community.states() == {"final": 2}
