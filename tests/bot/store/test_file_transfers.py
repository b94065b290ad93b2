"""Files that the bot expects from workers: their parts come while the row stands, and go with it."""

from __future__ import annotations

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.store import file_transfers
from migrations.schema import original_parts


async def send(database: AsyncEngine, data: bytes) -> None:
    async with database.begin() as connection:
        await connection.execute(insert(original_parts).values(video_id="1", sha256="a", part=0, data=data))


async def test_parts_come_only_for_a_file_that_is_expected(database: AsyncEngine) -> None:
    with pytest.raises(IntegrityError):
        await send(database, b"x")
    async with database.begin() as connection:
        for _ in range(2):  # safe to repeat
            await file_transfers.expect(connection, "1", "a")
    assert await file_transfers.part_or_none(database, "1", "a", 0) is None
    await send(database, b"x")
    assert await file_transfers.part_or_none(database, "1", "a", 0) == b"x"


async def test_parts_go_with_the_file_that_is_forgotten(database: AsyncEngine) -> None:
    """And no more may come."""
    await file_transfers.forget(database, "1")
    async with database.begin() as connection:
        await file_transfers.expect(connection, "1", "a")
    await send(database, b"x")
    await file_transfers.forget(database, "1")
    async with database.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(original_parts)) == 0
    with pytest.raises(IntegrityError):
        await send(database, b"x")
