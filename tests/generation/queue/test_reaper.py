"""The reaper's scans, one by one; processes that are really killed are in test_engine.py."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.jobs import RENDER_WORKFLOW, UPLOAD_WORKFLOW, RenderJob
from generation.queue.engine import Engine, QueueSpec
from generation.queue.reaper import EngineStatus, Reaper, ReaperTimes
from migrations.database import now_ms
from migrations.schema import executor_leases

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def engine(database: AsyncEngine, database_url: str) -> AsyncIterator[Engine]:
    """A bot's engine, whose own reaper is asleep."""
    engine = Engine(database, database_url, role="bot", queues=[QueueSpec("bot", 1)], times=ReaperTimes(scan=3600))
    await engine.launch()
    yield engine
    await engine.close()


def reaper(engine: Engine, times: ReaperTimes, role: str = "bot") -> Reaper:
    return Reaper(engine.database, executor_id="test", role=role, queues=["bot"], times=times, on_fenced=None)


async def submit(engine: Engine, workflow: str, queue: str) -> None:
    job = RenderJob("42", "p", 1, "tiny").to_json()
    async with engine.database.begin() as connection:
        await engine.submit(connection, workflow, "job", job, queue=queue, member_id=None)


async def job_of(engine: Engine) -> tuple[str, str | None]:
    [workflow] = await engine.client.list_workflows_async(workflow_ids=["job"])
    return workflow.status, workflow.queue_name


@pytest.mark.parametrize(("orphan_s", "ends"), [(-1, True), (3600, False)])
async def test_an_upload_whose_machine_is_gone_is_given_up(engine: Engine, *, orphan_s: float, ends: bool) -> None:
    """After its time, and not before: the machine may come back."""
    await submit(engine, UPLOAD_WORKFLOW, "upload.0a1b2c")
    assert await reaper(engine, ReaperTimes(orphan=orphan_s)).scan(engine.client) == []
    assert (await job_of(engine))[0] == (EngineStatus.CANCELLED if ends else EngineStatus.ENQUEUED)


async def test_a_render_of_an_earlier_release_is_moved(engine: Engine) -> None:
    """To the queue of its model's workers; one that stands there already stays."""
    await submit(engine, RENDER_WORKFLOW, "gpu.test")
    for _ in range(2):
        await reaper(engine, ReaperTimes()).scan(engine.client)
        assert await job_of(engine) == (EngineStatus.ENQUEUED, "gpu.test:tiny")


async def test_old_leases_are_deleted(engine: Engine) -> None:
    """An hour after they ran out; until then they stand."""
    async with engine.database.begin() as connection:
        for name, ago_ms in (("old", 7_200_000), ("late", 60_000)):
            row = {"executor_id": name, "role": "worker", "queues": [], "beat_at_ms": now_ms() - ago_ms}
            await connection.execute(insert(executor_leases).values(**row))
    await submit(engine, RENDER_WORKFLOW, "gpu.test:tiny")
    await reaper(engine, ReaperTimes()).scan(engine.client)
    async with engine.database.connect() as connection:
        assert set(await connection.scalars(select(executor_leases.c.executor_id))) == {"late", engine.executor_id}


async def begin(engine: Engine, queue: str) -> None:
    """Let a process that is dead now have taken the job."""
    await submit(engine, RENDER_WORKFLOW, queue)
    schema = "" if engine.database.dialect.name == "sqlite" else "dbos."
    taken = text(f"UPDATE {schema}workflow_status SET status = 'PENDING', executor_id = 'dead'")  # noqa: S608
    async with engine.database.begin() as connection:
        await connection.execute(taken)


@pytest.mark.parametrize(
    ("role", "queue", "worker_lives", "taken_over"),
    [
        ("bot", "bot", True, True),
        ("worker", "bot", True, False),
        ("worker", "gpu.test:tiny", True, True),
        ("bot", "gpu.test:tiny", True, False),  # or both would count the same death
        ("bot", "gpu.test:tiny", False, True),
        ("worker", "train.test:tiny", True, True),
        ("worker", "upload.0a1b2c", True, True),
    ],
)
async def test_each_role_takes_over_its_own(
    engine: Engine, *, role: str, queue: str, worker_lives: bool, taken_over: bool
) -> None:
    """The bot what a bot began, workers what a worker did; the bot all where no worker lives."""
    await begin(engine, queue)
    if worker_lives:
        async with engine.database.begin() as connection:
            row = {"executor_id": "alive", "role": "worker", "queues": [], "beat_at_ms": now_ms()}
            await connection.execute(insert(executor_leases).values(**row))
    assert await reaper(engine, ReaperTimes(), role).scan(engine.client) == (["job"] if taken_over else [])
    assert await job_of(engine) == ("ENQUEUED" if taken_over else "PENDING", queue)
