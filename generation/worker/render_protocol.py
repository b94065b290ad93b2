"""One render child, spoken to about several jobs at once: each line carries the number of the job that it is about."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from generation.worker.oom import oom_kills

Json = dict[str, Any]
Hear = Callable[[Json], Awaitable[None]]


class RenderError(Exception):
    """A job could not be rendered; str() is a sentence that its member may read.

    `kind`: cancelled, bad_input, out_of_memory, crash, hang; load when there is no model to render with;
    closed when the worker ends.
    """

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class Conversation:
    """A child process from its start to its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Takes the process over: reads what it says until it ends."""
        self._process = process
        self._inboxes: dict[int, asyncio.Queue[Json | None]] = {}
        self._over = False
        self._ended = False  # by us
        self._killed_before = oom_kills()
        self._reader = asyncio.create_task(self._read(), name="render child")

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return self._process.pid if self._process.returncode is None else None

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return not self._over and self._process.returncode is None

    async def ask(
        self,
        number: int,
        command: Json,
        wanted: str,
        *,
        patience: Callable[[], float],
        hear: Hear,
        unwanted: asyncio.Event | None,
    ) -> Json:
        """Sends a command and hears what is said of it, until its answer or its error; `unwanted` asks to stop it.

        Silence for `patience()` seconds, as it is when the silence begins, is a hang; a sign of life breaks it.
        Whatever ends this without an answer ends the child.
        Raises RenderError.
        """
        inbox = self._inboxes[number] = asyncio.Queue[Json | None]()
        if self._over:
            inbox.put_nowait(None)
        cancelling = None if unwanted is None else asyncio.create_task(self._when_unwanted(unwanted, number))
        answered, limit = False, 0.0
        if len(self._inboxes) == 1:  # else another command is under way, and what befalls both is counted since that
            self._killed_before = oom_kills()
        try:
            await self._send({**command, "number": number})
            while True:
                limit = patience()
                async with asyncio.timeout(limit):
                    said = await inbox.get()
                if said is None:
                    raise await self._epitaph()
                answered = wanted in said or "error" in said
                if wanted in said:
                    return dict(said[wanted])
                if "error" in said:
                    raise RenderError(said["error"]["kind"], said["error"]["sentence"])
                if "alive" not in said:
                    await hear(said)
        except TimeoutError:
            raise RenderError("hang", f"The render showed no progress for {limit:.0f} s and was stopped.") from None
        except (ConnectionError, ValueError, KeyError, TypeError):
            self.end()
            raise await self._epitaph() from None
        finally:
            if cancelling is not None:
                cancelling.cancel()
            if not answered:
                self.end()
            del self._inboxes[number]

    def end(self) -> None:
        """Kills the child; every job that it was asked for hears of it."""
        if self._process.returncode is None:
            self._ended = True
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def bury(self) -> None:
        """Waits for the end of the child and closes its pipes."""
        self.end()
        await self._process.wait()
        await asyncio.gather(self._reader, return_exceptions=True)
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()

    async def _send(self, line: Json) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  # it was made with pipes
        stdin.write(json.dumps(line).encode() + b"\n")
        await stdin.drain()

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101  # it was made with pipes
        try:
            while line := await stdout.readline():
                said = json.loads(line)
                inbox = self._inboxes.get(said["number"])
                if inbox is not None:  # else nobody waits for this any more
                    inbox.put_nowait(said)
        except (ConnectionError, ValueError, KeyError, TypeError):  # not our protocol: then it is not our child either
            self.end()
        finally:
            self._over = True
            for inbox in self._inboxes.values():
                inbox.put_nowait(None)

    async def _when_unwanted(self, unwanted: asyncio.Event, number: int) -> None:
        await unwanted.wait()
        with contextlib.suppress(ConnectionError):
            await self._send({"cancel": number})

    async def _epitaph(self) -> RenderError:
        code = await self._process.wait()
        if code != -signal.SIGKILL or self._ended:
            return RenderError("crash", f"The render process ended unexpectedly (code {code}).")
        before, now = self._killed_before, oom_kills()
        if before is None or now is None:
            return RenderError(
                "crash", "The render process was killed, most likely because the machine ran out of memory."
            )
        if now > before:
            return RenderError("out_of_memory", "The worker ran out of memory: the system killed its render process.")
        return RenderError("crash", "The render process was killed, and not because memory ran out.")
