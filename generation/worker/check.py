"""`flock worker --check`: two videos, what the warm one took phase by phase, and what would make it quicker."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from generation.models.registry import Model
from generation.models.tuning_hints import tuning_hints
from generation.worker.render_process import RenderChild

PROMPTS = ("a blue square jumps", "a red circle moves right")  # the second is timed: nothing is compiled by then

Json = dict[str, Any]


async def check_model(model: Model, data_dir: Path, *, hang_s: float = 300.0, load_s: float = 1800.0) -> Json:
    """Loads the model and renders two videos; what the second took, and the first one's seconds. Raises RenderError."""
    child = RenderChild(model, hang_s=hang_s, load_s=load_s)
    job: Json = {
        "seed": 1,
        "video_path": str(data_dir / "check" / "check.mp4"),
        "poster_path": str(data_dir / "check" / "check.jpg"),
    }
    try:
        begun = time.monotonic()
        loaded = await child.warm()
        loading = time.monotonic() - begun
        first = (await child.render({**job, "prompt": PROMPTS[0]}))["measured"]["seconds"]
        facts = await child.render({**job, "prompt": PROMPTS[1]})
    finally:
        await child.close()
    measured = facts["measured"]
    seconds, memory = measured["seconds"], measured["memory"]
    return {
        "model_id": loaded["model_id"],
        "model_revision": loaded["revision"],
        "family": loaded["preset"]["family"],
        "device": loaded["device"],
        "load_seconds": round(loading, 2),
        "first": {
            "prompt_seconds": round(first["prompt"], 3),
            "step_seconds": round(first["step"], 4),
            "decode_seconds": round(first["decoding"], 3),
        },
        "render_seconds": facts["seconds"],
        "prompt_seconds": round(seconds["prompt"], 3),
        "step_seconds": round(seconds["step"], 4),
        "steps": measured["steps"],
        "decode_seconds": round(seconds["decoding"], 3),
        "encode_seconds": round(seconds["encoding"], 3),
        "peak_memory_mib": memory["process"],  # of the machine
        "gpu_memory_mib": memory["gpu"],
        "frames": facts["frames"],
        "size": f"{facts['width']}x{facts['height']}",
        "fps": facts["fps"],
        "video": job["video_path"],
        "notes": loaded["said"],
        "quicker": tuning_hints(_as_object(loaded), measured["seconds"]),
    }


def _as_object(loaded: Json) -> Any:
    nested = {name: SimpleNamespace(**loaded[name]) for name in ("preset", "settings", "can")}
    return SimpleNamespace(**{"gpus": 1, "gpu_mib": None, **loaded, **nested})
