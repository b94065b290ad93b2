"""The adapters that are offered to workers: what nobody asks for goes after a day, what is in use stays."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.store.learning.adapters import KEPT_MS, withdraw_unused
from generation.adapters.transfer import expect
from migrations.database import now_ms
from migrations.schema import adapters
from migrations.states.learning import CandidateState
from tests.builders.battle_rounds import an_open_battle
from tests.builders.releases import ADAPTER, a_candidate, a_release

FOUGHT, ARRIVING, OLD, NEW = "c" * 64, "a1" * 32, "b2" * 32, "d4" * 32


async def test_an_adapter_that_nobody_asks_for_goes_after_a_day(database: AsyncEngine) -> None:
    """A live one, one of an open battle round and one that a worker is sending stay, however old their offer is."""
    await a_release(database)
    await an_open_battle(database)
    await a_candidate(database, CandidateState.CHECKING, adapter_sha256=ARRIVING)
    async with database.begin() as connection:
        for sha256 in (ADAPTER, FOUGHT, ARRIVING, OLD, NEW):
            await expect(connection, sha256, 9)
        old = update(adapters).where(adapters.c.sha256 != NEW)
        await connection.execute(old.values(offered_at_ms=now_ms() - KEPT_MS - 1))
    await withdraw_unused(database)
    async with database.connect() as connection:
        assert set(await connection.scalars(select(adapters.c.sha256))) == {ADAPTER, FOUGHT, ARRIVING, NEW}
