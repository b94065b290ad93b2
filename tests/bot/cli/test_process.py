"""The frame of a command: each end has its exit code and a sentence, and a signal or a lost parent ends a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bot.cli.process import exit_code_of
from bot.domain.errors import OperatorError, SettingsError
from generation.extras import MissingExtraError

MAIN = """
    import asyncio, sys
    from bot.cli.process import run_until_stopped

    async def main(stop, at_once):
        print("ready", flush=True)
        await stop.wait()
        print("stop", at_once.is_set(), flush=True)
        if "twice" in sys.argv:
            await at_once.wait()
            print("at once", flush=True)

    print("ended", run_until_stopped(main, watch_stdin="watch" in sys.argv))
"""


def failing(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (OperatorError("The disk is full. Free some space."), 1, "The disk is full. Free some space.\n"),
        (
            SettingsError(["FLOCK_A is missing.", "FLOCK_B is wrong."]),
            1,
            "Some settings are wrong or missing:\n  - FLOCK_A is missing.\n  - FLOCK_B is wrong.\n"
            "Set them in the environment or in .env; .env.example describes them all.\n",
        ),
        (
            MissingExtraError("The worker", "worker", ["torch"]),
            1,
            "The worker needs torch, which is not installed. Run: pip install 'flock[worker]'\n",
        ),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_an_operator_can_mend_is_a_sentence(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, sentence: str
) -> None:
    """On standard error, with the exit code of a failure; standard output is the command's own."""
    assert exit_code_of(failing(error)) == code
    assert capsys.readouterr() == ("", sentence)


def test_any_other_end_is_the_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Its exit code is passed on, and an error that nobody foresaw is not made harmless."""
    assert [exit_code_of(lambda: 0), exit_code_of(lambda: 7)] == [0, 7]
    with pytest.raises(ZeroDivisionError):
        exit_code_of(failing(ZeroDivisionError()))
    assert capsys.readouterr().err == ""


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A process that waits for its end, when it is ready."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(MAIN), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(number: signal.Signals) -> None:
    """Either of the two, without haste; a closed stdin does not where nobody watches it."""
    with process() as started:
        assert started.stdin is not None
        assert started.stdout is not None
        started.stdin.close()
        started.send_signal(number)
        assert started.stdout.read() == "stop False\nended 0\n"
        assert started.wait() == 0


def test_a_second_signal_ends_it_at_once() -> None:
    """Whoever sends two does not want to wait."""
    with process("twice") as started:
        assert started.stdout is not None
        started.send_signal(signal.SIGTERM)
        assert started.stdout.readline() == "stop False\n"
        started.send_signal(signal.SIGTERM)
        assert started.stdout.read() == "at once\nended 0\n"


def test_a_lost_parent_ends_it_at_once() -> None:
    """Its pipe closes: nobody will send a signal any more."""
    with process("watch") as started:
        assert started.stdin is not None
        assert started.stdout is not None
        started.stdin.close()
        assert started.stdout.read() == "stop True\nended 0\n"
