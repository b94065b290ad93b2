"""`make bench`: figures measured side by side in one run, as ratios, written to build/bench.json."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.votes import Choice, Vote
from bot.store.votes import VoteWriter
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import rounds, videos

GUILD = 1
VIDEOS = [str(n) for n in range(1, 11)]
CLICKERS = 500


async def prepare(folder: str) -> AsyncEngine:
    """A database with one open round of ten videos."""
    url = f"sqlite:///{folder}/bench.db"
    await upgrade_database(url)
    database = open_database(url)
    hour = 3_600_000
    async with database.begin() as connection:
        await connection.execute(
            insert(rounds).values(
                id=1,
                guild_id=GUILD,
                number=1,
                task="bench",
                opened_by=1,
                channel_id=1,
                status="open",
                opens_at_ms=now_ms() - hour,
                closes_at_ms=now_ms() + hour,
                chain_key="0" * 64,
            )
        )
        await connection.execute(
            insert(videos),
            [
                {
                    "id": video,
                    "guild_id": GUILD,
                    "round_id": 1,
                    "member_id": 1,
                    "member_name": "m",
                    "prompt": "p",
                    "status": "published",
                    "created_at_ms": 1,
                    "cancel_requested": False,
                    "seed": 1,
                    "model_id": "tiny",
                    "chain_key": f"{int(video):064x}",
                }
                for video in VIDEOS
            ],
        )
    return database


async def votes_per_s(database: AsyncEngine, *, at_once: int, votes: int) -> float:
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


async def main() -> dict[str, object]:
    """Every figure, beside the baseline that ran in the same minutes."""
    with tempfile.TemporaryDirectory() as folder:
        database = await prepare(folder)
        await votes_per_s(database, at_once=CLICKERS, votes=2000)  # warm
        each = await votes_per_s(database, at_once=1, votes=1000)  # one waiting member: a commit for every vote
        grouped = await votes_per_s(database, at_once=CLICKERS, votes=20000)
        await database.dispose()
    return {
        "machine": {
            "cpu_count": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()}",
        },
        "votes_commit_each_per_s": round(each),
        "votes_group_commit_per_s": round(grouped),
        "votes_vs_commit_each": round(grouped / each, 1),
    }


if __name__ == "__main__":
    result = asyncio.run(main())
    path = Path("build/bench.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
