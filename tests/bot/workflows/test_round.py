"""A closed round waits for the ledger as long as it takes, and no longer than there is something to wait for."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.app import App
from bot.store import rounds
from bot.workflows import round as round_life
from bot.workflows.round import RoundLife
from migrations.schema import outbox
from tests.bot.store.test_vote_writer import add_round


@pytest.fixture
async def life(database: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> RoundLife:
    """A closed round with its entries under way, and a life that looks often."""
    monkeypatch.setattr(round_life, "LEDGER_POLL_S", 0.01)
    await add_round(database, 1, closes_in_s=-1, status="closed")
    async with database.begin() as connection:
        for kind in ("round", "vote", "close"):
            about = {"kind": kind, "round_id": 1, "payload": {}, "state": "pending", "created_at_ms": 1}
            await connection.execute(insert(outbox).values(**about))
    return RoundLife(cast(App, SimpleNamespace(database=database)))


async def waits(life: RoundLife) -> bool:
    """Whether the life still waits after a while."""
    waiting = asyncio.create_task(life._wait_for_ledger(1))
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return not done


async def reject(database: AsyncEngine, kind: str) -> None:
    async with database.begin() as connection:
        await connection.execute(
            update(outbox).where(outbox.c.kind == kind).values(state="rejected", reason="It was over.")
        )


async def test_it_waits_while_the_result_is_on_its_way(database: AsyncEngine, life: RoundLife) -> None:
    """A refused vote is no reason to stop; the result is."""
    await reject(database, "vote")
    assert await waits(life)
    await rounds.change(database, 1, finalized_tx="0x" + "ab" * 32)
    assert not await waits(life)


@pytest.mark.parametrize("kind", ["round", "close"])
async def test_it_ends_when_the_ledger_refused_the_round_or_its_end(
    database: AsyncEngine, life: RoundLife, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The operator reads which round it was, why, and what helps."""
    await reject(database, kind)
    with caplog.at_level(logging.ERROR):
        assert not await waits(life)
    assert "Round 1 will never be on the ledger: It was over." in caplog.text
    assert "FLOCK_CHAIN_GRACE_S" in caplog.text
    assert (await rounds.get(database, 1)).status == "closed"
