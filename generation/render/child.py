"""The render child: keeps a diffusers pipeline warm and renders what it is told, with torch.

It speaks lines of JSON over its own stdin and stdout, and ends when stdin is closed.

    in    {"load": {model}, "number": n} · {"render": {job}, "number": n} · {"cancel": n}
    out   {"loaded": {...}} · {"tick": {"phase", "step", "steps"}} · {"denoised": {}} · {"done": {...}}
          · {"error": {"kind", "sentence"}} · {"alive": {}}, each with the number of the command that it is about

After `denoised` the next job may be given: it is denoised while this one is encoded. One is encoded at a time, so that
no more than two videos' frames are ever held. Kinds of errors: load, cancelled, bad_input, out_of_memory, crash.
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
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, TextIO

from generation.models.registry import Model
from generation.render.denoise import NoPictureError, denoise, peak_memory
from generation.render.heartbeat import Pulse
from generation.render.loading import Loaded, load
from generation.render.memory import NoPipelineError
from generation.render.progress import Steps
from generation.render.prompt_cache import PromptCache
from generation.render.safety import Classifier, load_classifier
from generation.video.certificates import CertificateError
from generation.video.finalize import finalize

log = logging.getLogger(__name__)

Json = dict[str, Any]

# Of a model, what makes it quicker or slower beside its preset.
SETTINGS = ("dtype", "offload", "quantise", "compile", "cache", "cache_threshold", "attention")

PR_SET_PDEATHSIG = 1  # prctl(2)


class CancelledError(Exception):
    """Somebody no longer wants this video."""


def _request(job: Json) -> Any:
    signing = SimpleNamespace(**job["certificate"]) if job.get("certificate") else None
    options = {"fit_bytes": job.get("fit_bytes"), "label_frames": bool(job.get("label_frames")), "signing": signing}
    return SimpleNamespace(**{**job, **options, "seed": int(job["seed"])})


def readable(prompt: str) -> str:
    """The prompt without what no tokenizer can read: half characters, and control characters such as NUL."""
    whole = prompt.encode("utf-8", "replace").decode()
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in whole).strip()


class Renderer:
    """One pipeline, loaded once; one job is denoised at a time, beside one that is encoded."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._model: Model | None = None
        self._loaded: Loaded | None = None
        self._prompts: PromptCache | None = None
        self._encoding: Future[None] | None = None
        self.unwanted: set[int] = set()  # numbers of jobs
        self._classifier: Classifier | None = None
        self._doing: int | None = None  # the command that loads or denoises
        self._pulse = Pulse(self._say_alive)

    def _say_alive(self) -> None:
        doing = self._doing
        if doing is not None:
            self.say(doing, alive={})

    def say(self, number: int, **line: Any) -> None:
        """One line of the protocol."""
        with self._writing:
            self._out.write(json.dumps({"number": number, **line}) + "\n")
            self._out.flush()

    def load(self, model: Model, number: int) -> Json:
        """Loads the pipeline; what it is and how it will render."""
        self.say(number, tick={"phase": "loading", "step": 0, "steps": 1})
        begun = time.monotonic()
        self._pulse.loading = True
        try:
            self._classifier = load_classifier(model.classifier) if model.classifier else None
            loaded = self._loaded = load(model)
            self._model = loaded.model
        finally:
            self._pulse.loading = False
        self._pulse.feel(loaded.pipeline, compiled=model.compile)
        self._prompts = PromptCache(loaded.pipeline)
        return {
            "model_id": model.id,
            "revision": loaded.revision,
            "preset": asdict(loaded.preset),
            "classifier": self._classifier.identity if self._classifier else None,
            "said": loaded.said,
            "device": loaded.device,
            "settings": {name: getattr(loaded.model, name) for name in SETTINGS},
            "can": loaded.can,
            "gpus": loaded.gpus,
            "gpu_mib": loaded.gpu_mib,
            "seconds": round(time.monotonic() - begun, 3),
        }

    def denoise(self, job: Json, number: int) -> Callable[[], Json]:
        """Makes the frames of one video, and returns what makes the video of them, for any thread to call.

        Raises CancelledError within one step of being told.
        """
        loaded, model = self._loaded, self._model
        assert loaded is not None  # noqa: S101  # `load` came first
        assert model is not None  # noqa: S101  # as above
        assert self._prompts is not None  # noqa: S101  # as above
        preset, prompts = loaded.preset, self._prompts
        read_before = prompts.hits
        begun = time.monotonic()

        def on_step(step: int, steps: int) -> None:
            self._go_on(number)
            self.say(number, tick={"phase": "denoising", "step": step, "steps": steps})
            if step >= steps:
                self._say_encoding(number)

        self._go_on(number)
        steps = Steps(on_step, steps=preset.steps, passes=preset.passes)
        self.say(number, tick={"phase": "denoising", "step": 0, "steps": steps.steps})
        frames = denoise(loaded.pipeline, preset, steps, prompt=readable(job["prompt"]), seed=int(job["seed"]))
        self._say_encoding(number)  # a sign of life: the encoder may be busy with another video
        measured, memory = steps.seconds(), peak_memory()
        prompt_known = prompts.hits > read_before
        measured["step"] = measured["denoising"] / max(1, steps.done)
        findings = self._classifier.look_at(frames) if self._classifier else None

        def complete() -> Json:
            self._go_on(number)
            since = time.monotonic()
            encoded, card = finalize(
                frames, _request(job), model=model, revision=loaded.revision, preset=preset, device=loaded.device
            )
            measured["encoding"] = time.monotonic() - since
            return {
                **asdict(encoded),
                "provenance": card,
                "seconds": round(time.monotonic() - begun, 3),
                "model_id": model.id,
                "model_revision": loaded.revision,
                "findings": findings,
                "measured": {
                    "seconds": {name: round(value, 4) for name, value in measured.items()},
                    "steps": steps.done,
                    "prompt_known": prompt_known,  # its text encoder was not asked
                    "memory": memory,
                },
            }

        return complete

    def _say_encoding(self, number: int) -> None:
        self.say(number, tick={"phase": "encoding", "step": 0, "steps": 1})

    def _go_on(self, number: int) -> None:
        if number in self.unwanted:
            raise CancelledError

    # ------------------------------------------------------------------ commands

    def obey(self, command: Json) -> None:
        """Does what a command says and answers it, with an error of the job if it must be."""
        number = self._doing = int(command["number"])
        if "load" in command:
            self._answering(number, lambda: {"loaded": self.load(Model.from_json(command["load"]), number)}, load=True)
        else:
            self._answering(number, lambda: self._denoise_then_encode(command["render"], number))
        self._doing = None

    def _denoise_then_encode(self, job: Json, number: int) -> Json:
        finish = self.denoise(job, number)
        if self._encoding is not None:
            wait([self._encoding])
        self._encoding = self._beside(number, lambda: {"done": finish()})
        return {"denoised": {}}

    def _beside(self, number: int, work: Callable[[], Json]) -> Future[None]:
        """Does and answers something in a thread of its own."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                self._answering(number, work)
                done.set_result(None)
            finally:
                if not done.done():  # without the memory for as much as an answer
                    os._exit(1)

        threading.Thread(target=run, daemon=True, name="encoder").start()
        return done

    def _answering(self, number: int, work: Callable[[], Json], *, load: bool = False) -> None:
        try:
            self.say(number, **work())
        except CancelledError:
            self.say(number, error={"kind": "cancelled", "sentence": "Cancelled."})
        except Exception as error:
            kind, sentence = _meaning(error, loading=load)
            log.exception("Error of kind %s", kind)
            self.say(number, error={"kind": kind, "sentence": sentence})


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
    if isinstance(error, CertificateError):  # the log has the reason, and another child would not help
        return "bad_input", "The worker could not sign the video, and unsigned it posts none; its operator must help."
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
                renderer.unwanted.add(int(command["cancel"]))
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
