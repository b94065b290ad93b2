"""A worker that is told to stop: what it has begun it ends, what it has not begun is for others."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from generation.jobs import RENDER_WORKFLOW, RenderJob, gpu_queue
from generation.queue.engine import Engine, QueueSpec
from migrations.database import open_database, upgrade_database
from migrations.schema import render_progress


class Town:
    """A worker of its own process, and a bot's side that has jobs for it."""

    def __init__(self, url: str, data_dir: Path, models: Path) -> None:
        self.url, self.data_dir, self.models = url, data_dir, models
        self.database = open_database(url)
        self.queue = gpu_queue("test", "slow")
        queues = [QueueSpec("bot", 1), QueueSpec(self.queue, 1, one_per_member=True, listen=False)]
        self.engine = Engine(self.database, url, role="bot", queues=queues)
        self.worker: asyncio.subprocess.Process | None = None

    async def start(self, drain_s: float, *, steps: int) -> asyncio.subprocess.Process:
        self.models.write_text(f'[models.slow]\nsource = "tiny"\nframes = 9\nsteps = {steps}\nupscale = 1\n')
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FLOCK_")} | {
            "FLOCK_DATABASE_URL": self.url,
            "FLOCK_DATA_DIR": str(self.data_dir),
            "FLOCK_MODEL_CLASS": "test",
            "FLOCK_MODEL_ID": "slow",
            "FLOCK_MODELS_FILE": str(self.models),
            "FLOCK_DRAIN_S": str(drain_s),
        }
        self.worker = await asyncio.create_subprocess_exec(sys.executable, "-m", "bot", "worker", env=environment)
        return self.worker

    async def ask(self, *video_ids: str) -> None:
        async with self.database.begin() as connection:
            for video_id in video_ids:
                job = RenderJob(video_id, "a red circle", 7, "slow").to_json()
                await self.engine.submit(
                    connection, RENDER_WORKFLOW, video_id, job, queue=self.queue, member_id=int(video_id)
                )

    async def until_it_renders(self) -> str:
        query = select(render_progress.c.video_id).where(
            render_progress.c.phase == "denoising", render_progress.c.step > 1
        )
        async with asyncio.timeout(300):
            while True:
                async with self.database.connect() as connection:
                    found: str | None = await connection.scalar(query)
                if found is not None:
                    return found
                await asyncio.sleep(0.05)

    async def statuses(self) -> dict[str, str]:
        found = await self.engine.client.list_workflows_async(load_output=False)
        return {each.workflow_id: each.status for each in found}

    async def close(self) -> None:
        if self.worker is not None and self.worker.returncode is None:
            self.worker.kill()
            await self.worker.wait()
        await self.engine.close()
        await self.database.dispose()


@pytest.fixture
async def town(sqlite_url: str, data_dir: Path, tmp_path: Path) -> AsyncIterator[Town]:
    await upgrade_database(sqlite_url)
    town = Town(sqlite_url, data_dir, tmp_path / "models.toml")
    await town.engine.launch()
    yield town
    await town.close()


async def test_a_render_that_has_begun_is_ended_and_no_other_is_taken(town: Town) -> None:
    """SIGTERM in mid-render: the file is there when the worker is gone, and the next member's job still waits."""
    worker = await town.start(180, steps=60)
    await town.ask("1", "2")
    begun = await town.until_it_renders()
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(worker.wait(), 200) == 0
    other = "2" if begun == "1" else "1"
    assert await town.statuses() == {begun: "SUCCESS", other: "ENQUEUED"}
    assert (town.data_dir / "videos" / f"{begun}.mp4").stat().st_size > 1000


@pytest.mark.parametrize(("drain_s", "signals"), [(0, 1), (300, 2)], ids=["no time", "a second signal"])
async def test_what_cannot_be_ended_is_handed_over(town: Town, drain_s: float, signals: int) -> None:
    """Without any time for it, or when it is told twice, the worker ends at once, and its job waits for another."""
    worker = await town.start(drain_s, steps=1000)
    await town.ask("1")
    await town.until_it_renders()
    since = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT)[:signals]:
        worker.send_signal(number)
        await asyncio.sleep(1)
    assert await asyncio.wait_for(worker.wait(), 60) == 0
    assert time.monotonic() - since < 60
    assert await town.statuses() == {"1": "ENQUEUED"}
