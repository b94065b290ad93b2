"""The durable engine, in real processes that are really killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.queue.engine import Engine, QueueSpec, WorkCancelledError
from generation.queue.reaper import ReaperTimes
from migrations.leases import release_lease, take_lease
from migrations.schema import guilds

QUICK = ReaperTimes(beat=0.3, lease=1.5, scan=0.3, fence=1.2)
GUILD = {"guild_id": 1, "rounds_channel_id": 2, "set_up_by": 3, "updated_at_ms": 4}

WORKER = """
import asyncio, os, sys
from generation.queue.engine import Engine, QueueSpec
from generation.queue.reaper import ReaperTimes
from migrations.database import open_database

async def main(url, journal):
    database = open_database(url)
    times = ReaperTimes(beat=0.3, lease=1.5, scan=0.3, fence=1.2)
    engine = Engine(database, url, role="worker", queues=[QueueSpec("gpu.test", 1, one_per_member=True)], times=times)

    def note(word):
        with open(journal, "a") as file:
            file.write(f"{word} {os.getpid()}\\n")

    async def first(job):
        note(f"first:{job['id']}")
        return 1

    async def second(job):
        note(f"second:{job['id']}")
        if job.get("fatal"):
            os.kill(os.getpid(), 9)
        await asyncio.sleep(job["seconds"])
        note(f"done:{job['id']}")
        return 2

    @engine.workflow("job")
    async def work(job):
        a = await Engine.step("first", first, job)
        b = await Engine.step("second", second, job)
        return {"sum": a + b}

    await engine.launch()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(15, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await engine.close()
    await database.dispose()

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


class Workers:
    """Real worker processes over one database, and the journal in which they say what they do."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.journal = folder / "journal"
        self.journal.touch()
        self.running: list[asyncio.subprocess.Process] = []

    async def start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, self.url, str(self.journal), stdout=asyncio.subprocess.PIPE
        )
        self.running.append(process)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        return process

    def lines(self) -> list[str]:
        return [line.split()[0] for line in self.journal.read_text().splitlines()]

    async def until(self, word: str, seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while word not in self.lines():
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        for process in self.running:
            if process.returncode is None:
                process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]  # or the pipe is reported as leaked


@pytest.fixture
async def workers(database: AsyncEngine, database_url: str, tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(database_url, tmp_path)
    yield workers
    await workers.stop()


@pytest.fixture
async def engine(database: AsyncEngine, database_url: str) -> AsyncIterator[Engine]:
    """The side that hands out work and reaps."""
    engine = Engine(
        database,
        database_url,
        role="bot",
        queues=[QueueSpec("bot", 10), QueueSpec("gpu.test", 1, one_per_member=True, listen=False)],
        times=QUICK,
    )
    await engine.launch()
    yield engine
    await engine.close()


async def submit(
    engine: Engine, job: str, *, seconds: float = 0, member: int = 1, fatal: bool = False, priority: int = 10
) -> None:
    async with engine.database.begin() as connection:
        await engine.submit(
            connection,
            "job",
            job,
            {"id": job, "seconds": seconds, "fatal": fatal},
            queue="gpu.test",
            member_id=member,
            priority=priority,
        )


async def status(engine: Engine, job: str) -> str:
    found = await engine.client.list_workflows_async(workflow_ids=[job])
    return found[0].status if found else "none"


async def until_status(engine: Engine, job: str, wanted: str, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while await status(engine, job) != wanted:
            await asyncio.sleep(0.1)


async def test_a_row_and_its_workflow_are_committed_together(engine: Engine) -> None:
    """A committed transaction leaves both the row and the workflow; a rolled back one leaves neither."""
    async with engine.database.begin() as connection:
        await connection.execute(insert(guilds).values(GUILD))
        await engine.submit(connection, "job", "kept", {}, queue="gpu.test", member_id=1)
    with pytest.raises(RuntimeError, match="on purpose"):
        async with engine.database.begin() as connection:
            await connection.execute(insert(guilds).values({**GUILD, "guild_id": 9}))
            await engine.submit(connection, "job", "lost", {}, queue="gpu.test", member_id=1)
            raise RuntimeError("on purpose")
    async with engine.database.connect() as connection:
        assert list((await connection.execute(select(guilds.c.guild_id))).scalars()) == [1]
    assert await status(engine, "kept") == "ENQUEUED"
    assert await status(engine, "lost") == "none"


async def test_the_same_id_twice_is_one_workflow(engine: Engine, workers: Workers) -> None:
    """A repeated submission changes nothing."""
    await submit(engine, "once")
    await submit(engine, "once")
    await workers.start()
    await until_status(engine, "once", "SUCCESS")
    assert workers.lines().count("first:once") == 1


async def test_the_job_of_a_killed_worker_is_taken_over(engine: Engine, workers: Workers) -> None:
    """Another worker goes on at the step that was under way; the finished step is not run again."""
    victim = await workers.start()
    await submit(engine, "job", seconds=3)
    await workers.until("second:job")
    victim.send_signal(signal.SIGKILL)
    await workers.start()
    await until_status(engine, "job", "SUCCESS")
    assert workers.lines() == ["first:job", "second:job", "second:job", "done:job"]


async def test_a_living_worker_keeps_its_job(engine: Engine, workers: Workers) -> None:
    """A job that outlasts many leases is not handed to anybody else while its worker renews them."""
    await workers.start()
    await workers.start()
    await submit(engine, "long", seconds=4)
    await until_status(engine, "long", "SUCCESS")
    assert workers.lines().count("second:long") == 1


async def test_poison_is_given_up_after_three_deaths(engine: Engine, workers: Workers) -> None:
    """A job that kills every worker is cancelled after the third, so that it cannot take the whole house down."""
    await submit(engine, "poison", fatal=True)
    for _ in range(3):
        worker = await workers.start()
        await asyncio.wait_for(worker.wait(), 60)
    await until_status(engine, "poison", "CANCELLED")
    assert workers.lines().count("second:poison") == 3


async def test_leaving_in_good_order_costs_a_job_nothing(engine: Engine, workers: Workers) -> None:
    """Workers may be restarted as often as one likes: a job that is handed over is not counted as a death."""
    await submit(engine, "patient", seconds=3)
    for number in range(1, 5):
        worker = await workers.start()
        async with asyncio.timeout(60):
            while workers.lines().count("second:patient") < number:
                await asyncio.sleep(0.05)
        if number < 4:
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(worker.wait(), 60) == 0
    await until_status(engine, "patient", "SUCCESS")
    assert workers.lines().count("done:patient") == 1


async def test_nobody_waits_behind_all_of_anothers_jobs(engine: Engine, workers: Workers) -> None:
    """All jobs of one member do not come before the only job of another: whose turn it is, is drawn each time."""
    greedy = 14  # by chance alone they would all be drawn first once in 16,384 runs
    for number in range(greedy):
        await submit(engine, f"greedy-{number}", seconds=0.1, member=1)
    await submit(engine, "modest", seconds=0.1, member=2)
    await workers.start()
    await workers.until("done:modest")
    assert sum(line.startswith("done:greedy") for line in workers.lines()) < greedy


async def test_the_more_urgent_of_a_members_jobs_runs_first(engine: Engine, workers: Workers) -> None:
    """Priority orders what one member has waiting; equal ones run in the order in which they came."""
    for job, priority in (("first", 10), ("second", 10), ("urgent", 1)):
        await submit(engine, job, priority=priority)
    await workers.start()
    await until_status(engine, "second", "SUCCESS")
    done = [line for line in workers.lines() if line.startswith("done:")]
    assert done == ["done:urgent", "done:first", "done:second"]


async def test_a_queued_job_can_be_cancelled(engine: Engine, workers: Workers) -> None:
    """A cancelled job never starts; the one beside it does."""
    await submit(engine, "unwanted")
    await submit(engine, "wanted")
    await engine.cancel("unwanted")
    await workers.start()
    await until_status(engine, "wanted", "SUCCESS")
    assert "first:unwanted" not in workers.lines()
    assert await status(engine, "unwanted") == "CANCELLED"


async def test_a_waiter_hears_of_the_result_and_of_the_cancellation(
    database: AsyncEngine, database_url: str, workers: Workers
) -> None:
    """A workflow that delegates gets the delegate's result, or WorkCancelledError."""
    engine = Engine(database, database_url, role="bot", queues=[QueueSpec("bot", 10)], times=QUICK)
    heard: dict[str, object] = {}

    async def life(job: dict[str, object]) -> str:
        name = str(job["id"])
        try:
            heard[name] = await Engine.delegate("job", f"{name}-render", job, queue="gpu.test", member_id=1)
        except WorkCancelledError:
            heard[name] = "cancelled"
        return "over"

    engine.workflow("life")(life)
    await engine.launch()
    try:
        for name in ("good", "bad"):
            async with database.begin() as connection:
                await engine.submit(connection, "life", name, {"id": name, "seconds": 0}, queue="bot")
        await until_status(engine, "bad-render", "ENQUEUED")
        await engine.cancel("bad-render")
        await workers.start()
        await until_status(engine, "good", "SUCCESS")
        await until_status(engine, "bad", "SUCCESS")
    finally:
        await engine.close()
    assert heard == {"good": {"sum": 3}, "bad": "cancelled"}


async def test_no_pickle_reaches_the_database(engine: Engine, database: AsyncEngine, database_url: str) -> None:
    """Arguments are stored as JSON that anyone can read and that cannot run code."""
    await submit(engine, "plain")
    table = "workflow_input" if database.dialect.name == "sqlite" else "dbos.workflow_input"
    async with database.connect() as connection:
        stored = await connection.exec_driver_sql(f"SELECT inputs FROM {table}")  # noqa: S608  # a constant
        assert json.loads(stored.scalar_one())["positionalArgs"][0]["id"] == "plain"


async def test_a_lease_has_one_holder(database: AsyncEngine) -> None:
    """Somebody else gets the lease only when it is given back or has run out."""
    assert await take_lease(database, "relayer", "a", 60)
    assert await take_lease(database, "relayer", "a", 60)
    assert not await take_lease(database, "relayer", "b", 60)
    await release_lease(database, "relayer", "b")
    assert not await take_lease(database, "relayer", "b", 60)
    await release_lease(database, "relayer", "a")
    assert await take_lease(database, "relayer", "b", -1)
    assert await take_lease(database, "relayer", "a", 60)


assert os.name == "posix", "these tests kill processes by signal"
