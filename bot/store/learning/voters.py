"""The members who may be expected to vote in a battle: those who voted lately, and often enough before."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from migrations.database import now_ms
from migrations.schema import videos
from migrations.schema import votes as votes_table

ACTIVE_DAYS = 30  # a voter of so long ago may not come back


def active_since_ms() -> int:
    """Return the moment since which an active voter has voted."""
    return now_ms() - ACTIVE_DAYS * 86_400_000


async def active_voters(connection: AsyncConnection, guild_id: int, *, since_ms: int, votes: int) -> int:
    """Return how many members of a guild have cast so many votes there, one of them since then."""
    of_guild = (
        select(votes_table.c.member_id)
        .join(videos, videos.c.id == votes_table.c.video_id)
        .where(videos.c.guild_id == guild_id)
        .group_by(votes_table.c.member_id)
        .having(func.count() >= max(votes, 1), func.max(votes_table.c.cast_at_ms) >= since_ms)
        .subquery()
    )
    return int(await connection.scalar(select(func.count()).select_from(of_guild)) or 0)
