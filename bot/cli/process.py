"""The frame of every command: exit codes, the last sentence, and the signals that end a long-running process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

from bot.domain.errors import OperatorError, SettingsError
from bot.monitoring import logs
from generation.extras import MissingExtraError
from generation.printable import lines as printable_lines

log = logging.getLogger(__name__)

ORPHAN_S = 15.0  # for an orderly end after the end of the parent process

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # what parsers are added to
Main = Callable[[asyncio.Event, asyncio.Event], Awaitable[None]]


def exit_code_of(command: Callable[[], int], *, trouble: int = 1) -> int:
    """Run a command and return its exit code; an error that an operator can mend becomes a sentence, and `trouble`."""
    try:
        return command()
    except SettingsError as error:
        say("Some settings are wrong or missing:", *(f"  - {problem}" for problem in error.problems))
        say("Set them in the environment or in .env; .env.example describes them all.")
    except (OperatorError, MissingExtraError) as error:
        say(str(error))
    except KeyboardInterrupt:
        say("Stopped.")
        return 130  # 128 + SIGINT, as shells have it
    return trouble


def say(*lines: str) -> None:
    """Write lines to stderr, or to the log of a process that logs in JSON."""
    if not logs.say_last(lines):
        sys.stderr.write(printable_lines("".join(f"{line}\n" for line in lines)))


def write(text: str) -> None:
    """Write the output of a command to stdout at once; words of others in it cannot steer the terminal."""
    sys.stdout.write(printable_lines(text))
    sys.stdout.flush()


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without FLock's settings, for a process that works with others' models and data."""
    return {name: value for name, value in environment.items() if not is_setting(name)}


def is_setting(name: str) -> bool:
    """Return True for a variable that holds a setting of FLock's, or the folder in which there are some."""
    return name.startswith("FLOCK_") or name == "CREDENTIALS_DIRECTORY"


def add_watch_stdin(parser: argparse.ArgumentParser) -> None:
    """Add the hidden option with which the demo starts its processes: they end when its pipe closes."""
    parser.add_argument("--watch-stdin", action="store_true", help=argparse.SUPPRESS)


def run_until_stopped(main: Main, *, watch_stdin: bool) -> int:
    """Run until SIGTERM or SIGINT, or until the parent process has ended where stdin is its pipe; return 0.

    `main` is given an event to stop, and one to stop at once: after a second signal, or without a parent.
    """

    async def run() -> None:
        stop, at_once = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def request_stop(reason: str, *, orphaned: bool = False) -> None:
            if orphaned or stop.is_set():
                at_once.set()
            log.info("Stopping%s: %s.", " at once" if at_once.is_set() else "", reason)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(request_stop, f"{number.name} was received"))
        if watch_stdin:
            reason = "the process that started this one has ended"
            on_end = partial(loop.call_soon_threadsafe, partial(request_stop, reason, orphaned=True))
            threading.Thread(target=_wait_for_parent, args=(on_end,), daemon=True, name="stdin").start()
        await main(stop, at_once)

    asyncio.run(run())
    log.info("Stopped.")
    return 0


def _wait_for_parent(on_end: Callable[[], object]) -> None:
    while os.read(0, 4096):
        pass
    on_end()
    time.sleep(ORPHAN_S)
    os._exit(1)  # the parent is gone, and would have ended this process by force by now
