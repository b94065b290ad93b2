"""`python -m bot.demo.host --state DIR`: the embedded video host as a process of its own.

The key comes from the environment, FLOCK_DEMO_LIVEPEER_KEY. When the host listens, one line of JSON goes to stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from bot.demo.faults import TOKEN_VARIABLE
from bot.demo.host.config import HostConfig
from bot.demo.host.server import EmbeddedHost
from generation.extras import MissingExtraError, require

KEY_VARIABLE = "FLOCK_DEMO_LIVEPEER_KEY"
SHORTEST_S = 3.0  # what is shorter fails, as it is said of Livepeer
_PURPOSE = f"A video host on this machine that speaks like Livepeer. The key that clients need is in {KEY_VARIABLE}."


def main(arguments: list[str] | None = None) -> int:
    """0 after SIGTERM, SIGINT or the end of stdin; 2 with a sentence on stderr when the host cannot start."""
    parser = argparse.ArgumentParser(prog="python -m bot.demo.host", description=_PURPOSE)
    parser.add_argument("--state", type=Path, required=True, help="the directory that keeps videos and their state")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--bind", default="127.0.0.1", help="the address to listen on; loopback by default")
    parser.add_argument("--public-url", help="what addresses begin with, where a proxy stands before the host")
    parser.add_argument("--haste", type=float, default=HostConfig.haste, help="divides Livepeer's delays")
    parser.add_argument("--watch-stdin", action="store_true", help="end when stdin does: the parent has died")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        require("demo", "The embedded video host")
        if not (given.haste > 0 and 0 <= given.port <= 65535):
            raise ValueError("--haste must be above 0, and --port between 0 and 65535.")
        host = EmbeddedHost(
            given.state,
            os.environ.get(KEY_VARIABLE, ""),
            port=given.port,
            bind=given.bind,
            public_url=given.public_url,
            config=HostConfig(haste=given.haste, fail_shorter_than_s=SHORTEST_S),
            control_token=os.environ.get(TOKEN_VARIABLE, ""),
        )
        asyncio.run(_serve(host, given.watch_stdin))
    except MissingExtraError as error:
        return _refuse(str(error))
    except BlockingIOError:
        return _refuse(f"Another video host already runs in {given.state}. Stop it, or choose another --state.")
    except ValueError as error:
        return _refuse(
            f"{error} Set {KEY_VARIABLE} to the key that clients will use." if "key" in str(error) else str(error)
        )
    except OSError as error:
        return _refuse(f"The video host cannot start: {error.strerror or error}.")
    return 0


async def _serve(host: EmbeddedHost, watch_stdin: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with host:
        if watch_stdin:
            threading.Thread(target=_until_stdin_ends, args=(loop, stop), daemon=True).start()
        print(json.dumps({"ready": True, "port": host.port}), flush=True)  # noqa: T201 - the line our parent waits for
        await stop.wait()


def _until_stdin_ends(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    try:
        loop.call_soon_threadsafe(stop.set)
    except RuntimeError:
        return  # the loop has ended before stdin did


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201 - the last words of a start that failed
    return 2


if __name__ == "__main__":
    sys.exit(main())
