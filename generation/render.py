"""The render child: keeps a diffusers pipeline warm and renders what it is told. The only file here with torch.

It speaks lines of JSON over its own stdin and stdout, and ends when stdin is closed.

    in    {"load": {model}} · {"render": {job}} · {"cancel": true}
    out   {"loaded": {...}} · {"tick": {"phase", "step", "steps"}} · {"done": {...}} · {"error": {"kind", "sentence"}}
"""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from generation.encode import encode
from generation.models import TINY, Model
from generation.presets import Preset, preset_for
from generation.tiny.make import make_tiny_pipeline

log = logging.getLogger(__name__)

Json = dict[str, Any]


class CancelledError(Exception):
    """Somebody no longer wants this video."""


class Renderer:
    """One pipeline, loaded once; one job at a time."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._model: Model | None = None
        self._pipeline: Any = None
        self._preset: Preset | None = None
        self._revision = ""
        self.cancelled = threading.Event()

    def say(self, **line: Any) -> None:
        """One line of the protocol."""
        with self._writing:
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()

    def load(self, model: Model) -> None:
        """Loads the pipeline, unless it is the one that is loaded already."""
        if model == self._model:
            return
        import torch
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        self.say(tick={"phase": "loading", "step": 0, "steps": 1})
        self._pipeline = None
        gc.collect()
        revision = model.revision
        if model.source.endswith(f"/{TINY}") and not Path(model.source, "REVISION").exists():
            make_tiny_pipeline(Path(model.source))
        local = Path(model.source, "REVISION")
        if revision is None and local.is_file():
            revision = local.read_text().strip()
        pipeline = DiffusionPipeline.from_pretrained(
            model.source,
            revision=None if Path(model.source).is_dir() else model.revision,
            dtype=getattr(torch, model.dtype),
            use_safetensors=True,  # never a pickled checkpoint
        )
        pipeline.set_progress_bar_config(disable=True)
        if torch.cuda.is_available():
            pipeline.to("cuda")
        preset, said = replace(preset_for(type(pipeline).__name__), **model.overrides).fitted()
        if model.id == TINY and not model.overrides:
            preset = replace(
                preset, width=128, height=128, frames=17, fps=8, steps=8, upscale=2, max_sequence_length=64
            )
        self._pipeline, self._preset, self._model = pipeline, preset, model
        self._revision = revision or "unpinned"
        self.say(loaded={"model_id": model.id, "revision": self._revision, "preset": asdict(preset), "said": said})

    def render(self, job: Json) -> Json:
        """Renders and encodes one video. Raises CancelledError within one step of being told."""
        import torch

        pipeline, preset = self._pipeline, self._preset
        assert preset is not None  # noqa: S101  # `load` came first
        begun = time.monotonic()

        def on_step(_pipeline: Any, step: int, _timestep: Any, kwargs: Json) -> Json:
            if self.cancelled.is_set():
                raise CancelledError
            self.say(tick={"phase": "denoising", "step": step + 1, "steps": preset.steps})
            return kwargs

        self.say(tick={"phase": "denoising", "step": 0, "steps": preset.steps})
        more: Json = {}
        if preset.max_sequence_length is not None:
            more["max_sequence_length"] = preset.max_sequence_length
        if preset.negative_prompt is not None:
            more["negative_prompt"] = preset.negative_prompt
        output = pipeline(
            prompt=job["prompt"],
            height=preset.height,
            width=preset.width,
            num_frames=preset.frames,
            num_inference_steps=preset.steps,
            guidance_scale=preset.guidance,
            # On the CPU also where the model is on a GPU: the noise then depends on the seed alone.
            generator=torch.Generator("cpu").manual_seed(int(job["seed"])),
            callback_on_step_end=on_step,
            output_type="np",
            **more,
        )
        if self.cancelled.is_set():
            raise CancelledError
        self.say(tick={"phase": "encoding", "step": 0, "steps": 1})
        frames = (output.frames[0].clip(0, 1) * 255).round().astype("uint8")
        encoded = encode(frames, preset.fps, Path(job["video_path"]), Path(job["poster_path"]), upscale=preset.upscale)
        return {
            **asdict(encoded),
            "seconds": round(time.monotonic() - begun, 3),
            "model_id": self._model.id if self._model else "",
            "model_revision": self._revision,
        }

    def do(self, job: Json) -> None:
        """Renders a job and answers with its facts, or with an error of the job."""
        import torch

        try:
            self.say(done=self.render(job))
        except CancelledError:
            self.say(error={"kind": "cancelled", "sentence": "Cancelled."})
        except (torch.OutOfMemoryError, MemoryError):
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            sentence = "The worker ran out of memory on this prompt."
            self.say(error={"kind": "out_of_memory", "sentence": sentence})
        except Exception as error:
            log.exception("A render failed")
            sentence = f"The model could not render this prompt ({type(error).__name__})."
            self.say(error={"kind": "crash", "sentence": sentence})
        finally:
            self.cancelled.clear()


def _die_with_parent() -> None:
    """Linux: killed when the worker dies, however it dies. Elsewhere the closed stdin ends us."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)


def main() -> None:
    """Reads commands until stdin ends."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # stdout is the protocol's: whatever libraries print goes to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    for name in ("httpx", "diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    renderer = Renderer(out)
    jobs: queue.Queue[Json | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            command = json.loads(line)
            if "cancel" in command:
                renderer.cancelled.set()
            else:
                jobs.put(command)
        os._exit(0)  # our worker is gone; nobody waits for what we are doing

    threading.Thread(target=read, daemon=True, name="commands").start()
    while True:
        command = jobs.get()
        if command is None:
            return
        try:
            if "load" in command:
                renderer.load(Model(**command["load"]))
            elif "render" in command:
                renderer.do(command["render"])
        except Exception as error:
            log.exception("A model could not be loaded")
            sentence = f"The model could not be loaded ({type(error).__name__}); the worker's log says why."
            renderer.say(error={"kind": "load", "sentence": sentence})


if __name__ == "__main__":
    main()
