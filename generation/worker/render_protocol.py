"""One render process, asked for several videos at once: each of its answers carries the number of its command.

The messages themselves are in generation/render_messages.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from generation.render_messages import (
    Alive,
    Answer,
    Cancel,
    CommandFailed,
    Denoised,
    FailureKind,
    LoadModel,
    Message,
    MessageError,
    ModelLoaded,
    RenderVideo,
    Tick,
    VideoRendered,
    line_of,
    read_answer,
)
from generation.worker.oom import oom_kills

log = logging.getLogger(__name__)

OnProgress = Callable[[Tick | Denoised], Awaitable[None]]
Last = TypeVar("Last", ModelLoaded, VideoRendered)


class RenderError(Exception):
    """A video could not be rendered, or a model not be loaded; str() is a sentence that a member may read."""

    def __init__(self, kind: FailureKind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class ChildProcess:
    """A render process from its start to its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take the process over: its answers are read until it ends."""
        self._process = process
        self._inboxes: dict[int, asyncio.Queue[Answer | None]] = {}
        self._over = False  # nothing more will be read
        self._ended_by_us = False
        self._kills_before = oom_kills()
        self._reader = asyncio.create_task(self._read(), name="render child")

    @property
    def pid(self) -> int | None:
        """The process id, while the process runs."""
        return self._process.pid if self._process.returncode is None else None

    @property
    def alive(self) -> bool:
        """True while the process can be asked for something."""
        return not self._over and self._process.returncode is None

    async def ask(
        self,
        command: LoadModel | RenderVideo,
        last: type[Last],
        *,
        patience: Callable[[], float],
        on_progress: OnProgress,
        cancel: asyncio.Event | None,
    ) -> Last:
        """Send a command and pass its answers on, until the last one, which is returned; `cancel` asks to stop it.

        Silence for `patience()` seconds, as that is when the silence begins, is a hang; a sign of life breaks it.
        Whatever ends this without a last answer ends the process.
        Raises RenderError.
        """
        number = command.number
        inbox = self._inboxes[number] = asyncio.Queue[Answer | None]()
        if self._over:
            inbox.put_nowait(None)
        cancelling = None if cancel is None else asyncio.create_task(self._cancel_when(cancel, number))
        answered, limit = False, 0.0
        if len(self._inboxes) == 1:  # else kills are counted since the other command, which the same kill would end
            self._kills_before = oom_kills()
        try:
            await self._send(command)
            while True:
                limit = patience()
                async with asyncio.timeout(limit):
                    answer = await inbox.get()
                match answer:
                    case None:
                        raise await self._error_of_end()
                    case CommandFailed():
                        answered = True
                        raise RenderError(answer.failure, answer.sentence)
                    case ModelLoaded() | VideoRendered():
                        if not isinstance(answer, last):
                            log.warning("The render process gave an answer of another command's kind.")
                            self.end()
                            raise await self._error_of_end()
                        answered = True
                        return answer
                    case Tick() | Denoised():
                        await on_progress(answer)
                    case Alive():
                        pass
        except TimeoutError:
            sentence = f"The render showed no progress for {limit:.0f} s and was stopped."
            raise RenderError(FailureKind.HANG, sentence) from None
        except (ConnectionError, ValueError, KeyError, TypeError):
            self.end()
            raise await self._error_of_end() from None
        finally:
            if cancelling is not None:
                cancelling.cancel()
            if not answered:
                self.end()
            del self._inboxes[number]

    def end(self) -> None:
        """Kill the process; every command under way then ends with an error."""
        if self._process.returncode is None:
            self._ended_by_us = True
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Kill the process, wait for its end and close its pipes."""
        self.end()
        await self._process.wait()
        await asyncio.gather(self._reader, return_exceptions=True)
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()

    async def _send(self, message: Message) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  # it was made with pipes
        stdin.write(line_of(message).encode())
        await stdin.drain()

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101  # it was made with pipes
        try:
            while line := await stdout.readline():
                answer = read_answer(line)
                inbox = self._inboxes.get(answer.number)
                if inbox is not None:  # else its command has ended
                    inbox.put_nowait(answer)
        except (ConnectionError, ValueError) as error:  # a process that does not keep to the protocol is not ours
            reason = error if isinstance(error, MessageError) else type(error).__name__
            log.warning("The render process is stopped, since it gave an answer that cannot be read: %s", reason)
            self.end()
        finally:
            self._over = True
            for inbox in self._inboxes.values():
                inbox.put_nowait(None)

    async def _cancel_when(self, event: asyncio.Event, number: int) -> None:
        await event.wait()
        with contextlib.suppress(ConnectionError):
            await self._send(Cancel(number))

    async def _error_of_end(self) -> RenderError:
        """Wait for the end of the process, and return the error that it is for each of its commands."""
        code = await self._process.wait()
        if code != -signal.SIGKILL or self._ended_by_us:
            return RenderError(FailureKind.CRASH, f"The render process ended unexpectedly (code {code}).")
        before, now = self._kills_before, oom_kills()
        if before is None or now is None:
            return RenderError(
                FailureKind.CRASH, "The render process was killed, most likely because the machine ran out of memory."
            )
        if now > before:
            return RenderError(
                FailureKind.OUT_OF_MEMORY, "The worker ran out of memory: the system killed its render process."
            )
        return RenderError(FailureKind.CRASH, "The render process was killed, and not because memory ran out.")
