"""The render child: keeps a diffusers pipeline warm and renders what it is told. The only file here with torch.

It speaks lines of JSON over its own stdin and stdout, and ends when stdin is closed.

    in    {"load": {model}} · {"render": {job}, "number": n} · {"cancel": n}
    out   {"loaded": {...}} · {"tick": {"phase", "step", "steps"}} · {"done": {...}} · {"error": {"kind", "sentence"}}

Kinds of errors: load, cancelled, bad_input, out_of_memory, crash.
"""

from __future__ import annotations

import gc
import inspect
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
import unicodedata
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from generation.encode import encode
from generation.models import Model, folder_revision, known_revision
from generation.presets import Preset, preset_for
from generation.tiny.make import make_tiny_pipeline

log = logging.getLogger(__name__)

Json = dict[str, Any]

PR_SET_PDEATHSIG = 1  # prctl(2)


class CancelledError(Exception):
    """Somebody no longer wants this video."""


class NoPipelineError(Exception):
    """What is to be loaded is no model; the message is for the operator."""


class NoPictureError(Exception):
    """The model came up with something that is no picture."""


def readable(prompt: str) -> str:
    """The prompt without what no tokenizer can read: half characters, and control characters such as NUL."""
    whole = prompt.encode("utf-8", "replace").decode()
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in whole).strip()


class Renderer:
    """One pipeline, loaded once; one job at a time."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._model: Model | None = None
        self._pipeline: Any = None
        self._preset: Preset | None = None
        self._revision = ""
        self.cancelled = 0  # the number of the job that was cancelled last

    def say(self, **line: Any) -> None:
        """One line of the protocol."""
        with self._writing:
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()

    # ------------------------------------------------------------------ load

    def load(self, model: Model) -> Json:
        """Loads the pipeline; what it is and how it will render."""
        self.say(tick={"phase": "loading", "step": 0, "steps": 1})
        source = Path(model.source)
        if source.is_dir() and not (source / "model_index.json").is_file():
            raise NoPipelineError(f"The folder {source} holds no diffusers pipeline: it has no model_index.json.")
        import torch
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        for chatter in (diffusers_logging, transformers_logging):
            chatter.disable_progress_bar()
            chatter.set_verbosity_error()
        if model.embedded:
            make_tiny_pipeline(source)
        revision = known_revision(model) or folder_revision(source)
        config = DiffusionPipeline.load_config(model.source, revision=None if source.is_dir() else revision)
        preset, said = replace(preset_for(str(config.get("_class_name"))), **model.overrides).fitted()
        dtype: Any = getattr(torch, model.dtype)
        if preset.vae_float32:
            dtype = {"default": dtype, "vae": torch.float32}
        pipeline = DiffusionPipeline.from_pretrained(
            model.source,
            revision=None if source.is_dir() else revision,
            dtype=dtype,
            use_safetensors=True,  # never a pickled checkpoint
        )
        pipeline.set_progress_bar_config(disable=True)
        if torch.cuda.is_available():
            if model.offload == "model":
                pipeline.enable_model_cpu_offload()
            elif model.offload == "sequential":
                pipeline.enable_sequential_cpu_offload()
            else:
                pipeline.to("cuda")
        if "callback_on_step_end" not in inspect.signature(pipeline.__call__).parameters:
            said.append(f"{type(pipeline).__name__} tells of no steps: its renders cannot be cancelled half-way.")
        self._pipeline, self._preset, self._model, self._revision = pipeline, preset, model, revision
        return {"model_id": model.id, "revision": revision, "preset": asdict(preset), "said": said}

    # ------------------------------------------------------------------ render

    def render(self, job: Json, number: int) -> Json:
        """Renders and encodes one video. Raises CancelledError within one step of being told."""
        import numpy as np
        import torch

        pipeline, preset, model = self._pipeline, self._preset, self._model
        assert preset is not None  # noqa: S101  # `load` came first
        assert model is not None  # noqa: S101  # as above
        begun = time.monotonic()

        def on_step(_pipeline: Any, step: int, _timestep: Any, tensors: Json) -> Json:
            self._go_on(number)
            self.say(tick={"phase": "denoising", "step": step + 1, "steps": preset.steps})
            if step + 1 >= preset.steps:
                self.say(tick={"phase": "encoding", "step": 0, "steps": 1})
            return tensors

        self._go_on(number)
        self.say(tick={"phase": "denoising", "step": 0, "steps": preset.steps})
        wishes: Json = {
            "prompt": readable(job["prompt"]),
            "height": preset.height,
            "width": preset.width,
            "num_frames": preset.frames,
            "num_inference_steps": preset.steps,
            "guidance_scale": preset.guidance,
            "max_sequence_length": preset.max_sequence_length,
            "negative_prompt": preset.negative_prompt,
            # On the CPU also where the model is on a GPU: the noise then depends on the seed alone.
            "generator": torch.Generator("cpu").manual_seed(int(job["seed"])),
            "callback_on_step_end": on_step,
            "output_type": "np",
        }
        understood = inspect.signature(pipeline.__call__).parameters
        output = pipeline(**{k: v for k, v in wishes.items() if v is not None and k in understood})
        self._go_on(number)
        pictures = output.frames[0]
        if not np.isfinite(pictures).all():
            raise NoPictureError
        frames = (pictures.clip(0, 1) * 255).round().astype(np.uint8)
        encoded = encode(frames, preset.fps, Path(job["video_path"]), Path(job["poster_path"]), upscale=preset.upscale)
        return {
            **asdict(encoded),
            "seconds": round(time.monotonic() - begun, 3),
            "model_id": model.id,
            "model_revision": self._revision,
        }

    def _go_on(self, number: int) -> None:
        if self.cancelled == number:
            raise CancelledError

    # ------------------------------------------------------------------ commands

    def obey(self, command: Json) -> None:
        """Does what a command says and answers it, with an error of the job if it must be."""
        loading = "load" in command
        try:
            if loading:
                self.say(loaded=self.load(Model(**command["load"])))
            else:
                self.say(done=self.render(command["render"], int(command["number"])))
        except CancelledError:
            self.say(error={"kind": "cancelled", "sentence": "Cancelled."})
        except Exception as error:
            kind, sentence = _meaning(error, loading=loading)
            log.exception("Error of kind %s", kind)
            self.say(error={"kind": kind, "sentence": sentence})


def _meaning(error: Exception, *, loading: bool) -> tuple[str, str]:
    """The kind of an error, and a sentence that a member may read: no path, no prompt."""
    if isinstance(error, NoPipelineError):
        return "load", str(error)
    import torch

    name = type(error).__name__
    # Without a GPU an allocation that fails is a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        gc.collect()
        doing = "while it loaded the model" if loading else "on this prompt"
        return "out_of_memory", f"The worker ran out of memory {doing}."
    if loading:
        return "load", f"The model could not be loaded ({name}); the worker's log says why."
    if isinstance(error, NoPictureError):
        return "crash", "The model made no picture of this prompt (its numbers overflowed)."
    if isinstance(error, ValueError | TypeError):
        return "bad_input", f"The model does not accept this prompt ({name})."
    if isinstance(error, OSError):
        return "crash", f"The worker could not write the video ({os.strerror(error.errno or 0)})."
    return "crash", f"The model could not render this prompt ({name})."


def _die_with_parent() -> None:
    """Linux: killed when the worker dies, however it dies. Elsewhere the closed stdin ends us."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Reads commands until stdin ends."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # stdout is the protocol's: whatever libraries print goes to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    renderer = Renderer(out)
    commands: queue.Queue[Json] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            command = json.loads(line)
            if "cancel" in command:
                renderer.cancelled = int(command["cancel"])
            else:
                commands.put(command)
        os._exit(0)  # our worker is gone; nobody waits for what we are doing

    threading.Thread(target=read, daemon=True, name="commands").start()
    try:
        while True:
            renderer.obey(commands.get())
    finally:  # without the memory for as much as an answer: at once, since an orderly end needs memory too
        os._exit(1)


if __name__ == "__main__":
    main()
