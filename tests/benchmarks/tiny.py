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
import json, resource, sys
from pathlib import Path
import torch
from generation.tiny.training import measure
torch.set_num_threads(int(sys.argv[3]))
torch.set_num_threads(int(sys.argv[3]))
figures = measure.measure(Path(sys.argv[1]), float(sys.argv[2]))
figures["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(figures))
"""
AIMS = {"colour": 0.97, "shape": 0.95, "motion": 0.97}
MEASURED = ("background", "size", "speed")
SECONDS, SEAM, COVERAGE = 0.6, 1.15, 0.5


async def measure(*, share: float = 1.0, threads: int = 2) -> list[Figure]:
    """Accuracies, seams, flicker and coverage of open prompts; seconds a video; memory of the process, in MiB.

    `share` of the usual number of prompts.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        str(WEIGHTS),
        str(share),
        str(threads),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise AssertionError("The tiny model could not be measured.")
    measured = json.loads(out.splitlines()[-1])
    beside = (
        f"of {measured['prompts']} held-out prompts: combinations and sentences that training lacks; read off the "
        "frames without a model"
    )
    named = "of those of them that name it"

    def accuracy(name: str, of: str, at_least: float | None = None) -> Figure:
        return Figure(f"tiny_{name}_accuracy", round(measured.get(f"{name}_accuracy", 0.0), 3), of, at_least=at_least)

    return [
        *(accuracy(name, beside, aim) for name, aim in AIMS.items()),
        *(accuracy(name, named) for name in MEASURED),
        accuracy("two_shapes", "of held-out prompts for two shapes: both colours and both shapes as asked"),
        Figure("tiny_open_coverage", round(measured["open_coverage"], 2),
               "rarest value over its fair share, where prompts leave its attribute open", at_least=COVERAGE),
        Figure("tiny_seam_ratio", round(measured["seam_ratio"], 2),
               "median change across the borders of the model's tiles over that beside them; drawn clips 1.0",
               at_most=SEAM),
        Figure("tiny_flicker", round(measured["flicker"], 2),
               "median change of still background from frame to frame, in levels of 255; drawn clips 0"),
        Figure("tiny_seconds_a_video", round(measured["seconds_a_video"], 2),
               f"median, the pipeline alone, {threads} threads", at_most=SECONDS),
        Figure("tiny_memory_mb", round(measured["memory"]), "peak of the process that loads and renders, in MiB"),
    ]  # fmt: skip
