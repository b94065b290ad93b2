"""Invented refusals: a node that tells of one, once or for ever, costs no vote that the ledger would take."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from contracts.ledger import calldata
from contracts.ledger.client import Ledger
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.planning.refusals import ROUND_CLOSED, Refusals
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import LedgerError
from migrations.schema import outbox, rounds
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import QUICK, Community, ballots, persist, relay_all

BATCH = calldata.batch(0, 1, [], [1])[:4]
OTHER = "ledger: no such seat"
CAREFUL = replace(QUICK, drafts=DraftSettings(flush_votes=500, flush_age_s=0.0, confirm_s=1.0))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def some_ticks(relayer: Relayer, seconds: float) -> None:
    async with asyncio.timeout(seconds + 20):
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            with contextlib.suppress(LedgerError):
                await relayer.tick()
            await asyncio.sleep(0.05)


async def voted(community: Community, relayer: Relayer) -> int:
    """A round with a video on the ledger, and three votes that wait."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await relay_all(relayer)
    await community.vote(round_id, "a", (1, 1), (2, 2), (3, 1))
    return round_id


async def test_a_refusal_counts_when_it_is_told_again(community: Community, ledger: Ledger) -> None:
    """After the time, and not before; another entry's or another reason is another refusal."""
    round_id = await community.round()
    await community.video(round_id, "a")
    async with community.engine.begin() as connection:
        first, second = await connection.scalars(select(outbox.c.id).order_by(outbox.c.id))
    clock = Clock()
    refusals = Refusals(community.engine, ledger.node, 20.0, clock)
    assert "has to say so again after 20 s" in str(await refusals.doubt_of([first], OTHER))
    clock.now = 19.0
    assert await refusals.doubt_of([first], OTHER) is not None
    assert await refusals.doubt_of([second], OTHER) is not None
    assert await refusals.doubt_of([first], "ledger: late") is not None
    clock.now = 20.0
    assert await refusals.doubt_of([first], OTHER) is None
    assert await refusals.doubt_of([second], OTHER) is not None
    assert await refusals.doubt_of([first], OTHER) is not None  # and then from the beginning
    assert await Refusals(community.engine, ledger.node, 0.0).doubt_of([first], OTHER) is None


async def test_no_round_is_closed_before_its_time(community: Community, ledger: Ledger) -> None:
    """However often it is told; from its time on, or where the bot itself closed it, it is a refusal like any other."""
    round_id = await community.round(seconds=3600)
    async with community.engine.begin() as connection:
        [entry] = await connection.scalars(select(outbox.c.id))
    clock = Clock()
    refusals = Refusals(community.engine, ledger.node, 20.0, clock)
    for clock.now in (0.0, 30.0, 3000.0):
        assert "of a round that has 3" in str(await refusals.doubt_of([entry], ROUND_CLOSED))
    for change in ({"status": "closing"}, {"status": "open", "closes_at_ms": 1}):
        async with community.engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(**change))
        assert await refusals.doubt_of([entry], ROUND_CLOSED) is not None
        clock.now += 20.0
        assert await refusals.doubt_of([entry], ROUND_CLOSED) is None


@pytest.mark.parametrize("lie", [ROUND_CLOSED, OTHER])
async def test_an_only_node_that_lies_for_a_while_loses_no_vote(
    community: Community, ledger: Ledger, nodes: list[FaultProxy], chain: Any, lie: str
) -> None:
    """Of a closed round for as long as the round is open; of anything else for less than the time."""
    settings = CAREFUL if lie == ROUND_CLOSED else replace(CAREFUL, drafts=replace(CAREFUL.drafts, confirm_s=60.0))
    async with Ledger(nodes[0].url, ledger.address) as alone:
        relayer = Relayer(community.engine, alone, chain.signer, settings)
        await voted(community, relayer)
        nodes[0].refusal = (lie, BATCH)
        await some_ticks(relayer, 2.5)
        assert nodes[0].lied == {lie}
        assert await community.states("vote") == {"pending": 3}
        nodes[0].heal()
        await persist(relayer)
        assert await ballots(ledger, 1, 3) == [1, 2, 1]


async def test_a_refusal_that_stays_is_believed(
    community: Community, ledger: Ledger, nodes: list[FaultProxy], chain: Any
) -> None:
    """It is the ledger's word then, as far as anybody here can tell."""
    async with Ledger(nodes[0].url, ledger.address) as alone:
        relayer = Relayer(community.engine, alone, chain.signer, CAREFUL)
        await voted(community, relayer)
        nodes[0].refusal = (OTHER, BATCH)
        async with asyncio.timeout(60):
            while await community.states("vote") != {"rejected": 3}:
                await some_ticks(relayer, 0.2)


async def test_a_second_node_is_asked(
    community: Community, through: Ledger, ledger: Ledger, nodes: list[FaultProxy], chain: Any
) -> None:
    """So a first one that lies for ever holds up nobody, and loses nothing."""
    relayer = Relayer(community.engine, through, chain.signer, CAREFUL)
    await voted(community, relayer)
    nodes[0].refusal = (OTHER, BATCH)
    async with asyncio.timeout(60):
        while (await community.states("vote")).get("final") != 3:
            await some_ticks(relayer, 0.2)
    assert nodes[0].lied == {OTHER}
    assert await ballots(ledger, 1, 3) == [1, 2, 1]
