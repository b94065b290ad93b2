"""Active voters are those who voted lately, and often enough, in this server."""

from __future__ import annotations

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.store.learning.voters import active_voters
from migrations.schema import votes
from tests.bot.store.test_vote_writer import GUILD, add_round, add_video


async def test_only_members_with_enough_votes_and_a_late_one_are_active(database: AsyncEngine) -> None:
    """One voted once, one long ago, one three times, the last of them late."""
    await add_round(database, 50)
    for video_id in ("10", "11", "12"):
        await add_video(database, video_id, 50)
    cast = [(1, "10", 100), *((2, video, 1) for video in ("10", "11", "12"))]
    cast += [(3, "10", 1), (3, "11", 1), (3, "12", 90)]
    async with database.begin() as connection:
        for member_id, video_id, at_ms in cast:
            values = {"member_id": member_id, "video_id": video_id, "choice": 1, "source": "button"}
            await connection.execute(insert(votes).values(**values, cast_at_ms=at_ms))
        assert await active_voters(connection, GUILD, since_ms=50, votes=3) == 1
        assert await active_voters(connection, GUILD, since_ms=0, votes=3) == 2
        assert await active_voters(connection, GUILD, since_ms=50, votes=0) == 2
        assert await active_voters(connection, GUILD + 1, since_ms=0, votes=0) == 0
