"""Supervises the render process: warm while it is well; when it crashes or hangs, only its own jobs fail.

While the process encodes one video it denoises the next. A job whose process died is tried again with a process to
itself, so that no job is given up for another one's fault. Where memory runs out the model is loaded in a lighter way,
which is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from generation.models.registry import Model
from generation.render_messages import (
    Denoised,
    FailureKind,
    LoadedModel,
    LoadModel,
    ModelLoaded,
    RenderedVideo,
    RenderRequest,
    RenderVideo,
    Tick,
    VideoRendered,
)
from generation.worker.memory_saving import lighter
from generation.worker.render_protocol import ChildProcess, RenderError

__all__ = ["OnTick", "RenderChild", "RenderError", "scrubbed"]

log = logging.getLogger(__name__)

OnTick = Callable[[Tick], Awaitable[None]]

# The variables that the render process may see: where programs and caches are, the way out, and how the GPU is set up.
# No secret of FLock's; a proxy's address may hold a password, without which nothing could be fetched. It is not logged.
ALLOWED = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "CXX"}
ALLOWED |= {"HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "XDG_CACHE_HOME"}
ALLOWED |= {name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for name in (proxy, proxy.lower())}
ALLOWED_PREFIXES = ("CUDA_", "NVIDIA_", "TORCH_", "PYTORCH_", "OMP_", "MKL_", "HIP_", "ROCR_")

LONGEST_LINE = 1 << 20
# The failures that a fresh process may not meet again.
WORTH_A_RETRY = {FailureKind.LOAD, FailureKind.CRASH, FailureKind.HANG, FailureKind.OUT_OF_MEMORY}
ENDING = "The worker ends."


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that a render process may see."""
    return {k: v for k, v in environment.items() if k in ALLOWED or k.startswith(ALLOWED_PREFIXES)}


def environment_of(model: Model, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that renders with this model: offline where nothing is to be fetched."""
    own = scrubbed(environment) | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return own | ({"HF_HUB_OFFLINE": "1"} if model.is_local else {})


class RenderChild:
    """At most one render process; `render` starts it when needed, and anew after a crash."""

    def __init__(self, model: Model, *, hang_s: float = 300.0, load_s: float = 1800.0) -> None:
        """Without a sign of life for `hang_s` seconds the process is taken to be stuck.

        For `load_s` seconds while it loads, and until the first step of a model that is compiled has passed.
        """
        self._model = model
        self._hang_s = hang_s
        self._load_s = load_s
        self._child: ChildProcess | None = None
        self._pipeline = asyncio.Lock()  # of the job that is denoised, or that has the process to itself
        self._jobs: set[int] = set()  # in the process, whether they are denoised or encoded
        self._empty = asyncio.Event()  # there are none
        self._empty.set()
        self._past_steps: set[int] = set()
        self._too_heavy: ChildProcess | None = None  # the last process that ran out of memory
        self._release: str | None = None  # the adapter of the last job, which is loaded
        self._stepped = False  # since the process began: all that is compiled has been compiled
        self._number = 0
        self._closed = asyncio.Event()
        self._kills = 0  # by `kill`: no fault of a job's
        self.loaded_model: LoadedModel | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process, while it runs."""
        return self._child.pid if self._child is not None else None

    @property
    def finishing(self) -> int:
        """The number of jobs whose last step is done: they are decoded or encoded, and soon need no pipeline."""
        return len(self._past_steps)

    async def warm(self, on_tick: OnTick | None = None) -> LoadedModel:
        """Load the model, unless it is loaded, and return how it will render. Raises RenderError."""
        async with self._pipeline:
            return (await self._ensure(on_tick))[1]

    async def render(
        self, request: RenderRequest, *, on_tick: OnTick | None = None, cancel: asyncio.Event | None = None
    ) -> RenderedVideo:
        """Render one video; once `cancel` is set, stop within one step.

        The next job begins as soon as this one is only encoded. A process that crashes, hangs or runs out of memory is
        replaced, and its jobs are tried once more, each by itself. Raises RenderError.
        """
        cancel = cancel or asyncio.Event()
        failures = 0
        while True:
            self._number += 1
            number = self._number
            async with self._turn(number, alone=failures > 0) as give_way:
                kills = self._kills
                try:
                    if failures:
                        await self._discard()
                    return await self._attempt(RenderVideo(number, request), on_tick, cancel, give_way)
                except RenderError as error:
                    failures += kills == self._kills
                    if error.kind is FailureKind.OUT_OF_MEMORY:
                        self._lighten()
                    if self._closed.is_set():
                        raise RenderError(FailureKind.CLOSED, ENDING) from None
                    if cancel.is_set():
                        raise RenderError(FailureKind.CANCELLED, "Cancelled.") from None
                    if error.kind not in WORTH_A_RETRY:
                        raise
                    if failures > 1:
                        await self._discard()
                        raise
                    log.warning("%s Trying once more with a fresh process.", error)

    def kill(self) -> None:
        """Kill the process at once, without counting that against the jobs that it was rendering."""
        self._kills += 1
        self._end()

    async def close(self) -> None:
        """Kill the process for good; jobs that it was rendering end with the kind `closed`."""
        self._closed.set()
        self._end()
        async with self._pipeline:
            await self._empty.wait()
            await self._discard()

    # ------------------------------------------------------------------ one job

    @contextlib.asynccontextmanager
    async def _turn(self, number: int, *, alone: bool) -> AsyncIterator[Callable[[], None]]:
        """Wait for the pipeline; calling the value gives it to the next job, unless this one is to be alone."""
        await self._pipeline.acquire()
        has_pipeline = True

        def give_way() -> None:
            nonlocal has_pipeline
            if has_pipeline and not alone:
                has_pipeline = False
                self._pipeline.release()

        try:
            if alone:
                await self._empty.wait()
            self._jobs.add(number)
            self._empty.clear()
            yield give_way
        finally:
            self._past_steps.discard(number)
            self._jobs.discard(number)
            if not self._jobs:
                self._empty.set()
            if has_pipeline:
                self._pipeline.release()

    async def _attempt(
        self, command: RenderVideo, on_tick: OnTick | None, cancel: asyncio.Event, give_way: Callable[[], None]
    ) -> RenderedVideo:
        child, _ = await self._ensure(on_tick)
        release = command.request.release
        if self._release != (adapter := None if release is None else release.adapter_sha256):
            self._release, self._stepped = adapter, False  # a compiled model compiles anew

        async def on_progress(answer: Tick | Denoised) -> None:
            if isinstance(answer, Denoised):
                give_way()
                return
            self._stepped = self._stepped or answer.step > 0
            if answer.phase == "encoding":
                self._past_steps.add(command.number)
            if on_tick is not None:
                await on_tick(answer)

        answer = await child.ask(
            command, VideoRendered, patience=self._patience, on_progress=on_progress, cancel=cancel
        )
        return answer.video

    def _patience(self) -> float:
        return self._load_s if self._model.compile and not self._stepped else self._hang_s

    # ------------------------------------------------------------------ the process

    async def _ensure(self, on_tick: OnTick | None) -> tuple[ChildProcess, LoadedModel]:
        """Return a process with a warm model. A load is never cancelled, since the next job needs it."""
        if self._closed.is_set():
            raise RenderError(FailureKind.CLOSED, ENDING)
        if self._child is not None and self._child.alive and self.loaded_model is not None:
            return self._child, self.loaded_model
        await self._discard()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "generation.feedback.best_of",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment_of(self._model, os.environ),
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for the worker, which ends the process in its own time
        )
        self._child = child = ChildProcess(process)
        if self._closed.is_set():  # in the meantime, when `close` had no process to end
            child.end()

        async def on_progress(answer: Tick | Denoised) -> None:
            if on_tick is not None and isinstance(answer, Tick):
                await on_tick(answer)

        self._number += 1
        command = LoadModel(self._number, self._model)
        try:
            answer = await child.ask(
                command, ModelLoaded, patience=lambda: self._load_s, on_progress=on_progress, cancel=None
            )
        except RenderError as error:
            await self._discard()
            if error.kind is FailureKind.OUT_OF_MEMORY and self._lighten():
                return await self._ensure(on_tick)
            raise RenderError(FailureKind.LOAD, str(error)) from None
        self.loaded_model = answer.model
        return child, answer.model

    def _lighten(self) -> bool:
        """Load in less memory from the next load on; False where there is no such way.

        It is one step, also where two jobs of one process ran out of memory.
        """
        if self._child is not None and self._child is self._too_heavy:
            return True
        self._too_heavy = self._child
        lighter_way = lighter(self._model, self.loaded_model)
        if lighter_way is None:
            return False
        self._model, to_set = lighter_way
        log.warning(
            "Memory ran out. Model %s is loaded with %s from now on; set that in the models file to begin with it.",
            self._model.id,
            to_set,
        )
        return True

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()

    async def _discard(self) -> None:
        child, self._child, self.loaded_model, self._stepped = self._child, None, None, False
        if child is not None:
            await child.close()
