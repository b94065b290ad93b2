"""The process that trains: started, read, and started again where it was killed; it goes on from its checkpoint.

Imports no torch: the process has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from generation.models.registry import Model
from generation.strict_json import JsonObject
from generation.worker.render_process import environment_of

log = logging.getLogger(__name__)

MOST_DEATHS = 3  # of one training: what kills it more often kills it again
LONGEST_LINE = 1 << 20
SENTENCE = 1  # the exit code of a process that says in a sentence what is wrong

OnProgress = Callable[
    [str, int, int], Awaitable[None]
]  # what is being done, how much of it has been, how much there is


class TrainingError(Exception):
    """A training cannot be carried out; str() is a sentence for moderators."""


class TrainingEndedError(Exception):
    """The process was ended by `kill`: what it has done goes on from its checkpoint, here or nowhere."""


class TuningProcess:
    """Runs one order at a time. `kill` ends what runs; the checkpoint stays."""

    def __init__(self, *, silence_s: float) -> None:
        """`silence_s` is how long the process may say nothing before it counts as stuck, and is started again."""
        self._silence_s = silence_s
        self._process: asyncio.subprocess.Process | None = None
        self._is_killed = False

    @property
    def pid(self) -> int | None:
        """The id of the process, while it runs."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """End the process at once, if it runs; it is not started again."""
        self._is_killed = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def run(self, order: Path, model: Model, on_progress: OnProgress) -> JsonObject:
        """Carry an order out, and return its result. Raises TrainingError, and TrainingEndedError after `kill`."""
        self._is_killed = False
        for death in range(1, MOST_DEATHS + 1):
            code, result, errors = await self._attempt(order, model, on_progress)
            if code == 0 and result is not None:
                return result
            if self._is_killed:
                raise TrainingEndedError
            if code == SENTENCE:
                raise TrainingError(_sentence_of(errors))
            log.warning("The process that trains was ended (exit code %s); death %d of %d.", code, death, MOST_DEATHS)
        raise TrainingError(
            f"The process that trains was ended {MOST_DEATHS} times; the training worker's log says how."
        )

    async def _attempt(
        self, order: Path, model: Model, on_progress: OnProgress
    ) -> tuple[int, JsonObject | None, deque[str]]:
        """Run the process once; return its exit code, its result if it said one, and its last lines on stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "generation.feedback", str(order), "--watch-stdin",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE, env=environment_of(model, os.environ),
        )  # fmt: skip
        self._process = process
        errors: deque[str] = deque(maxlen=30)
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        assert process.stderr is not None  # noqa: S101  # likewise
        listening = asyncio.create_task(_gather(process.stderr, errors))
        result, has_ended = None, False
        try:
            while line := await asyncio.wait_for(process.stdout.readline(), self._silence_s):
                said = _object(line)
                if "progress" in said:
                    done, total = said.get("done"), said.get("of")
                    if isinstance(done, int) and isinstance(total, int):
                        await on_progress(str(said["progress"]), done, total)
                elif "sha256" in said:
                    result = said
            has_ended = True
        except TimeoutError:
            log.error("The process that trains said nothing for %.0f s, and is ended.", self._silence_s)
        finally:
            if not has_ended:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
            self._process = None
            await asyncio.gather(listening, return_exceptions=True)
        return process.returncode or 0, result, errors


async def _gather(stream: asyncio.StreamReader, lines: deque[str]) -> None:
    while line := await stream.readline():
        text = line.decode(errors="replace").rstrip()
        if text:
            lines.append(text)


def _object(line: bytes) -> JsonObject:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _sentence_of(errors: deque[str]) -> str:
    """Return what a process said last, if that is a sentence of its own; a trace goes to the log."""
    last = errors[-1] if errors else ""
    if not last or any(line.startswith("Traceback ") for line in errors):
        log.error("The process that trains failed:\n%s", "\n".join(errors))
        kind = last.partition(":")[0].rpartition(".")[2] or "unknown"
        return f"The process that trains failed ({kind[:60]}); the training worker's log says why."
    return last[:500]
