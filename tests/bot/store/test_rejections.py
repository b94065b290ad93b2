"""Who was refused by the ledger and has not heard of it: each voter their own, and once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.votes import Choice
from bot.store import rejections as refused
from bot.store.vote_writer import VoteWriter
from contracts.outbox.entries import voter_id
from migrations.schema import outbox, rounds
from tests.bot.store.test_vote_writer import GUILD, MEMBER, PEPPER, add_round, add_video, vote

ME, OTHER = (voter_id(PEPPER, GUILD, member) for member in (MEMBER, MEMBER + 1))


@pytest.fixture
async def writer(database: AsyncEngine) -> AsyncIterator[VoteWriter]:
    """Two rounds, the first of which has two videos."""
    for number, videos in ((1, ("10", "11")), (2, ("20",))):
        await add_round(database, number)
        for video in videos:
            await add_video(database, video, number)
    writer = VoteWriter(database, PEPPER)
    writer.start()
    yield writer
    await writer.close()


async def reject(database: AsyncEngine, voter: str, *videos: str, reason: str = "It came late.") -> None:
    async with database.begin() as connection:
        mine = (outbox.c.voter_id == voter, outbox.c.video_id.in_(videos), outbox.c.state == "pending")
        await connection.execute(update(outbox).where(*mine).values(state="rejected", reason=reason))


async def found(database: AsyncEngine, voter: str = ME, guild: int = GUILD) -> list[tuple[int, int, str]]:
    return [(one.number, one.votes, one.reason) for one in await refused.list_untold(database, guild, voter)]


async def test_what_was_refused_is_told_once(database: AsyncEngine, writer: VoteWriter) -> None:
    """By rounds, and nothing of it to anybody else or elsewhere; what is refused later is told then."""
    for video in ("10", "11", "20"):
        await writer.cast(vote(Choice.UP, video=video))
        await writer.cast(vote(Choice.DOWN, video=video, member=MEMBER + 1))
    assert await found(database) == []
    await reject(database, ME, "10", "11")
    assert await found(database) == [(1, 2, "It came late.")]
    assert await found(database, OTHER) == await found(database, ME, GUILD + 1) == []
    await refused.mark_told(database, await refused.list_untold(database, GUILD, ME))
    assert await found(database) == []
    await reject(database, OTHER, "10")
    await reject(database, ME, "20", reason="It was over.")
    assert await found(database) == [(2, 1, "It was over.")]
    assert await found(database, OTHER) == [(1, 1, "It came late.")]


async def test_a_choice_that_was_made_anew_was_not_refused(database: AsyncEngine, writer: VoteWriter) -> None:
    """The later one is on its way; if that is refused too, both are told as the one vote that they are."""
    await writer.cast(vote(Choice.UP))
    await reject(database, ME, "10")
    await writer.cast(vote(Choice.DOWN))
    assert await found(database) == []
    await reject(database, ME, "10", reason="Again.")
    assert await found(database) == [(1, 1, "Again.")]


async def test_what_lies_long_back_is_left_to_the_receipt(database: AsyncEngine, writer: VoteWriter) -> None:
    """Only the last rounds are looked at, so that a press of a button costs the same for ever."""
    await writer.cast(vote(Choice.UP))
    await reject(database, ME, "10")
    await add_round(database, refused.ROUNDS_BACK)
    assert await found(database) == [(1, 1, "It came late.")]
    await add_round(database, 1 + refused.ROUNDS_BACK)
    assert await found(database) == []


async def test_being_told_changes_nothing_else(database: AsyncEngine, writer: VoteWriter) -> None:
    """The entry keeps its state and what it says; an entry of a ballot keeps whose part it is."""
    await writer.cast(vote(Choice.UP))
    await reject(database, ME, "10")
    async with database.begin() as connection:
        await connection.execute(update(outbox).values(kind="signed", payload={"ballot": 9}))
        await connection.execute(update(rounds).values(status="closed"))
    await refused.mark_told(database, await refused.list_untold(database, GUILD, ME))
    async with database.connect() as connection:
        [row] = (await connection.execute(outbox.select())).all()
    assert (row.state, row.reason, row.payload) == ("rejected", "It came late.", {"ballot": 9, "told": True})
