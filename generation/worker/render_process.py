"""Supervises the render child: warm while it is well; when it crashes or hangs, that is an error of its jobs alone.

While the child encodes one job it denoises the next. A job that its child did not survive is tried again with the
child to itself, so that no job is given up for another one's fault. Where memory runs out the model is loaded in a
lighter way, which is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from generation.models.registry import Model
from generation.render.memory import lighter
from generation.worker.render_protocol import Conversation, RenderError

__all__ = ["OnTick", "RenderChild", "RenderError", "scrubbed"]

log = logging.getLogger(__name__)

Json = dict[str, Any]
OnTick = Callable[[Json], Awaitable[None]]

# What the child may know of our environment: where programs and caches are, the way out, and how the GPU is set up.
# No secret of FLock's; a proxy's address may hold a password, without which nothing could be fetched. It is not logged.
ALLOWED = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "CXX"}
ALLOWED |= {"HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "XDG_CACHE_HOME"}
ALLOWED |= {name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for name in (proxy, proxy.lower())}
ALLOWED_PREFIXES = ("CUDA_", "NVIDIA_", "TORCH_", "PYTORCH_", "OMP_", "MKL_", "HIP_", "ROCR_")

LONGEST_LINE = 1 << 20
AGAIN = {"load", "crash", "hang", "out_of_memory"}  # kinds that a fresh child may not meet again


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a render child may see."""
    return {k: v for k, v in environment.items() if k in ALLOWED or k.startswith(ALLOWED_PREFIXES)}


def environment_of(model: Model, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that renders with this model: offline where nothing is to be fetched."""
    own = scrubbed(environment) | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return own | ({"HF_HUB_OFFLINE": "1"} if model.is_local else {})


class RenderChild:
    """At most one child process; `render` starts it when needed, and anew after a crash."""

    def __init__(self, model: Model, *, hang_s: float = 300.0, load_s: float = 1800.0) -> None:
        """Without a sign of life for `hang_s` seconds the child is taken to be stuck.

        For `load_s` seconds while it loads, and until the first step of a model that is compiled has passed.
        """
        self._model = model
        self._hang_s = hang_s
        self._load_s = load_s
        self._child: Conversation | None = None
        self._pipeline = asyncio.Lock()  # held by the job that is denoised, or that has the child to itself
        self._jobs: set[int] = set()  # in the child, whether they are denoised or encoded
        self._empty = asyncio.Event()  # there are none
        self._empty.set()
        self._past_steps: set[int] = set()
        self._too_heavy: Conversation | None = None  # the last child that ran out of memory
        self._stepped = False  # since the child began: what is compiled is compiled
        self._number = 0
        self._closed = asyncio.Event()
        self._kills = 0  # by `kill`: no fault of a job's
        self.loaded: Json | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, while it runs."""
        return self._child.pid if self._child is not None else None

    @property
    def finishing(self) -> int:
        """Jobs whose last step is done: they are decoded or encoded, and soon need the pipeline no more."""
        return len(self._past_steps)

    async def warm(self, on_tick: OnTick | None = None) -> Json:
        """Loads the model, unless it is loaded; what it says of itself. Raises RenderError."""
        async with self._pipeline:
            return (await self._ensure(on_tick))[1]

    async def render(self, job: Json, *, on_tick: OnTick | None = None, unwanted: asyncio.Event | None = None) -> Json:
        """Renders one job: {"prompt", "seed", "video_path", "poster_path"}; the facts of the file.

        The next job begins as soon as this one is only encoded. A child that crashes, hangs or runs out of memory is
        replaced, and its jobs are tried once more, each by itself. Raises RenderError.
        """
        unwanted = unwanted or asyncio.Event()
        failures = 0
        while True:
            self._number += 1
            number = self._number
            async with self._turn(number, alone=failures > 0) as give_way:
                kills = self._kills
                try:
                    if failures:
                        await self._bury()
                    return await self._attempt(number, job, on_tick, unwanted, give_way)
                except RenderError as error:
                    failures += kills == self._kills
                    if error.kind == "out_of_memory":
                        self._lighten()
                    if self._closed.is_set():
                        raise RenderError("closed", "The worker ends.") from None
                    if unwanted.is_set():
                        raise RenderError("cancelled", "Cancelled.") from None
                    if error.kind not in AGAIN:
                        raise
                    if failures > 1:
                        await self._bury()
                        raise
                    log.warning("%s Trying once more with a fresh process.", error)

    def kill(self) -> None:
        """Ends the child at once, without holding that against the jobs that it was rendering."""
        self._kills += 1
        self._end()

    async def close(self) -> None:
        """Ends the child for good; jobs that it was rendering end with kind `closed`."""
        self._closed.set()
        self._end()
        async with self._pipeline:
            await self._empty.wait()
            await self._bury()

    # ------------------------------------------------------------------ one job

    @contextlib.asynccontextmanager
    async def _turn(self, number: int, *, alone: bool) -> AsyncIterator[Callable[[], None]]:
        """Waits for the pipeline; what it yields gives it to the next job, unless this one is to be alone."""
        await self._pipeline.acquire()
        held = True

        def give_way() -> None:
            nonlocal held
            if held and not alone:
                held = False
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
            if held:
                self._pipeline.release()

    async def _attempt(
        self,
        number: int,
        job: Json,
        on_tick: OnTick | None,
        unwanted: asyncio.Event,
        give_way: Callable[[], None],
    ) -> Json:
        child, _ = await self._ensure(on_tick)

        async def hear(said: Json) -> None:
            if "denoised" in said:
                give_way()
                return
            self._stepped = self._stepped or said["tick"]["step"] > 0
            if said["tick"]["phase"] == "encoding":
                self._past_steps.add(number)
            if on_tick is not None:
                await on_tick(said["tick"])

        return await child.ask(number, {"render": job}, "done", patience=self._patience, hear=hear, unwanted=unwanted)

    def _patience(self) -> float:
        return self._load_s if self._model.compile and not self._stepped else self._hang_s

    # ------------------------------------------------------------------ the process

    async def _ensure(self, on_tick: OnTick | None) -> tuple[Conversation, Json]:
        """A child with a warm model. A load is never cancelled, since the next job needs it."""
        if self._closed.is_set():
            raise RenderError("closed", "The worker ends.")
        if self._child is not None and self._child.alive and self.loaded is not None:
            return self._child, self.loaded
        await self._bury()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "generation.render.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment_of(self._model, os.environ),
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for us; we end the child in our own time
        )
        self._child = child = Conversation(process)
        if self._closed.is_set():  # in the meantime: `close` has found nothing to end
            child.end()

        async def hear(said: Json) -> None:
            if on_tick is not None:
                await on_tick(said["tick"])

        self._number += 1
        command = {"load": asdict(self._model)}
        try:
            self.loaded = await child.ask(
                self._number, command, "loaded", patience=lambda: self._load_s, hear=hear, unwanted=None
            )
        except RenderError as error:
            await self._bury()
            if error.kind == "out_of_memory" and self._lighten():
                return await self._ensure(on_tick)
            raise RenderError("load", str(error)) from None
        return child, self.loaded

    def _lighten(self) -> bool:
        """From the next load on in less memory; whether there is such a way. One step, also where two jobs say so."""
        if self._child is not None and self._child is self._too_heavy:
            return True
        self._too_heavy = self._child
        found = lighter(self._model, self.loaded)
        if found is None:
            return False
        self._model, to_set = found
        log.warning(
            "Memory ran out. Model %s is loaded with %s from now on; set that in the models file to begin with it.",
            self._model.id,
            to_set,
        )
        return True

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()

    async def _bury(self) -> None:
        child, self._child, self.loaded, self._stepped = self._child, None, None, False
        if child is not None:
            await child.bury()
