"""The supervisor: real processes, started, restarted, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.demo.supervisor import Supervisor, _Service
from bot.domain.errors import OperatorError

SERVICE = """
import json, os, sys
print(json.dumps({"ready": True, "port": 1, "env": sorted(os.environ)}), flush=True)
print("a line for the log", file=sys.stderr, flush=True)
sys.stdin.read()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not (status.exists() and "\nState:\tZ" in status.read_text())


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]  # any callable without arguments
            await asyncio.sleep(0.05)


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    await supervisor.stop()


async def test_a_service_says_when_it_is_ready(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first line is its answer; its environment holds what it was given and nothing secret of ours."""
    monkeypatch.setenv("FLOCK_DISCORD_TOKEN", "must not be inherited")
    ready = await supervisor.start("one", [sys.executable, "-c", SERVICE], {"GIVEN": "1"}, says_ready=True)
    assert ready["port"] == 1
    assert "GIVEN" in ready["env"]
    assert "FLOCK_DISCORD_TOKEN" not in ready["env"]
    await until(lambda: "a line for the log" in supervisor.log_path("one").read_text())
    assert supervisor.log_path("one").stat().st_mode & 0o077 == 0


async def test_one_that_cannot_start_is_a_sentence_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    """The operator reads why, at once."""
    script = "import sys; sys.exit('the port is taken')"
    with pytest.raises(OperatorError, match=r"bad did not start.*the port is taken"):
        await supervisor.start("bad", [sys.executable, "-c", script], {}, says_ready=True)


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    """SIGKILL is survived, and told."""
    deaths: list[str] = []
    supervisor = Supervisor(tmp_path, deaths.append)
    try:
        await supervisor.start("one", [sys.executable, "-c", SERVICE], {}, says_ready=True)
        first = supervisor.pid("one")
        supervisor.kill("one")
        await until(lambda: deaths == ["the one died and is started again"] and _pid(supervisor) not in {None, first})
    finally:
        await supervisor.stop()


async def test_stopping_just_when_a_process_is_ready_is_no_wait_for_ever(supervisor: Supervisor) -> None:
    """Whoever waits for a process to be ready is told to stop in the very moment in which it is: they stop."""
    said = asyncio.StreamReader()
    service = _Service("one", ["one"], {}, says_ready=True)
    waiting = asyncio.create_task(supervisor._read_ready(service, cast(Any, SimpleNamespace(stdout=said))))
    await asyncio.sleep(0)
    said.feed_data(b'{"ready": true}\n')
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_forgotten_process_stays_away(supervisor: Supervisor) -> None:
    """What is ended on purpose is not started again."""
    await supervisor.start("one", [sys.executable, "-c", SERVICE], {}, says_ready=True)
    pid = supervisor.pid("one")
    await supervisor.forget("one")
    await asyncio.sleep(0.5)
    assert not alive(pid)
    with pytest.raises(KeyError):
        supervisor.pid("one")


@pytest.mark.parametrize(("long_s", "given_up"), [(60.0, True), (0.0, False)], ids=["at once", "after a long life"])
async def test_what_dies_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_s: float, given_up: bool
) -> None:
    """What cannot live is not started for ever, and people read where to look; what dies now and then is."""
    monkeypatch.setattr("bot.demo.supervisor.MOST_DEATHS", 2)
    monkeypatch.setattr("bot.demo.supervisor.LONG_S", long_s)
    told: list[str] = []
    supervisor = Supervisor(tmp_path, told.append)
    await supervisor.start("one", [sys.executable, "-c", "pass"], {})
    try:
        await until(lambda: len(told) > 3 or "in a row" in told[-1:][0] if told else False)
    finally:
        await supervisor.stop()
    assert told[:2] == ["the one died and is started again"] * 2
    assert (f"in a row; its log says why: {supervisor.log_path('one')}" in told[2]) is given_up


async def test_nothing_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """The pipes close, and everything ends by itself."""
    script = f"""
import asyncio, sys
from pathlib import Path
from bot.demo.supervisor import Supervisor, _Service
async def main():
    supervisor = Supervisor(Path({str(tmp_path)!r}))
    await supervisor.start("one", [sys.executable, "-c", {SERVICE!r}], {{}}, says_ready=True)
    print(supervisor.pid("one"), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await asyncio.wait_for(process.stdout.readline(), 60))
    assert alive(pid)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]  # or the pipe is reported as leaked
    await until(lambda: not alive(pid))


def _pid(supervisor: Supervisor) -> int | None:
    try:
        return supervisor.pid("one")
    except ProcessLookupError:
        return None
