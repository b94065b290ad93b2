"""Feedback and reports that members wrote about videos: one of each for a member and video; a new one replaces it."""

from __future__ import annotations

from sqlalchemy import Table, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.database import now_ms, upsert_into
from migrations.schema import feedback, reports, videos


async def _write(database: AsyncEngine, table: Table, column: str, video_id: str, member_id: int, text: str) -> None:
    upsert = upsert_into(database, table)
    async with database.begin() as connection:
        values = {column: text, "created_at_ms": now_ms()}  # of when it is written, and not of when it waited
        await connection.execute(
            upsert.values(video_id=video_id, member_id=member_id, **values).on_conflict_do_update(
                index_elements=["video_id", "member_id"], set_=values
            )
        )


async def save_feedback(database: AsyncEngine, video_id: str, member_id: int, text: str) -> None:
    """Save a member's feedback on a video."""
    await _write(database, feedback, "text", video_id, member_id, text)


async def save_report(database: AsyncEngine, video_id: str, member_id: int, reason: str) -> None:
    """Save a member's report of a video, for the moderators."""
    await _write(database, reports, "reason", video_id, member_id, reason)


async def count_in_round(database: AsyncEngine, round_id: int) -> tuple[int, int]:
    """Return the number of comments and the number of reports on the videos of a round."""
    async with database.connect() as connection:
        numbers = [
            await connection.scalar(
                select(func.count())
                .select_from(table)
                .join(videos, videos.c.id == table.c.video_id)
                .where(videos.c.round_id == round_id)
            )
            for table in (feedback, reports)
        ]
    return int(numbers[0] or 0), int(numbers[1] or 0)
