"""The tiny model on prompts that it has not seen: what it was asked for, and what arithmetic on the frames finds."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from generation.tiny.make import WEIGHTS
from tests.benchmarks.figures import Figure

# In a process of its own: its peak of memory is then that of the pipeline, and nobody else's.
SCRIPT = """
import json, resource, statistics, sys, threading
from pathlib import Path
import torch
from generation.tiny.training import measure
torch.set_num_threads(int(sys.argv[3]))
pipeline = measure.load(Path(sys.argv[1]))
measure.render(pipeline, "a red circle", 0)
asked = measure.cases(int(sys.argv[2]))
told = [(case, reading, seconds) for case, reading, seconds in measure.read_cases(pipeline, asked)]
right = {name: sum(getattr(reading, name) == getattr(case.scene, name) for case, reading, _ in told) / len(told)
         for name in measure.ATTRIBUTES}
seconds = statistics.median(seconds for _, _, seconds in told)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"right": right, "seconds": seconds, "memory": memory}))
"""
AIMS = {"colour": 0.95, "shape": 0.90, "motion": 0.95}
SECONDS = 6.0


async def measure(*, prompts: int = 240, threads: int = 2) -> list[Figure]:
    """Shares of right colours, shapes and motions; seconds a video; memory of the process, in MiB."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        str(WEIGHTS),
        str(prompts),
        str(threads),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise AssertionError("The tiny model could not be measured.")
    told = json.loads(out.splitlines()[-1])
    beside = (
        f"of {prompts} held-out prompts: combinations and sentences that training lacks; read off the frames without "
        "a model"
    )
    figures = [
        Figure(f"tiny_{name}_accuracy", round(told["right"][name], 3), beside, at_least=aim)
        for name, aim in AIMS.items()
    ]
    alone = f"median, the pipeline alone, {threads} threads"
    return [
        *figures,
        Figure("tiny_seconds_a_video", round(told["seconds"], 2), alone, at_most=SECONDS),
        Figure("tiny_memory_mb", round(told["memory"]), "peak of the process that loads and renders, in MiB"),
    ]
