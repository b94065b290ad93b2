"""Originals that the bot waits for, as rows: wished for, read part by part, forgotten."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from migrations.database import now_ms, upsert_into
from migrations.schema import original_parts, originals


async def expect(connection: AsyncConnection, video_id: str, sha256: str) -> None:
    """From this transaction on a worker may write the parts of that file; what was wished for twice is one wish."""
    await connection.execute(
        upsert_into(connection, originals)
        .values(video_id=video_id, sha256=sha256, created_at_ms=now_ms())
        .on_conflict_do_nothing()
    )


async def part_or_none(database: AsyncEngine, video_id: str, sha256: str, number: int) -> bytes | None:
    """A part's bytes; None where it has not come."""
    query = select(original_parts.c.data).where(
        original_parts.c.video_id == video_id, original_parts.c.sha256 == sha256, original_parts.c.part == number
    )
    async with database.connect() as connection:
        data: bytes | None = await connection.scalar(query)
    return data


async def forget(database: AsyncEngine, video_id: str) -> None:
    """Nothing of a video is waited for any more: its parts are deleted, and no more may come."""
    async with database.connect() as connection:
        waits = await connection.scalar(select(originals.c.video_id).where(originals.c.video_id == video_id).limit(1))
    if waits is None:
        return
    async with database.begin() as connection:
        await connection.execute(delete(originals).where(originals.c.video_id == video_id))
