"""Processes that kill themselves (SIGKILL) at a place in the code, so that what they leave can be looked at.

`python -m tests.builders.killed`, with one JSON object on standard input: `arguments` of the `flock` command, the
`folder` in which it runs, and `at`, a place such as "generation.feedback.dataset.files:_write_table". Of the calls of
that function the `nth` (1 unless given) is the last: the process dies `after` it, or `before` it. Coroutines are waited
for. Without `at` nothing dies.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bot.__main__ import main as flock
from generation.queue import engine
from generation.queue.reaper import ReaperTimes

# Leases that outlast a busy machine: who was killed is known to the tests, which let its leases run out.
PATIENT = ReaperTimes(beat=2.0, lease=120.0, scan=0.5, fence=100.0)
ROOT = Path(__file__).parents[2]


def die() -> None:
    """End this process at once: nothing is cleaned up, nothing is written."""
    os.kill(os.getpid(), signal.SIGKILL)


def have_patience() -> None:
    """Let every engine of this process have patient leases."""
    engine.ReaperTimes = lambda: PATIENT  # type: ignore[misc,assignment]  # in this process alone


def arm(place: str, when: str = "after", nth: int = 1) -> None:
    """Let this process die at the nth call of a function, named as `module:name` or `module:Class.name`."""
    module_name, _, name = place.partition(":")
    owner: Any = importlib.import_module(module_name)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    kept = inspect.getattr_static(owner, last)
    wrapped = _dying(getattr(owner, last) if isinstance(kept, staticmethod) else kept, when, nth)
    setattr(owner, last, staticmethod(wrapped) if isinstance(kept, staticmethod) else wrapped)


def _dying(function: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    calls = 0

    def is_last() -> bool:
        nonlocal calls
        calls += 1
        return calls == nth

    async def in_time(*arguments: Any, **named: Any) -> Any:
        last = is_last()
        if last and when == "before":
            die()
        result = await function(*arguments, **named)
        if last:
            die()
        return result

    def at_once(*arguments: Any, **named: Any) -> Any:
        last = is_last()
        if last and when == "before":
            die()
        result = function(*arguments, **named)
        if last:
            die()
        return result

    return in_time if inspect.iscoroutinefunction(function) else at_once


def killed_flock(folder: Path, *arguments: str, at: Mapping[str, Any] | None, **settings: str) -> tuple[int, str]:
    """Run a `flock` command that dies at a place; return its exit code, and all that it said."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.builders.killed"],
        input=json.dumps({"arguments": arguments, "folder": str(folder), **({"at": at} if at else {})}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
        env={**kept, **settings},
    )
    return ended.returncode, ended.stdout + ended.stderr


def main(wanted: dict[str, Any]) -> None:
    """Run the command, and exit with its code."""
    have_patience()
    os.chdir(wanted["folder"])
    if "at" in wanted:
        arm(**wanted["at"])
    flock(wanted["arguments"])


if __name__ == "__main__":
    main(json.loads(sys.stdin.read()))
