"""Supervises the render child: warm while it is well; when it crashes or hangs, that is an error of its job alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from generation.models import Model

log = logging.getLogger(__name__)

Json = dict[str, Any]
OnTick = Callable[[Json], Awaitable[None]]

# What the child may know of our environment: where programs and caches are, and how the GPU is set up. No secret.
ALLOWED = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE"}
ALLOWED |= {"HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"}
ALLOWED_PREFIXES = ("CUDA_", "NVIDIA_", "TORCH_", "PYTORCH_", "OMP_", "MKL_", "HIP_", "ROCR_")

LONGEST_LINE = 1 << 20
AGAIN = {"load", "crash", "hang", "out_of_memory"}  # kinds that a fresh child may not meet again


class RenderError(Exception):
    """A job could not be rendered; str() is a sentence that its member may read.

    `kind`: cancelled, bad_input, out_of_memory, crash, hang; load when there is no model to render with;
    closed when the worker ends.
    """

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a render child may see."""
    return {k: v for k, v in environment.items() if k in ALLOWED or k.startswith(ALLOWED_PREFIXES)}


class RenderChild:
    """At most one child process; `render` starts it when needed, and anew after a crash."""

    def __init__(self, model: Model, *, hang_s: float = 300.0, load_s: float = 1800.0) -> None:
        """Without a sign of life for `hang_s` seconds (`load_s` while loading) the child is taken to be stuck."""
        self._model = model
        self._hang_s = hang_s
        self._load_s = load_s
        self._process: asyncio.subprocess.Process | None = None
        self._busy = asyncio.Lock()
        self._number = 0
        self._closed = False
        self._killed = False  # by `kill`: no fault of the job's
        self.loaded: Json | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def warm(self, on_tick: OnTick | None = None) -> Json:
        """Loads the model, unless it is loaded; what it says of itself. Raises RenderError."""
        async with self._busy:
            return await self._ensure(on_tick)

    async def render(self, job: Json, *, on_tick: OnTick | None = None, unwanted: asyncio.Event | None = None) -> Json:
        """Renders one job: {"prompt", "seed", "video_path", "poster_path"}; the facts of the file.

        A child that crashes, hangs or runs out of memory is replaced, and the job is tried once more.
        Raises RenderError.
        """
        unwanted = unwanted or asyncio.Event()
        async with self._busy:
            failures = 0
            while True:
                self._killed = False
                try:
                    await self._ensure(on_tick, unwanted)
                    self._number += 1
                    command = {"render": job, "number": self._number}
                    return await self._converse(command, "done", on_tick, unwanted)
                except RenderError as error:
                    failures += not self._killed
                    if error.kind in AGAIN:
                        await self._bury()
                    if self._closed:
                        raise RenderError("closed", "The worker ends.") from None
                    if unwanted.is_set():
                        raise RenderError("cancelled", "Cancelled.") from None
                    if error.kind not in AGAIN or failures > 1:
                        raise
                    log.warning("%s Trying once more with a fresh process.", error)

    def kill(self) -> None:
        """Ends the child at once, without holding that against the job that it was rendering."""
        self._killed = True
        self._end()

    async def close(self) -> None:
        """Ends the child for good; a job that it was rendering ends with kind `closed`."""
        self._closed = True
        self._end()
        async with self._busy:
            await self._bury()

    # ------------------------------------------------------------------ the process

    async def _ensure(self, on_tick: OnTick | None, unwanted: asyncio.Event | None = None) -> Json:
        if self._closed:
            raise RenderError("closed", "The worker ends.")
        if self._process is not None and self._process.returncode is None and self.loaded is not None:
            return self.loaded
        await self._bury()
        environment = scrubbed(os.environ) | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
        if self._model.is_local:
            environment["HF_HUB_OFFLINE"] = "1"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "generation.render",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for us; we end the child in our own time
        )
        command = {"load": asdict(self._model)}
        try:
            self.loaded = await self._converse(command, "loaded", on_tick, unwanted or asyncio.Event())
        except RenderError as error:
            await self._bury()
            raise RenderError("load", str(error)) from None
        return self.loaded

    async def _converse(self, command: Json, wanted: str, on_tick: OnTick | None, unwanted: asyncio.Event) -> Json:
        """Sends a command and reads until its answer or its error; whatever else happens, the child ends with it."""
        process = self._process
        assert process is not None  # noqa: S101  # the callers see to it
        assert process.stdin is not None  # noqa: S101  # as above
        assert process.stdout is not None  # noqa: S101  # as above
        patience = self._load_s if wanted == "loaded" else self._hang_s
        number = command.get("number")
        cancelling = asyncio.create_task(self._when_unwanted(unwanted, process, number))
        answered = False
        try:
            process.stdin.write(json.dumps(command).encode() + b"\n")
            await process.stdin.drain()
            while True:
                async with asyncio.timeout(patience):
                    line = await process.stdout.readline()
                if not line:
                    raise RenderError("crash", await self._epitaph(process))
                answer = json.loads(line)
                answered = wanted in answer or "error" in answer
                if wanted in answer:
                    return dict(answer[wanted])
                if "error" in answer:
                    raise RenderError(answer["error"]["kind"], answer["error"]["sentence"])
                if on_tick is not None:
                    await on_tick(answer["tick"])
        except TimeoutError:
            raise RenderError("hang", f"The render showed no progress for {patience:.0f} s and was stopped.") from None
        except (ConnectionError, ValueError, KeyError):
            self._end()
            raise RenderError("crash", await self._epitaph(process)) from None
        finally:
            cancelling.cancel()
            if not answered:
                self._end()

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    @staticmethod
    async def _when_unwanted(unwanted: asyncio.Event, process: asyncio.subprocess.Process, number: int | None) -> None:
        """Asks the child to stop the job; a load is waited for, since the next job needs it."""
        await unwanted.wait()
        if process.stdin is not None and number is not None:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps({"cancel": number}).encode() + b"\n")
                await process.stdin.drain()

    @staticmethod
    async def _epitaph(process: asyncio.subprocess.Process) -> str:
        code = await process.wait()
        if code == -signal.SIGKILL:
            return "The render process was killed, most likely because the machine ran out of memory."
        return f"The render process ended unexpectedly (code {code})."

    async def _bury(self) -> None:
        """Waits for the end of the child and closes its pipes."""
        if self._process is None:
            return
        self._end()
        await self._process.wait()
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()
        self._process, self.loaded = None, None
