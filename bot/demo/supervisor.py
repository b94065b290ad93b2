"""Starts the demo's processes, keeps them running, and leaves none behind. The processes know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypedDict

from bot.demo.service import ReadyLine
from bot.domain.errors import OperatorError

START_S = 60.0
STOP_S = 2.2  # for each of two waves, so that Ctrl-C takes no longer than 5 s
MOST_DEATHS = 20  # in a row, none of them after LONG_S of running: then a process is not started again
LONG_S = 60.0

# The variables that a process may inherit from ours; settings and secrets are given to each process by name.
INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    "PYTHONPATH",  # where it names a checkout, that must be the same one in all processes
    "OMP_NUM_THREADS",  # on a crowded machine torch's threads wait for each other: one thread is quicker than two
)


@dataclass
class _Service:
    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    says_ready: bool
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    deaths: int = 0  # in a row
    watcher: asyncio.Task[None] | None = None
    ready: ReadyLine = field(default_factory=dict)


class ProcessState(TypedDict):
    """The state of a process, and how often it was started again."""

    running: bool
    restarts: int


class Supervisor:
    """Processes by name. One that dies is started again; all of them end with the supervisor, also if that is killed.

    Each has a pipe of ours as its stdin and ends when that is closed: no process outlives its supervisor.
    """

    def __init__(self, folder: Path, on_death: Callable[[str], None] | None = None) -> None:
        """`folder` takes the logs, one file a process. `on_death` is called with a sentence when a process has died."""
        self._logs = folder / "logs"
        self._folder = folder
        self._services: dict[str, _Service] = {}
        self._on_death = on_death
        self._stopping = False

    async def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], *, says_ready: bool = False
    ) -> ReadyLine:
        """Start a process; with `says_ready`, returns the JSON line that it prints when it is ready.

        Raises OperatorError, with the end of its log, when it does not become ready.
        """
        service = _Service(name, argv, env, says_ready)
        self._services[name] = service
        await self._launch(service)
        service.watcher = asyncio.create_task(self._watch(service), name=f"watch {name}")
        return service.ready

    def change_argv(self, name: str, argv: Sequence[str]) -> None:
        """Set the command with which a process is started from the next time on."""
        self._services[name].argv = argv

    async def forget(self, name: str) -> None:
        """End a process, by force, and do not start it again."""
        service = self._services.pop(name)
        if service.watcher is not None:
            service.watcher.cancel()
            await asyncio.gather(service.watcher, return_exceptions=True)
        if service.process is not None:
            with contextlib.suppress(ProcessLookupError):
                service.process.kill()
            await service.process.wait()
            _close_pipes(service.process)

    def pid(self, name: str) -> int:
        """Return the process id of a running process. Raises ProcessLookupError."""
        process = self._services[name].process
        if process is None or process.returncode is not None:
            raise ProcessLookupError(f"{name} is not running.")
        return process.pid

    def kill(self, name: str) -> None:
        """Kill a process by SIGKILL, as a power cut would; it is started again. For tests and curious people."""
        os.kill(self.pid(name), signal.SIGKILL)

    def log_path(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self._logs / f"{name}.log"

    async def stop(self) -> None:
        """End all processes: first those that use the services, then the services; by SIGTERM, then by force."""
        self._stopping = True
        services = list(self._services.values())
        for service in services:
            if service.watcher is not None:
                service.watcher.cancel()
                await asyncio.gather(service.watcher, return_exceptions=True)
        for wave in (False, True):
            await asyncio.gather(*(_end(service) for service in services if service.says_ready is wave))

    def states(self) -> dict[str, ProcessState]:
        """Return the state of each process, by its name."""
        return {
            service.name: {
                "running": service.process is not None and service.process.returncode is None,
                "restarts": service.restarts,
            }
            for service in self._services.values()
        }

    async def _launch(self, service: _Service) -> None:
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _private_append(self.log_path(service.name)) as log:
            process = await asyncio.create_subprocess_exec(
                *service.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if service.says_ready else log,
                stderr=log,
                env={**{k: os.environ[k] for k in INHERITED if k in os.environ}, **service.env},
                cwd=self._folder,  # away from any .env of ours
                start_new_session=True,  # Ctrl-C reaches us alone, and we end them in order
            )
        service.process = process
        if service.says_ready:
            service.ready = await self._read_ready(service, process)

    async def _read_ready(self, service: _Service, process: asyncio.subprocess.Process) -> ReadyLine:
        assert process.stdout is not None  # noqa: S101  # asked for above
        try:
            async with asyncio.timeout(START_S):  # Python 3.11's wait_for may swallow a cancellation
                line = await process.stdout.readline()
            ready: object = json.loads(line)
            if not isinstance(ready, dict) or not ready.get("ready"):
                raise ValueError(line)
        except (TimeoutError, ValueError) as error:
            end = self._end_of_log(service.name)
            raise OperatorError(f"The {service.name} did not start. Its log ends: {end}") from error
        return ready

    async def _watch(self, service: _Service) -> None:
        while service.process is not None:
            started = time.monotonic()
            await service.process.wait()
            if self._stopping:
                return
            _close_pipes(service.process)
            service.deaths = 1 if time.monotonic() - started > LONG_S else service.deaths + 1
            if service.deaths > MOST_DEATHS:
                self._report(
                    f"the {service.name} has died {service.deaths} times in a row; its log says why: "
                    f"{self.log_path(service.name)}"
                )
                return
            self._report(f"the {service.name} died and is started again")
            service.restarts += 1
            await asyncio.sleep(min(0.2 * service.deaths, 3.0))
            try:
                await self._launch(service)
            except (OperatorError, OSError):
                continue

    def _report(self, sentence: str) -> None:
        if self._on_death is not None:
            self._on_death(sentence)

    def _end_of_log(self, name: str) -> str:
        with contextlib.suppress(OSError):
            lines = self.log_path(name).read_text(errors="replace").strip().splitlines()
            return " / ".join(lines[-3:]) or "(empty)"
        return "(none)"


async def _end(service: _Service) -> None:
    process = service.process
    if process is None:
        return
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    _close_pipes(process)


def _private_append(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _close_pipes(process: asyncio.subprocess.Process) -> None:
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
