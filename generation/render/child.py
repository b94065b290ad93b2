"""The render process: keeps a diffusers pipeline warm and renders the videos that its worker asks for. With torch.

It reads commands from stdin and writes answers to stdout, as generation/render_messages.py has them, and ends when
stdin is closed. After it has answered `denoised`, the next video may be asked for: it is denoised while this one is
encoded. One is encoded at a time, so that no more than two videos' frames are ever in memory; three where a taste
chooses among several takes of a prompt. generation/feedback/best_of.py starts it, with the taste that chooses.
"""

from __future__ import annotations

import gc
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
from dataclasses import asdict, fields, replace
from typing import TextIO

from generation.models.registry import Model
from generation.prctl import die_with_parent
from generation.prompt_words import PromptWords
from generation.render.denoise import Chooser, NoPictureError, Takes, one_take, peak_memory
from generation.render.heartbeat import Heartbeat
from generation.render.loading import WarmPipeline, load
from generation.render.lora.releases import ReleaseMisfitError, ReleaseSwitch
from generation.render.memory import NoPipelineError
from generation.render.prompt_cache import PromptCache
from generation.render.safety import Classifier, load_classifier
from generation.render_messages import (
    Alive,
    Answer,
    Cancel,
    CommandFailed,
    Denoised,
    FailureKind,
    LoadedModel,
    LoadModel,
    Measured,
    MessageError,
    ModelLoaded,
    RenderedVideo,
    RenderPhase,
    RenderRequest,
    RenderSettings,
    RenderVideo,
    Tick,
    VideoRendered,
    line_of,
    read_command,
)
from generation.video.certificates import CertificateError
from generation.video.finalize import finalize

log = logging.getLogger(__name__)


class CancelledError(Exception):
    """The video is no longer wanted."""


def readable(prompt: str) -> str:
    """Return the prompt without half characters and control characters such as NUL, which no tokenizer can read.

    Each is replaced by one character, so that a place in the prompt stays the same.
    """
    whole = prompt.encode("utf-8", "replace").decode()
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in whole)


def words_of(warm: WarmPipeline, prompt: str) -> PromptWords | None:
    """Return the words of a prompt that the model knows. No video fails for that: a reader in trouble tells nothing."""
    if warm.reader is None:
        return None
    try:
        return warm.reader.read(readable(prompt))
    except Exception as error:  # whatever a tokenizer raises
        log.warning("The words of a prompt could not be told (%s).", type(error).__name__)
        return None


class Renderer:
    """One pipeline, loaded once; one video is denoised at a time, beside one that is encoded."""

    def __init__(self, out: TextIO, choose: Chooser = one_take) -> None:
        """`choose` has the takes of each request rendered, and keeps one."""
        self._out = out
        self._choose = choose
        self._writing = threading.Lock()
        self._warm: WarmPipeline | None = None
        self._prompts: PromptCache | None = None
        self._releases: ReleaseSwitch | None = None
        self._encoding: Future[None] | None = None
        self.cancelled: set[int] = set()  # numbers of commands
        self._classifier: Classifier | None = None
        self._current: int | None = None  # the command that loads or denoises
        self._heartbeat = Heartbeat(self._say_alive)

    def say(self, answer: Answer) -> None:
        """Write one line of the protocol."""
        with self._writing:
            self._out.write(line_of(answer))
            self._out.flush()

    def _say_alive(self) -> None:
        number = self._current
        if number is not None:
            self.say(Alive(number))

    def _say_tick(
        self, number: int, phase: RenderPhase, step: int, steps: int, words: PromptWords | None = None
    ) -> None:
        self.say(Tick(number, phase, step, steps, words))

    def load(self, model: Model, number: int) -> LoadedModel:
        """Load the pipeline, and return what it is and how it will render."""
        self._say_tick(number, "loading", 0, 1)
        start = time.monotonic()
        self._heartbeat.loading = True
        try:
            self._classifier = load_classifier(model.classifier) if model.classifier else None
            warm = self._warm = load(model)
        finally:
            self._heartbeat.loading = False
        self._heartbeat.watch(warm.pipeline, compiled=model.compile)
        self._prompts = PromptCache(warm.pipeline)
        self._releases = ReleaseSwitch(warm.pipeline, warm.model)
        return LoadedModel(
            model_id=model.id,
            revision=warm.revision,
            preset=warm.preset,
            classifier=self._classifier.identity if self._classifier else None,
            notes=warm.notes,
            device=warm.device,
            settings=RenderSettings(**{each.name: getattr(warm.model, each.name) for each in fields(RenderSettings)}),
            can=warm.can,
            gpus=warm.gpus,
            gpu_mib=warm.gpu_mib,
            seconds=round(time.monotonic() - start, 3),
        )

    def denoise(self, request: RenderRequest, number: int) -> Callable[[], RenderedVideo]:
        """Make the frames of one video, and return what makes the file of them, for any thread to call.

        Raises CancelledError within one step of the cancellation.
        """
        warm = self._warm
        assert warm is not None  # noqa: S101  # `load` came first
        assert self._prompts is not None  # noqa: S101  # as above
        assert self._releases is not None  # noqa: S101  # as above
        start = time.monotonic()

        def on_step(step: int, steps: int) -> None:
            self._check_cancelled(number)
            words = None if step else words_of(warm, request.prompt)
            self._say_tick(number, "denoising", step, steps, words)
            if step >= steps:
                self._say_encoding(number)

        self._check_cancelled(number)
        self._switch_release(self._releases, request)
        takes = Takes(warm, self._prompts, readable(request.prompt).strip(), on_step)
        chosen = self._choose(warm, self._releases, request, takes)
        self._say_encoding(number)  # a sign of life: the encoder may be busy with another video
        seconds, memory = takes.seconds(), peak_memory()
        findings = self._classifier.look_at(chosen.take.frames) if self._classifier else None

        def complete() -> RenderedVideo:
            self._check_cancelled(number)
            encoding_start = time.monotonic()
            encoded, card = finalize(
                chosen.take.frames,
                replace(request, seed=chosen.take.seed),
                model=warm.model,
                revision=warm.revision,
                preset=warm.preset,
                device=warm.device,
                latents=chosen.take.latents,
                choice=chosen.choice,
            )
            seconds["encoding"] = time.monotonic() - encoding_start
            return RenderedVideo(
                **asdict(encoded),
                provenance=card,
                seconds=round(time.monotonic() - start, 3),
                model_id=warm.model.id,
                model_revision=warm.revision,
                findings=findings,
                measured=Measured(
                    seconds={name: round(value, 4) for name, value in seconds.items()},
                    steps=takes.passed,
                    prompt_known=takes.prompt_known,
                    memory=memory,
                ),
            )

        return complete

    def _switch_release(self, releases: ReleaseSwitch, request: RenderRequest) -> None:
        """Put the release of a request into the pipeline. Raises ReleaseMisfitError."""
        if releases.needs_switch(request.release):
            self._heartbeat.loading = True
            try:
                releases.use(request.release)
            finally:
                self._heartbeat.loading = False

    def _say_encoding(self, number: int) -> None:
        self._say_tick(number, "encoding", 0, 1)

    def _check_cancelled(self, number: int) -> None:
        if number in self.cancelled:
            raise CancelledError

    # ------------------------------------------------------------------ commands

    def obey(self, command: LoadModel | RenderVideo) -> None:
        """Carry a command out and answer it, with a failure if it must be."""
        number = self._current = command.number
        if isinstance(command, LoadModel):
            model = command.model
            self._answer(number, lambda: ModelLoaded(number, self.load(model, number)), loading=True)
        else:
            request = command.request
            self._answer(number, lambda: self._denoise_then_encode(request, number))
        self._current = None

    def reject(self, number: int, error: MessageError) -> None:
        """Answer a command that cannot be read."""
        self._say_failure(number, error, loading=False)

    def _denoise_then_encode(self, request: RenderRequest, number: int) -> Denoised:
        complete = self.denoise(request, number)
        if self._encoding is not None:
            wait([self._encoding])
        self._encoding = self._answer_beside(number, lambda: VideoRendered(number, complete()))
        return Denoised(number)

    def _answer_beside(self, number: int, work: Callable[[], Answer]) -> Future[None]:
        """Do some work and answer with its result, in a thread of its own."""
        end: Future[None] = Future()

        def run() -> None:
            try:
                self._answer(number, work)
                end.set_result(None)
            finally:
                if not end.done():  # without the memory for as much as an answer
                    os._exit(1)

        threading.Thread(target=run, daemon=True, name="encoder").start()
        return end

    def _answer(self, number: int, work: Callable[[], Answer], *, loading: bool = False) -> None:
        try:
            self.say(work())
        except CancelledError:
            self.say(CommandFailed(number, FailureKind.CANCELLED, "Cancelled."))
        except Exception as error:
            self._say_failure(number, error, loading=loading)

    def _say_failure(self, number: int, error: Exception, *, loading: bool) -> None:
        kind, sentence = _failure_of(error, loading=loading)
        log.error("Error of kind %s", kind, exc_info=error)
        self.say(CommandFailed(number, kind, sentence))


def _failure_of(error: Exception, *, loading: bool) -> tuple[FailureKind, str]:
    """Return the kind of an error, and a sentence that a member may read: no path, no prompt."""
    if isinstance(error, NoPipelineError):
        return FailureKind.LOAD, str(error)
    import torch

    name = type(error).__name__
    # Without a GPU an allocation that fails is a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        gc.collect()
        occasion = "while it loaded the model" if loading else "on this prompt"
        return FailureKind.OUT_OF_MEMORY, f"The worker ran out of memory {occasion}."
    if loading:
        return FailureKind.LOAD, f"The model could not be loaded ({name}); the worker's log says why."
    if isinstance(error, CertificateError):  # the log has the reason, and another process would not help
        sentence = "The worker could not sign the video, and unsigned it posts none; its operator must help."
        return FailureKind.BAD_INPUT, sentence
    if isinstance(error, NoPictureError):
        return FailureKind.CRASH, "The model made no picture of this prompt (its numbers overflowed)."
    if isinstance(error, ReleaseMisfitError):
        return FailureKind.BAD_INPUT, str(error)
    if isinstance(error, ValueError | TypeError):
        return FailureKind.BAD_INPUT, f"The model does not accept this prompt ({name})."
    if isinstance(error, OSError):
        return FailureKind.CRASH, f"The worker could not write the video ({os.strerror(error.errno or 0)})."
    return FailureKind.CRASH, f"The model could not render this prompt ({name})."


def _read_commands(renderer: Renderer, commands: queue.Queue[LoadModel | RenderVideo]) -> None:
    """Read commands until stdin ends, then end the process: its worker is gone, and nobody waits for the video."""
    for line in sys.stdin:
        try:
            command = read_command(line)
        except MessageError as error:
            if error.number is None:
                log.error("The worker's command cannot be read: %s", error)
                os._exit(1)
            renderer.reject(error.number, error)
            continue
        if isinstance(command, Cancel):
            renderer.cancelled.add(command.number)
        else:
            commands.put(command)
    os._exit(0)


def serve(choose: Chooser) -> None:
    """Carry out commands until stdin ends."""
    die_with_parent()  # where there is no Linux, the closed stdin ends it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # stdout is the protocol's: whatever libraries print goes to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    renderer = Renderer(out, choose)
    commands: queue.Queue[LoadModel | RenderVideo] = queue.Queue()
    threading.Thread(target=_read_commands, args=(renderer, commands), daemon=True, name="commands").start()
    try:
        while True:
            renderer.obey(commands.get())
    finally:  # without the memory for as much as an answer: at once, since an orderly end needs memory too
        os._exit(1)
