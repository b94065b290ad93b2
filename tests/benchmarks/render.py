"""What the worker adds to a render, and what a queue of them takes: beside bare calls of the pipeline, in one run."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from generation.jobs import RENDER_WORKFLOW, RenderJob, gpu_queue
from generation.worker.worker import Worker, WorkerConfig
from migrations.database import open_database, upgrade_database
from tests.benchmarks.figures import Figure

# What anybody would write who calls the pipeline without us: load, call, nothing else. A line in, seconds out.
BARE = """
import sys, time, torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from transformers.utils import logging as others
logging.disable_progress_bar(), others.disable_progress_bar()
folder, steps = sys.argv[1], int(sys.argv[2])
pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
pipeline.set_progress_bar_config(disable=True)
print("ready", flush=True)
for line in sys.stdin:
    begun = time.monotonic()
    pipeline(
        prompt=f"a red circle {int(line)}", height=288, width=288, num_frames=17,
        num_inference_steps=steps, guidance_scale=5.0, max_sequence_length=48,
        generator=torch.Generator("cpu").manual_seed(int(line)), output_type="np",
    )
    print(time.monotonic() - begun, flush=True)
"""


async def measure(*, times: int = 5, steps: int = 30, queued: int = 10) -> list[Figure]:
    """Medians over `times` jobs of `steps` steps each, then the seconds of `queued` jobs of as many members.

    Each prompt is another one, so that none is remembered. Both compute on one core, as on a GPU: what the worker does
    beside it is not to compete with the model.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that we start
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        url = f"sqlite:///{folder}/bench.db"
        await upgrade_database(url)
        (data_dir / "models.toml").write_text(
            f"[models.tiny]\nwidth = 288\nheight = 288\nframes = 17\nsteps = {steps}\nguidance = 5.0\nupscale = 1\n"
        )
        database = open_database(url)
        worker = Worker(WorkerConfig(url, data_dir, "bench", "tiny", data_dir / "models.toml"), database)
        begun = asyncio.get_running_loop().time
        ours: list[float] = []
        bare: list[float] = []
        try:
            await worker.render(asdict(_job(0)))  # loads and warms
            process = await _start_bare(data_dir / "models" / "tiny", steps)
            try:
                await _bare_call(process, 0)
                for number in range(1, times + 1):
                    since = begun()
                    outcome = await worker.render(asdict(_job(number)))
                    ours.append(begun() - since)
                    if outcome.get("outcome") != "done":
                        raise AssertionError(f"The job ended with {json.dumps(outcome)}")
                    bare.append(await _bare_call(process, number))
                await worker.engine.launch()
                numbers = range(times + 1, times + queued + 1)
                calls = [await _bare_call(process, number) for number in numbers[: queued // 2]]
                wall = await _through_the_queue(worker, database, numbers)
                calls += [await _bare_call(process, number) for number in numbers[queued // 2 :]]
            finally:
                process.kill()
                await process.wait()
        finally:
            await worker.close()
            await database.dispose()
    job, call = statistics.median(ours), statistics.median(bare)
    beside = (
        f"a job of {steps} steps, 17 frames of 288x288: {job:.2f} s with progress, cancel, mp4, poster and hash, "
        f"against {call:.2f} s for the bare pipeline call"
    )
    together = (
        f"{queued} queued jobs of as many members, the same as above: {wall:.1f} s from the first one's arrival to the "
        f"last one's end, against {sum(calls):.1f} s for {queued} bare calls, half of them before and half after"
    )
    return [
        Figure("worker_overhead", round(job / call, 3), beside, at_most=1.03),
        Figure("pipeline_overlap", round(wall / sum(calls), 3), together, at_most=1.0),
    ]


def _job(number: int) -> RenderJob:
    return RenderJob(str(number), f"a red circle {number}", number, "tiny")


async def _through_the_queue(worker: Worker, database: AsyncEngine, numbers: Sequence[int]) -> float:
    """Seconds until all have ended well. Raises AssertionError when one has not."""
    begun = asyncio.get_running_loop().time()
    async with database.begin() as connection:
        for number in numbers:
            await worker.engine.submit(
                connection,
                RENDER_WORKFLOW,
                f"job-{number}",
                _job(number).to_json(),
                queue=gpu_queue("bench", "tiny"),
                member_id=number,
            )
    for number in numbers:
        while (result := await worker.engine.result(f"job-{number}")) is None:
            await asyncio.sleep(0.05)
        if result.get("outcome") != "done":
            raise AssertionError(f"The job ended with {json.dumps(result)}")
    return asyncio.get_running_loop().time() - begun


async def _start_bare(folder: Path, steps: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BARE,
        str(folder),
        str(steps),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    if (await process.stdout.readline()).strip() != b"ready":
        raise AssertionError("The bare pipeline could not be loaded.")
    return process


async def _bare_call(process: asyncio.subprocess.Process, seed: int) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{seed}\n".encode())
    await process.stdin.drain()
    return float(await process.stdout.readline())
