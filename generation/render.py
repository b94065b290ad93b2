"""The render child: keeps a diffusers pipeline warm and renders what it is told, with torch.

It speaks lines of JSON over its own stdin and stdout, and ends when stdin is closed.

    in    {"load": {model}} · {"render": {job}, "number": n} · {"cancel": n}
    out   {"loaded": {...}} · {"tick": {"phase", "step", "steps"}} · {"done": {...}} · {"error": {"kind", "sentence"}}

Kinds of errors: load, cancelled, bad_input, out_of_memory, crash.
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
import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from generation.denoise import NoPictureError, denoise, peak_memory
from generation.encode import encode
from generation.loading import Loaded, load
from generation.memory import NoPipelineError
from generation.models import Model
from generation.steps import Steps

log = logging.getLogger(__name__)

Json = dict[str, Any]

# Of a model, what makes it quicker or slower beside its preset.
SETTINGS = ("dtype", "offload", "quantise", "compile", "cache", "cache_threshold", "attention", "context_parallel")

PR_SET_PDEATHSIG = 1  # prctl(2)


class CancelledError(Exception):
    """Somebody no longer wants this video."""


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
        self._loaded: Loaded | None = None
        self.cancelled = 0  # the number of the job that was cancelled last

    def say(self, **line: Any) -> None:
        """One line of the protocol."""
        with self._writing:
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()

    def load(self, model: Model) -> Json:
        """Loads the pipeline; what it is and how it will render."""
        self.say(tick={"phase": "loading", "step": 0, "steps": 1})
        begun = time.monotonic()
        self._loaded, self._model = load(model), model
        loaded = self._loaded
        return {
            "model_id": model.id,
            "revision": loaded.revision,
            "preset": asdict(loaded.preset),
            "said": loaded.said,
            "device": loaded.device,
            "settings": {name: getattr(model, name) for name in SETTINGS},
            "can": loaded.can,
            "gpus": loaded.gpus,
            "gpu_mib": loaded.gpu_mib,
            "seconds": round(time.monotonic() - begun, 3),
        }

    def render(self, job: Json, number: int) -> Json:
        """Renders and encodes one video. Raises CancelledError within one step of being told."""
        loaded, model = self._loaded, self._model
        assert loaded is not None  # noqa: S101  # `load` came first
        assert model is not None  # noqa: S101  # as above
        preset = loaded.preset
        begun = time.monotonic()

        def on_step(step: int, steps: int) -> None:
            self._go_on(number)
            self.say(tick={"phase": "denoising", "step": step, "steps": steps})
            if step >= steps:
                self.say(tick={"phase": "encoding", "step": 0, "steps": 1})

        self._go_on(number)
        steps = Steps(on_step, steps=preset.steps, passes=preset.passes)
        self.say(tick={"phase": "denoising", "step": 0, "steps": steps.steps})
        frames = denoise(loaded.pipeline, preset, steps, prompt=readable(job["prompt"]), seed=int(job["seed"]))
        self._go_on(number)
        measured = steps.seconds()
        decoded = time.monotonic()
        encoded = encode(frames, preset.fps, Path(job["video_path"]), Path(job["poster_path"]), upscale=preset.upscale)
        measured |= {"encoding": time.monotonic() - decoded, "step": measured["denoising"] / max(1, steps.done)}
        return {
            **asdict(encoded),
            "seconds": round(time.monotonic() - begun, 3),
            "model_id": model.id,
            "model_revision": loaded.revision,
            "measured": {
                "seconds": {name: round(value, 4) for name, value in measured.items()},
                "steps": steps.done,
                "memory": peak_memory(),
            },
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
                self.say(loaded=self.load(Model.from_json(command["load"])))
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
