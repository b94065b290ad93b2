"""The render process against its parent: a hostile model's code, as the same user, looks for the worker's secrets.

Root reads every process (CAP_SYS_PTRACE), so as root both are tried as another user, whom that does not help.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bot.cli.learning.train import train
from generation.feedback.tuning.order import Order
from generation.prctl import is_hidden

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc and prctl")

SECRET = "postgresql://flock_worker:a-password@db/flock"
# The parent becomes another user where it is root, which the kernel answers by hiding it; that is undone first, so
# that only what FLock does makes the difference. The child has no environment of its own left.
PARENT = """
import ctypes, os, sys
prctl = ctypes.CDLL(None).prctl
from generation.prctl import hide_from_others
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
prctl(4, 1, 0, 0, 0)
if sys.argv[1] == "hidden":
    hide_from_others()
del os.environ["FLOCK_DATABASE_URL"]
child = os.fork()
if child == 0:
    os.environ.clear()
    prctl(4, 1, 0, 0, 0)  # as after exec: the child itself may be read
    for name in ("environ", "mem", "maps"):
        try:
            with open(f"/proc/{os.getppid()}/{name}", "rb") as file:
                print(name, b"a-password" in file.read(100_000) if name == "environ" else "open", flush=True)
        except OSError as error:
            print(name, type(error).__name__, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def what_a_child_sees(how: str) -> dict[str, str]:
    """What the child of a parent that is hidden, or not, could open of it."""
    environment = {"PATH": os.environ["PATH"], "FLOCK_DATABASE_URL": SECRET}
    process = subprocess.run(
        [sys.executable, "-c", PARENT, how], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    return dict(line.split(" ", 1) for line in process.stdout.splitlines())


def test_a_child_cannot_read_its_parent() -> None:
    """Neither the environment in which it began, from which a setting that was read is never gone, nor its memory."""
    assert what_a_child_sees("hidden") == dict.fromkeys(("environ", "mem", "maps"), "PermissionError")


def test_without_that_it_could() -> None:
    """The attack works where the parent does nothing: `del os.environ[…]` is not enough."""
    assert what_a_child_sees("open")["environ"] == "True"


def test_every_command_hides_itself_at_once() -> None:
    """Before it reads a setting: `flock worker` and `flock run` as all others."""
    script = (
        "import sys; from bot.__main__ import main; from generation.prctl import is_hidden\n"
        "sys.argv = ['flock', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    print(is_hidden())\n"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert process.stdout.splitlines()[-1] == "True"
    assert not is_hidden()  # it is a matter of that process alone


def test_a_training_by_hand_starts_without_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process that trains works with models and data of others; what it needs from the environment stays."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nenv\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    for name, value in {"FLOCK_DATABASE_URL": SECRET, "CREDENTIALS_DIRECTORY": "/c", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert train(cast(Order, SimpleNamespace(write=lambda: tmp_path))) == 0
    seen = capsys.readouterr().out
    assert "RANK=0" in seen
    assert "FLOCK_" not in seen
    assert "CREDENTIALS_DIRECTORY" not in seen
