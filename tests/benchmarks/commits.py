"""Group commit against one commit a vote: the same writer, database and machine, minutes apart."""

from __future__ import annotations

import asyncio
import tempfile
import time

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.votes import Choice, Vote
from bot.store.vote_writer import VoteWriter
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import rounds, videos
from tests.benchmarks.figures import Figure

GUILD = 1
VIDEOS = [str(n) for n in range(1, 11)]
HOUR_MS = 3_600_000


async def measure(*, waiting: int = 500, grouped: int = 20_000, alone: int = 1_000) -> list[Figure]:
    """`grouped` votes of `waiting` members who wait for their commit at a time, beside `alone` votes of one."""
    with tempfile.TemporaryDirectory() as folder:
        database = await _prepare(folder)
        await _votes_per_s(database, at_once=waiting, votes=min(2_000, grouped))  # warm
        each = await _votes_per_s(database, at_once=1, votes=alone)
        together = await _votes_per_s(database, at_once=waiting, votes=grouped)
        await database.dispose()
    beside = f"{each:,.0f} votes/s with a commit for each, against {together:,.0f}/s with {waiting} members waiting"
    return [Figure("votes_vs_commit_each", round(together / each, 1), beside, at_least=10)]


async def _prepare(folder: str) -> AsyncEngine:
    """A database with one open round of ten videos."""
    url = f"sqlite:///{folder}/bench.db"
    await upgrade_database(url)
    database = open_database(url)
    now = now_ms()
    round_ = {
        "id": 1, "guild_id": GUILD, "number": 1, "task": "bench", "opened_by": 1, "channel_id": 1, "status": "open",
        "opens_at_ms": now - HOUR_MS, "closes_at_ms": now + HOUR_MS, "chain_key": "0" * 64,
    }  # fmt: skip
    video = {
        "guild_id": GUILD, "round_id": 1, "member_id": 1, "member_name": "m", "prompt": "p", "status": "published",
        "created_at_ms": 1, "cancel_requested": False, "seed": 1, "model_id": "tiny",
    }  # fmt: skip
    async with database.begin() as connection:
        await connection.execute(insert(rounds).values(**round_))
        named = [{**video, "id": number, "chain_key": f"{int(number):064x}"} for number in VIDEOS]
        await connection.execute(insert(videos), named)
    return database


async def _votes_per_s(database: AsyncEngine, *, at_once: int, votes: int) -> float:
    """Acknowledged votes a second, with so many members waiting for theirs at a time."""
    writer = VoteWriter(database, b"p" * 32)
    writer.start()
    numbers = iter(range(votes))

    async def member() -> None:
        for number in numbers:
            choice = Choice.UP if (number // 5000) % 2 == 0 else Choice.DOWN
            await writer.cast(Vote(GUILD, VIDEOS[number % 10], 1 + number % 5000, choice, "button"))

    begun = time.perf_counter()
    await asyncio.gather(*(member() for _ in range(at_once)))
    seconds = time.perf_counter() - begun
    await writer.close()
    return votes / seconds
