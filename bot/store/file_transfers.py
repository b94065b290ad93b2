"""Files that the bot expects from workers on other machines: expected, read part by part, forgotten."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from migrations.database import now_ms, upsert_into
from migrations.schema import original_parts, originals


async def expect(connection: AsyncConnection, video_id: str, sha256: str) -> None:
    """Expect a file: once the caller's transaction commits, a worker may write its parts. Safe to repeat."""
    await connection.execute(
        upsert_into(connection, originals)
        .values(video_id=video_id, sha256=sha256, created_at_ms=now_ms())
        .on_conflict_do_nothing()
    )


async def part_or_none(database: AsyncEngine, video_id: str, sha256: str, number: int) -> bytes | None:
    """Return the bytes of a part; None where the part has not arrived."""
    query = select(original_parts.c.data).where(
        original_parts.c.video_id == video_id, original_parts.c.sha256 == sha256, original_parts.c.part == number
    )
    async with database.connect() as connection:
        data: bytes | None = await connection.scalar(query)
    return data


async def forget(database: AsyncEngine, video_id: str) -> None:
    """Expect no file of a video any more: its parts are deleted, and no more may come."""
    async with database.connect() as connection:
        expected = await connection.scalar(
            select(originals.c.video_id).where(originals.c.video_id == video_id).limit(1)
        )
    if expected is None:
        return
    async with database.begin() as connection:
        await connection.execute(delete(originals).where(originals.c.video_id == video_id))
