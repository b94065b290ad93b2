"""Rounds as rows: found by name and number, opened once, closed once."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import NoResultFound
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import RoundAlreadyOpenError, SetupMissingError
from bot.domain.rounds import Round
from bot.store import rounds
from bot.store.battles import rounds as battles
from migrations.database import now_ms
from migrations.schema import outbox
from migrations.schema import rounds as table
from migrations.states.community import RoundStatus

GUILD = 7


async def opened(database: AsyncEngine, task: str = "weather") -> Round:
    async with database.begin() as connection:
        return await rounds.open_round(
            connection, guild_id=GUILD, channel_id=1, task=task, opened_by=2, seconds=60, grace_s=30
        )


async def test_a_guild_says_once_where_its_rounds_are(database: AsyncEngine) -> None:
    """Before `/setup` one function raises and the other returns None; running it again moves the rounds."""
    assert await rounds.rounds_channel_or_none(database, GUILD) is None
    with pytest.raises(SetupMissingError):
        await rounds.rounds_channel(database, GUILD)
    for channel in (1, 2):
        await rounds.set_up_guild(database, GUILD, channel, 5)
        assert await rounds.rounds_channel(database, GUILD) == channel


async def test_a_round_is_found_by_its_number(database: AsyncEngine) -> None:
    """The latest without a number; None where there is none; `get` raises."""
    assert await rounds.latest_or_none(database, GUILD) is None
    with pytest.raises(NoResultFound):
        await rounds.get(database, 1)
    first = await opened(database)
    assert (first.number, first.status) == (1, RoundStatus.OPENING)
    assert await rounds.open_in(database, GUILD) == await rounds.get(database, first.id) == first
    with pytest.raises(RoundAlreadyOpenError, match="Round 1 is still open"):
        await opened(database)
    assert await rounds.close(database, first.id, "It closed.")
    second = await opened(database, "rain")
    assert await rounds.latest_or_none(database, GUILD) == second
    found = await rounds.by_number_or_none(database, GUILD, 1)
    assert found is not None
    assert (found.id, found.status) == (first.id, RoundStatus.CLOSED)
    assert await rounds.by_number_or_none(database, GUILD, 3) is None
    assert await rounds.by_number_or_none(database, GUILD + 1, None) is None
    assert [round_.id for round_ in await rounds.all_open(database)] == [second.id]


async def test_a_round_closes_once(database: AsyncEngine) -> None:
    """With one request to the ledger; its thread may come too late to open it."""
    round_ = await opened(database)
    async with database.begin() as connection:
        assert await rounds.lock_for_read(connection, round_.id) == round_
    assert await rounds.close(database, round_.id, "It closed.")
    assert not await rounds.close(database, round_.id, "It closed again.")
    await rounds.mark_open(database, round_.id, 99)
    late = await rounds.get(database, round_.id)
    assert (late.status, late.thread_id) == (RoundStatus.CLOSED, 99)
    async with database.connect() as connection:
        kinds = (await connection.scalars(select(outbox.c.kind).order_by(outbox.c.id))).all()
    assert kinds == ["round", "close"]
    assert [left.id for left in await rounds.closed_with_work_left(database, 0)] == [round_.id]


@pytest.mark.parametrize("closes_within", [False, True], ids=["a round of videos", "a battle round"])
async def test_the_deadline_is_the_moment_after_the_wait(database: AsyncEngine, closes_within: bool) -> None:
    """Whatever was taken while the close waited for its turn was taken before the deadline that the row has then."""
    round_ = await opened(database)

    async def close() -> None:
        if not closes_within:
            await rounds.close(database, round_.id, "It closed.")
            return
        async with database.begin() as connection:
            assert await battles.close_within(connection, round_.id, None)

    async with database.begin() as connection:  # a vote that is being written
        await connection.execute(update(table).where(table.c.id == round_.id).values(thread_id=9))
        closing = asyncio.create_task(close())
        await asyncio.sleep(0.3)
        cast_at = now_ms()
    await closing
    assert (await rounds.get(database, round_.id)).closes_at_ms >= cast_at
