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
ALLOWED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
ALLOWED_PREFIXES = (
    "CUDA_",
    "NVIDIA_",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_HUB_CACHE",
    "TORCH",
    "OMP_",
    "MKL_",
    "HIP_",
    "ROCR_",
)

MOST_LINE = 1 << 20


class RenderError(Exception):
    """A job could not be rendered. `kind`: cancelled, out_of_memory, crash, hang, load; str() is the sentence."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a render child may see."""
    return {k: v for k, v in environment.items() if k in ALLOWED or k.startswith(ALLOWED_PREFIXES)}


class RenderChild:
    """At most one child process; `render` starts it when needed and starts it anew after a crash."""

    def __init__(self, model: Model, *, hang_s: float = 300.0, load_s: float = 1800.0) -> None:
        """Without a sign of life for `hang_s` seconds (`load_s` while loading) the child is taken to be stuck."""
        self._model = model
        self._hang_s = hang_s
        self._load_s = load_s
        self._process: asyncio.subprocess.Process | None = None
        self._busy = asyncio.Lock()
        self.loaded: Json | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def render(self, job: Json, *, on_tick: OnTick, unwanted: asyncio.Event) -> Json:
        """Renders one job: {"prompt", "seed", "video_path", "poster_path"}. Raises RenderError."""
        async with self._busy:
            await self._ensure(on_tick)
            return await self._converse({"render": job}, "done", on_tick, unwanted)

    async def warm(self) -> Json:
        """Loads the model before the first job; what it says of itself. Raises RenderError."""

        async def quiet(_tick: Json) -> None: ...

        async with self._busy:
            await self._ensure(quiet)
            return self.loaded or {}

    def kill(self) -> None:
        """Ends the child at once; the job that it was rendering fails with kind `crash`."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Ends the child and cleans up after it."""
        self.kill()
        await self._bury()

    async def _ensure(self, on_tick: OnTick) -> None:
        if self._process is not None and self._process.returncode is None:
            return
        await self._bury()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "generation.render",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=scrubbed(os.environ),
            limit=MOST_LINE,
            start_new_session=True,
        )
        self.loaded = await self._converse({"load": asdict(self._model)}, "loaded", on_tick, asyncio.Event())

    async def _converse(self, command: Json, wanted: str, on_tick: OnTick, unwanted: asyncio.Event) -> Json:
        """Sends a command and reads until its answer, its error, or the child's end."""
        process = self._process
        assert process is not None  # noqa: S101  # the callers see to it
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        patience = self._load_s if wanted == "loaded" else self._hang_s
        cancelling = asyncio.create_task(self._cancel_when(unwanted, process))
        try:
            process.stdin.write(json.dumps(command).encode() + b"\n")
            await process.stdin.drain()
            while True:
                line = await asyncio.wait_for(process.stdout.readline(), patience)
                if not line:
                    raise RenderError("crash", await self._epitaph(process))
                answer = json.loads(line)
                if wanted in answer:
                    return dict(answer[wanted])
                if "error" in answer:
                    raise RenderError(answer["error"]["kind"], answer["error"]["sentence"])
                if "tick" in answer:
                    await on_tick(answer["tick"])
        except TimeoutError:
            self.kill()
            await process.wait()
            raise RenderError("hang", f"The render showed no progress for {patience:.0f} s and was stopped.") from None
        except (ConnectionError, ValueError):
            self.kill()
            raise RenderError("crash", await self._epitaph(process)) from None
        finally:
            cancelling.cancel()
            await asyncio.gather(cancelling, return_exceptions=True)

    @staticmethod
    async def _cancel_when(unwanted: asyncio.Event, process: asyncio.subprocess.Process) -> None:
        await unwanted.wait()
        if process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(b'{"cancel": true}\n')
                await process.stdin.drain()

    @staticmethod
    async def _epitaph(process: asyncio.subprocess.Process) -> str:
        code = await process.wait()
        if code == -signal.SIGKILL:
            return "The render process was killed, most likely because the machine ran out of memory."
        return f"The render process ended unexpectedly (code {code})."

    async def _bury(self) -> None:
        if self._process is None:
            return
        await self._process.wait()
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()
        self._process, self.loaded = None, None
