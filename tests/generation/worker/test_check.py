"""`flock worker --check`, with the embedded model."""

from __future__ import annotations

import json
from pathlib import Path

from generation.worker.check import PROMPTS
from generation.worker.worker import WorkerConfig, check


async def test_the_check_renders_a_video(sqlite_url: str, data_dir: Path, tiny_revision: tuple[Path, str]) -> None:
    """`flock worker --check` says what a video of the embedded model takes, and where it lies."""
    found = json.loads(json.dumps(await check(WorkerConfig(sqlite_url, data_dir))))
    assert found["model_revision"] == tiny_revision[1]
    assert (found["frames"], found["size"]) == (17, "384x384")
    assert found["render_seconds"] > 0
    assert all(found["first"][name] > 0 for name in ("prompt_seconds", "step_seconds", "decode_seconds"))
    assert len(set(PROMPTS)) == 2  # else the second one's would be remembered, and not be measured
    assert 0 < found["step_seconds"] * found["steps"] < found["render_seconds"]
    assert found["decode_seconds"] + found["encode_seconds"] < found["render_seconds"]
    assert (found["device"], found["gpu_memory_mib"]) == ("cpu", None)
    assert found["peak_memory_mib"] > 100
    assert isinstance(found["quicker"], list)
    assert Path(found["video"]).stat().st_size > 1000
