"""The options of `flock demo`; tests/acceptance runs the command itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bot.demo.main import DemoOptions, run_demo
from bot.demo.terminal import Terminal
from bot.domain.errors import OperatorError

ROOT = Path(__file__).parents[3]


def test_chaos_and_once_exclude_each_other(tmp_path: Path) -> None:
    """It is said at once, and nothing is started or written."""
    with pytest.raises(OperatorError, match="leave --once out"):
        run_demo(DemoOptions(once=True, chaos=1, state=tmp_path / "state"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("end", "keep", "is_kept"),
    [
        (None, False, False),
        (KeyboardInterrupt, False, False),
        (asyncio.CancelledError, False, False),
        (OperatorError, False, True),
        (None, True, True),
        (KeyboardInterrupt, True, True),
    ],
)
def test_the_temporary_folder_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: type[BaseException] | None, keep: bool, is_kept: bool
) -> None:
    """Whatever ends the demo; it is kept on demand, and where its logs are needed."""
    folders: list[Path] = []

    async def demo(folder: Path, _options: DemoOptions, _terminal: Terminal) -> None:
        folders.append(folder)
        (folder / "logs").mkdir()
        (folder / "logs" / "bot.log").write_text("a line")
        if end is not None:
            raise end

    monkeypatch.setattr("bot.demo.main._demo", demo)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with contextlib.suppress(KeyboardInterrupt, OperatorError):
        run_demo(DemoOptions(keep=keep))
    assert [folder.parent for folder in folders] == [tmp_path]
    assert folders[0].exists() is is_kept


def test_a_folder_that_was_named_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next demo goes on from it."""

    async def demo(folder: Path, _options: DemoOptions, _terminal: Terminal) -> None:
        (folder / "flock.db").write_text("")

    monkeypatch.setattr("bot.demo.main._demo", demo)
    assert run_demo(DemoOptions(state=tmp_path / "state")) == 0
    assert (tmp_path / "state" / "flock.db").exists()


FLOCK = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("Stopped.", flush=True), sys.exit(130)))
print("ready", flush=True)
if "--fail" in sys.argv:
    sys.exit(3)
time.sleep(60)
"""


@pytest.mark.parametrize(("arguments", "says_error"), [("", False), ("--fail", True)])
def test_make_does_not_complain_of_ctrl_c(tmp_path: Path, arguments: str, says_error: bool) -> None:
    """Ctrl-C goes to make, its shell and the demo; the demo's sentence is the last. A real failure is a failure."""
    (tmp_path / "bin").mkdir()
    flock = tmp_path / "bin" / "flock"
    flock.write_text(f"#!{sys.executable}\n{FLOCK}")
    flock.chmod(0o755)
    (tmp_path / ".ready").touch()
    process = subprocess.Popen(
        ["make", "demo", f"VENV={tmp_path}", f"ARGS={arguments}"],
        cwd=ROOT,
        # As a person's own make: one that knows itself within `make test` names the folders that it enters.
        env={name: value for name, value in os.environ.items() if name not in {"MAKELEVEL", "MAKEFLAGS", "MFLAGS"}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    if not says_error:
        os.killpg(process.pid, signal.SIGINT)
    output = first + process.communicate(timeout=60)[0]
    assert ("***" in output) is says_error, output
    assert output.startswith("ready\n")
    assert ("Stopped.\n" in output) is not says_error
    assert (process.returncode == 2) is says_error
