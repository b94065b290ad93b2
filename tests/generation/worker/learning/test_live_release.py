"""Real workers and releases: who renders with which adapter, the same twice, and with none that was tampered with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.adapters.file import adapter_path
from generation.adapters.transfer import offer
from generation.jobs import RENDER_WORKFLOW, ReleaseName, RenderJob, gpu_queue, release_queue
from generation.models.weights import tensors_of
from generation.queue.engine import Engine, QueueSpec
from generation.queue.reaper import ReaperTimes
from migrations.database import open_database, upgrade_database
from migrations.files import sha256_file
from migrations.schema import adapter_parts
from tests.builders.adapters import adapter_bytes, write_adapter

PROCESS = """
import asyncio, signal, sys
from pathlib import Path
from generation.worker.worker import WorkerConfig, run_worker

async def main(url, data_dir, models_file):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_worker(WorkerConfig(url, Path(data_dir), "test", "quick", Path(models_file)), stop=stop)

asyncio.run(main(*sys.argv[1:]))
"""
# A worker of before there were releases: it serves the queue of its model alone, and knows nothing of adapters.
OLD = """
import asyncio, signal, sys
from generation.jobs import RENDER_WORKFLOW, gpu_queue
from generation.queue.engine import Engine, QueueSpec
from migrations.database import open_database

async def main(url):
    database = open_database(url)
    queue = QueueSpec(gpu_queue("test", "quick"), 4, one_per_member=True)
    engine = Engine(database, url, role="worker", queues=[queue])

    @engine.workflow(RENDER_WORKFLOW)
    async def render(job):
        return {"outcome": "failed", "reason": "rendered without any release"}

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await engine.launch()
    await stop.wait()
    await engine.close()
    await database.dispose()

asyncio.run(main(*sys.argv[1:]))
"""
RELEASE = 3


class Workers:
    """Processes over one database, and the bot's side that hands them jobs."""

    def __init__(self, engine: Engine, database: AsyncEngine, url: str) -> None:
        self.engine, self.database, self.url = engine, database, url
        self.running: list[asyncio.subprocess.Process] = []

    async def start(self, script: str, *arguments: str) -> None:
        self.running.append(await asyncio.create_subprocess_exec(sys.executable, "-c", script, self.url, *arguments))

    async def stop(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            await process.wait()
        self.running.clear()

    async def ask(self, video_id: str, release: ReleaseName | None) -> None:
        """Enqueue the render of a video, as the bot does: with a release in the queue of releases."""
        queue = gpu_queue if release is None else release_queue
        job = RenderJob(video_id, "a red circle", 7, "quick", release=release)
        async with self.database.begin() as connection:
            await self.engine.submit(
                connection, RENDER_WORKFLOW, video_id, job.to_json(), queue=queue("test", "quick"), member_id=1
            )

    async def end(self, video_id: str) -> dict[str, Any]:
        async with asyncio.timeout(900):
            while (end := await self.engine.result(video_id)) is None:
                await asyncio.sleep(0.2)
        return dict(end)


@pytest.fixture
async def workers(sqlite_url: str) -> AsyncIterator[Workers]:
    await upgrade_database(sqlite_url)
    database = open_database(sqlite_url)
    queues = [
        QueueSpec(queue("test", "quick"), 1, one_per_member=True, listen=False) for queue in (gpu_queue, release_queue)
    ]
    engine = Engine(
        database, sqlite_url, role="bot", queues=[QueueSpec("bot", 1), *queues], times=ReaperTimes(scan=0.5)
    )
    await engine.launch()
    workers = Workers(engine, database, sqlite_url)
    yield workers
    await workers.stop()
    await engine.close()
    await database.dispose()


def adapter_for(model: Path, number: float) -> bytes:
    """An adapter of one layer of a model; another number makes another adapter."""
    [weights] = (model / "transformer").glob("*.safetensors")
    layer = next(name for name in sorted(tensors_of(weights)) if name.endswith("attn1.to_q.weight"))
    out, into = tensors_of(weights)[layer].shape
    half = f"transformer.{layer.removesuffix('.weight')}.lora"
    return adapter_bytes({f"{half}_A.weight": (2, into), f"{half}_B.weight": (out, 2)}, number=number)


async def test_live_release_and_candidate_come_through_the_queue(
    workers: Workers, tiny_revision: tuple[Path, str], data_dir: Path, models_file: Path, tmp_path: Path
) -> None:
    """Fetched by its hash, checked, other frames than the base's, the same ones twice; tampered with, it is refused.

    A worker of before there were releases takes the base's jobs alone: those with a release wait for another one.
    """
    live_path, live = write_adapter(tmp_path / "bot", adapter_for(tiny_revision[0], 0.5))
    candidate_path, candidate = write_adapter(tmp_path / "bot", adapter_for(tiny_revision[0], 0.25))
    bad_path, bad = write_adapter(tmp_path / "bot", adapter_for(tiny_revision[0], 0.125))
    for path, sha256 in ((live_path, live), (candidate_path, candidate), (bad_path, bad)):
        await offer(workers.database, path, sha256)
    async with workers.database.begin() as connection:  # one number of it is another
        changed = adapter_for(tiny_revision[0], 0.75)
        await connection.execute(update(adapter_parts).where(adapter_parts.c.sha256 == bad).values(data=changed))

    await workers.start(OLD)
    await workers.ask("11", ReleaseName(RELEASE, live))
    await workers.ask("12", None)
    assert "without any release" in (await workers.end("12"))["reason"]
    assert await workers.engine.result("11") is None
    await workers.stop()

    await workers.start(PROCESS, str(data_dir), str(models_file))
    for video_id, release in (
        ("13", None), ("14", ReleaseName(RELEASE, live)), ("15", ReleaseName(None, candidate)),
        ("16", ReleaseName(None, bad)), ("17", None),
    ):  # fmt: skip
        await workers.ask(video_id, release)
    ends = {video_id: await workers.end(video_id) for video_id in ("11", "13", "14", "15", "16", "17")}

    assert ends["16"]["outcome"] == "failed"
    assert "has another hash than its release names; it is not used." in ends["16"]["reason"]
    assert not adapter_path(data_dir, bad).exists()
    frames = {name: end["provenance"]["frames_sha256"] for name, end in ends.items() if name != "16"}
    assert frames["13"] == frames["17"]  # no adapter stays in the base
    assert frames["11"] == frames["14"]
    assert len({frames["13"], frames["14"], frames["15"]}) == 3
    for video_id, number, sha256 in (("11", RELEASE, live), ("14", RELEASE, live), ("15", None, candidate)):
        named = {"number": number, "adapter_sha256": sha256}
        assert ends[video_id]["release"] == ends[video_id]["provenance"]["model"]["release"] == named
        assert sha256_file(adapter_path(data_dir, sha256)) == sha256
    assert "release" not in ends["13"]
