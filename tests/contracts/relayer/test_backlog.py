"""An alarm before votes are late: what waits, at the pace of late, against what is left of the round on the ledger."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from contracts.ledger.client import Ledger
from contracts.relayer.backlog import Outlook, Pace, outlook
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import ChainUnreachableError
from migrations.schema import outbox as entries
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import LAZY, QUICK, Community, forget_lease, relay_all


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_follows_what_transactions_take() -> None:
    """The first says all, later ones a part; idle time is nobody's, and a stall counts while it lasts."""
    clock = Clock()
    pace = Pace(clock)
    assert pace.seconds == 0
    clock.now += 10
    pace.included()
    assert pace.seconds == 10
    clock.now += 500
    pace.idle()
    assert pace.seconds == 10
    clock.now += 20
    pace.included()
    assert pace.seconds == pytest.approx(13)
    clock.now += 60
    assert pace.seconds == 60


async def test_a_transaction_is_reckoned_for_each_of_what_takes_one(community: Community) -> None:
    """Round and video take one each, 300 new voters two, 301 votes four where a batch takes a hundred."""
    assert await outlook(community.engine, 10, 100) == Outlook(0)
    round_id = await community.round(7, seconds=600)
    await community.video(round_id, "a")
    await community.vote(round_id, "a", *[(member, 1) for member in range(1, 301)], (1, 2))
    found = await outlook(community.engine, 10, 100)
    assert (found.needs_s, found.round_number) == (80, 7)
    assert found.left_s == pytest.approx(600, abs=10)
    assert found.late is None
    slow = (await outlook(community.engine, 90, 100)).late
    assert slow is not None
    assert slow.startswith("What waits for the ledger takes about 12 min more, and round 7 is over there in 10 min: ")
    assert (await outlook(community.engine, 90, 2000)).late is None


async def test_votes_have_the_grace_and_a_round_that_waits_to_be_opened_has_not(community: Community) -> None:
    """The ledger opens no round after its close, but takes its votes for as long as the grace lasts."""
    round_id = await community.round(seconds=60)
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    async with community.engine.begin() as connection:
        entry = (await connection.execute(select(entries).where(entries.c.kind == "round"))).one()
        about = {**entry.payload, "grace": 600}
        await connection.execute(update(entries).where(entries.c.id == entry.id).values(payload=about))
    assert (await outlook(community.engine, 1, 100)).left_s == pytest.approx(60, abs=10)
    async with community.engine.begin() as connection:
        await connection.execute(update(entries).where(entries.c.id == entry.id).values(state="final"))
    assert (await outlook(community.engine, 1, 100)).left_s == pytest.approx(660, abs=10)
    async with community.engine.begin() as connection:
        await connection.execute(update(entries).values(state="final"))
    assert await outlook(community.engine, 1, 100) == Outlook(0)


def test_a_round_that_is_over_is_named_without_a_time() -> None:
    """Nothing is left of it: what waits is late already. What fits exactly is in time."""
    assert "takes about 30 s more, and round 3 is over there: what comes later" in str(Outlook(30, 0, 3).late)
    assert Outlook(30, 30, 3).late is None


async def test_a_chain_that_takes_nothing_raises_the_alarm_before_the_round_is_over(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """The trouble is told with what it will cost; when the chain is well again, neither is."""
    clock = Clock()
    async with FaultProxy(chain.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer = Relayer(community.engine, through, chain.signer, QUICK, pace=Pace(clock))
        round_id = await community.round(seconds=3600)
        await community.video(round_id, "a")
        await relay_all(relayer)
        await community.vote(round_id, "a", (1, 1))
        rule = proxy.add("cut", method="eth_sendRawTransaction", rate=1.0)
        for _ in range(2):
            with pytest.raises(ChainUnreachableError) as raised:
                await relayer.tick()
            relayer._in_trouble(str(raised.value), 0.0)
        clock.now += 60  # two transactions of a minute each, where there is an hour
        assert "What waits" not in str((await relayer.status()).trouble)
        clock.now += 3000
        status = await relayer.status()
        assert "does not answer" in str(status.trouble)
        assert "round 1 is over there in 60 min: what comes later is refused" in str(status.trouble)
        assert status.left_s is not None
        assert status.needs_s > status.left_s
        proxy.heal()
        assert rule.look()["done"] > 0
        await relay_all(relayer)
        relayer._trouble = None  # as `run` does after a tick without any
        status = await relayer.status()
        assert (status.trouble, status.needs_s, status.left_s) == (None, 0, None)


async def test_votes_that_are_gathered_are_no_backlog(community: Community, ledger: Ledger, chain: Any) -> None:
    """They wait by design, and however long they do no alarm is raised; nor by a relayer that is not at work."""
    clock = Clock()
    relayer = Relayer(community.engine, ledger, chain.signer, LAZY, pace=Pace(clock))
    round_id = await community.round(seconds=3600)
    await community.video(round_id, "a")
    await relay_all(relayer)
    await community.vote(round_id, "a", (1, 1))
    clock.now += 9000
    await relay_all(relayer)
    assert (await relayer.status()).trouble is None
    assert (await community.states("vote")) == {"pending": 1}
    other = Relayer(community.engine, ledger, chain.signer, LAZY, pace=Pace(clock))
    clock.now += 9000
    assert await other.tick() is False
    clock.now += 9000
    assert (await other.status()).trouble is None
    await forget_lease(community.engine)
