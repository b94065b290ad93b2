"""Which worker takes which job: real workers of one class, each with a model of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from generation.jobs import RENDER_WORKFLOW, RenderJob, gpu_queue, is_of_earlier_release
from generation.queue.engine import Engine, QueueSpec
from generation.queue.reaper import ReaperTimes
from generation.worker.registry import is_served, living_workers
from migrations.database import open_database, upgrade_database

PROCESS = """
import asyncio, signal, sys
from pathlib import Path
from generation.worker.worker import WorkerConfig, run_worker

async def main(url, data_dir, models_file, model):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_worker(WorkerConfig(url, Path(data_dir), "test", model, Path(models_file)), stop=stop)

asyncio.run(main(*sys.argv[1:]))
"""

MODELS = "".join(
    f'[models.{name}]\nsource = "tiny"\nframes = 9\nsteps = {steps}\nupscale = 1\n'
    for name, steps in (("one", 1), ("two", 2), ("three", 3))
)


@pytest.mark.parametrize(("model_class", "model_id"), [("a/b", "tiny"), ("tiny", "a:b"), ("", "tiny"), ("tiny", "")])
def test_a_queue_has_one_meaning(model_class: str, model_id: str) -> None:
    """A name that could be read in two ways is refused; dots in both leave it plain which is which."""
    with pytest.raises(ValueError, match="is a short lowercase word"):
        gpu_queue(model_class, model_id)
    assert gpu_queue("wan.14b", "x") != gpu_queue("wan", "14b.x")
    assert is_of_earlier_release("gpu.wan.14b")
    assert not is_of_earlier_release(gpu_queue("wan", "14b"))


async def test_a_job_goes_to_the_worker_that_has_its_model(sqlite_url: str, data_dir: Path, tmp_path: Path) -> None:
    """Two workers of one class with different models: each renders the jobs of its own, also one that a bot of an
    earlier release put into the queue of the class. The twin, whose model nobody has, waits, and is told so."""
    models = tmp_path / "models.toml"
    models.write_text(MODELS)
    await upgrade_database(sqlite_url)
    database = open_database(sqlite_url)
    queues = [QueueSpec(gpu_queue("test", name), 1, one_per_member=True, listen=False) for name in ("one", "two")]
    engine = Engine(
        database,
        sqlite_url,
        role="bot",
        queues=[QueueSpec("bot", 1), *queues],
        times=ReaperTimes(beat=0.5, lease=10, scan=0.3),
    )
    await engine.launch()
    jobs = {"11": "one", "12": "two", "13": "two", "14": "one", "15": "three"}
    workers = []

    async def found() -> dict[str, Any]:
        return {each.workflow_id: each for each in await engine.client.list_workflows_async()}

    try:
        async with database.begin() as connection:
            for video_id, model in [*jobs.items(), ("16", "two")]:
                job = RenderJob(video_id, "a red circle", 7, model).to_json()
                queue = "gpu.test" if video_id == "16" else gpu_queue("test", model)
                await engine.submit(connection, RENDER_WORKFLOW, video_id, job, queue=queue, member_id=int(video_id))
        for model in ("one", "two"):
            command = [sys.executable, "-c", PROCESS, sqlite_url, str(data_dir), str(models), model]
            workers.append(await asyncio.create_subprocess_exec(*command))
        async with asyncio.timeout(240):
            while sum(each.status == "SUCCESS" for each in (await found()).values()) < 5:
                await asyncio.sleep(0.2)
        ended = await found()
        made = {name: each.output["provenance"] for name, each in ended.items() if each.status == "SUCCESS"}
        assert {name: card["model"]["id"] for name, card in made.items()} == {
            name: model for name, model in [*jobs.items(), ("16", "two")] if model != "three"
        }
        assert {name: card["settings"]["steps"] for name, card in made.items() if name in {"11", "12"}} == {
            "11": 1,
            "12": 2,
        }
        assert sorted(each.model_id for each in await living_workers(database)) == ["one", "two"]
        assert ended["15"].status == "ENQUEUED"
        async with database.connect() as connection:
            assert await is_served(connection, "test", "two")
            assert not await is_served(connection, "test", "three")
            assert not await is_served(connection, "other", "two")
    finally:
        for process in workers:
            process.terminate()
        for process in workers:
            await process.wait()
        await engine.close()
        await database.dispose()
