"""What the worker adds to a render: the same job through the worker and as a bare call of the pipeline, in turns."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from generation.jobs import RenderJob
from generation.worker import Worker, WorkerConfig
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
        prompt="a red circle", height=256, width=256, num_frames=17, num_inference_steps=steps, guidance_scale=5.0,
        max_sequence_length=48,
        generator=torch.Generator("cpu").manual_seed(int(line)), output_type="np",
    )
    print(time.monotonic() - begun, flush=True)
"""


async def measure(*, times: int = 5, steps: int = 30) -> list[Figure]:
    """Medians over `times` jobs of `steps` steps each.

    Both compute on one core, as on a GPU: what the worker does beside it is not to compete with the model.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that we start
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        url = f"sqlite:///{folder}/bench.db"
        await upgrade_database(url)
        (data_dir / "models.toml").write_text(
            f"[models.tiny]\nwidth = 256\nheight = 256\nframes = 17\nsteps = {steps}\nguidance = 5.0\n"
        )
        database = open_database(url)
        worker = Worker(WorkerConfig(url, data_dir, "bench", "tiny", data_dir / "models.toml"), database)
        begun = asyncio.get_running_loop().time
        ours: list[float] = []
        bare: list[float] = []
        try:
            await worker.render(asdict(RenderJob("0", "a red circle", 0, "tiny")))  # loads and warms
            process = await _start_bare(data_dir / "models" / "tiny", steps)
            try:
                await _bare_call(process, 0)
                for number in range(1, times + 1):
                    since = begun()
                    outcome = await worker.render(asdict(RenderJob(str(number), "a red circle", number, "tiny")))
                    ours.append(begun() - since)
                    if outcome.get("outcome") != "done":
                        raise AssertionError(f"The job ended with {json.dumps(outcome)}")
                    bare.append(await _bare_call(process, number))
            finally:
                process.kill()
                await process.wait()
        finally:
            await worker.close()
            await database.dispose()
    job, call = statistics.median(ours), statistics.median(bare)
    beside = (
        f"a job of {steps} steps, 17 frames of 256x256: {job:.2f} s with progress, cancel, mp4, poster and hash, "
        f"against {call:.2f} s for the bare pipeline call"
    )
    return [Figure("worker_overhead", round(job / call, 3), beside, at_most=1.05)]


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
