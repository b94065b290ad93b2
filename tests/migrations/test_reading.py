"""Reads read: they wait for nobody, hold nobody up, and cannot write. Writers wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.votes import Choice, Vote
from bot.store.vote_writer import VoteWriter
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import leases, rounds, videos, votes

GUILD = 7
ANY_CASE = 30  # seconds: an error, not a measure


@pytest.fixture
async def video(database: AsyncEngine) -> str:
    """A video that takes votes."""
    now = now_ms()
    async with database.begin() as connection:
        await connection.execute(
            insert(rounds).values(
                id=1, guild_id=GUILD, number=1, task="t", opened_by=1, channel_id=1, status="open",
                opens_at_ms=now - 1000, closes_at_ms=now + 3_600_000, chain_key="1" * 64,
            )
        )  # fmt: skip
        await connection.execute(
            insert(videos).values(
                id="1", guild_id=GUILD, round_id=1, member_id=1, member_name="m", prompt="p", status="published",
                created_at_ms=now, cancel_requested=False, seed=1, model_id="tiny", chain_key="2" * 64,
            )
        )  # fmt: skip
    return "1"


@pytest.fixture
async def writer(database: AsyncEngine) -> AsyncIterator[VoteWriter]:
    writer = VoteWriter(database, b"p" * 32)
    writer.start()
    yield writer
    await writer.close()


async def counted(database: AsyncEngine) -> int:
    async with database.connect() as connection:
        return int(await connection.scalar(select(func.count()).select_from(votes)) or 0)


async def test_a_vote_is_committed_while_somebody_reads(database: AsyncEngine, writer: VoteWriter, video: str) -> None:
    """A reader in the middle of a long look holds up no vote, and goes on seeing what it saw at its beginning."""
    async with database.connect() as reader:
        rows = await reader.stream(select(videos.c.id).union_all(select(videos.c.id)))
        assert await anext(rows)
        async with asyncio.timeout(ANY_CASE):  # as long as its busy timeout it would wait in vain
            told = await writer.cast(Vote(GUILD, video, 11, Choice.UP, "button"))
        assert told.changed
        assert await anext(rows)
        await rows.close()
        if database.dialect.name == "sqlite":  # where a transaction is a snapshot
            assert await reader.scalar(select(func.count()).select_from(votes)) == 0
    assert await counted(database) == 1


async def test_nobody_waits_for_a_writer_to_read(database: AsyncEngine, video: str) -> None:
    """What a writer has not committed yet is not seen, and not waited for."""
    async with database.begin() as connection:
        await connection.execute(update(videos).where(videos.c.id == video).values(prompt="changed"))
        async with asyncio.timeout(ANY_CASE), database.connect() as reader:
            assert await reader.scalar(select(videos.c.prompt)) == "p"
    async with database.connect() as reader:
        assert await reader.scalar(select(videos.c.prompt)) == "changed"


async def test_two_writers_wait_for_each_other(sqlite_url: str) -> None:
    """Each reads a number and writes the next one: none is lost, and nobody is told that the database is locked."""
    await upgrade_database(sqlite_url)
    engines = [open_database(sqlite_url), open_database(sqlite_url)]  # two processes, as it were
    async with engines[0].begin() as connection:
        await connection.execute(insert(leases).values(name="n", owner="", until_ms=0))

    async def count_up(database: AsyncEngine) -> None:
        for _ in range(20):
            async with database.begin() as connection:
                number = await connection.scalar(select(leases.c.until_ms))
                await asyncio.sleep(0)  # the other one has its chance
                await connection.execute(update(leases).values(until_ms=number + 1))

    await asyncio.gather(*(count_up(database) for database in engines * 2))
    async with engines[1].connect() as connection:
        assert await connection.scalar(select(leases.c.until_ms)) == 80
    for database in engines:
        await database.dispose()


async def test_a_write_is_refused_where_only_reads_belong(database: AsyncEngine, video: str) -> None:
    """However it is written; and nothing of it stays with the connection when it is handed on."""
    taken = insert(leases).values(name="n", owner="o", until_ms=1)
    for statement in (delete(videos), update(videos).values(prompt="x"), text("DELETE FROM videos"), taken):
        async with database.connect() as reader:
            with pytest.raises(DBAPIError, match=r"readonly database|read-only transaction"):
                await reader.execute(statement)
    for _ in range(3):  # the pool hands out the same connections in turns
        async with database.begin() as connection:
            changed = await connection.execute(update(videos).where(videos.c.id == video).values(prompt="y"))
            assert changed.rowcount == 1
        async with database.connect() as reader:
            assert await reader.scalar(select(videos.c.prompt)) == "y"
            with pytest.raises(DBAPIError):
                await reader.execute(delete(leases))


async def test_a_failed_writer_writes_nothing(database: AsyncEngine, video: str) -> None:
    """What raises inside the block is rolled back, and the next one can write."""
    with pytest.raises(ZeroDivisionError):
        async with database.begin() as connection:
            await connection.execute(update(videos).values(prompt="half"))
            raise ZeroDivisionError
    async with database.begin() as connection:
        assert await connection.scalar(select(videos.c.prompt)) == "p"
        await connection.execute(update(videos).values(prompt="whole"))
    async with database.connect() as reader:
        assert await reader.scalar(select(videos.c.prompt)) == "whole"
