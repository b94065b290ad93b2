"""The check of a model (`flock worker --check`): two videos, the phases of the second, and what would be quicker."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from generation.models.registry import Model
from generation.models.tuning_hints import tuning_hints
from generation.render_messages import RenderRequest
from generation.strict_json import JsonObject
from generation.worker.render_process import RenderChild

PROMPTS = ("a blue square jumps", "a red circle moves right")  # the second is timed: nothing is compiled by then


async def check_model(model: Model, data_dir: Path, *, hang_s: float = 300.0, load_s: float = 1800.0) -> JsonObject:
    """Load the model, render two videos, and return the measures of both. Raises RenderError."""
    child = RenderChild(model, hang_s=hang_s, load_s=load_s)
    folder = data_dir / "check"
    request = RenderRequest(PROMPTS[0], 1, str(folder / "check.mp4"), str(folder / "check.jpg"))
    try:
        start = time.monotonic()
        model_facts = await child.warm()
        load_seconds = time.monotonic() - start
        first = (await child.render(request)).measured.seconds
        video = await child.render(replace(request, prompt=PROMPTS[1]))
    finally:
        await child.close()
    measured = video.measured
    return {
        "model_id": model_facts.model_id,
        "model_revision": model_facts.revision,
        "family": model_facts.preset.family,
        "device": model_facts.device,
        "load_seconds": round(load_seconds, 2),
        "first": {
            "prompt_seconds": round(first["prompt"], 3),
            "step_seconds": round(first["step"], 4),
            "decode_seconds": round(first["decoding"], 3),
        },
        "render_seconds": video.seconds,
        "prompt_seconds": round(measured.seconds["prompt"], 3),
        "step_seconds": round(measured.seconds["step"], 4),
        "steps": measured.steps,
        "decode_seconds": round(measured.seconds["decoding"], 3),
        "encode_seconds": round(measured.seconds["encoding"], 3),
        "peak_memory_mib": measured.memory.process,  # of the machine
        "gpu_memory_mib": measured.memory.gpu,
        "frames": video.frames,
        "size": f"{video.width}x{video.height}",
        "fps": video.fps,
        "video": request.video_path,
        "notes": model_facts.notes,
        "quicker": tuning_hints(model_facts, measured.seconds),
    }
