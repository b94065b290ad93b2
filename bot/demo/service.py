"""The entry that the embedded services share: command line, ready line, signals, and the listener on a port.

Must not import any of the services: each of their `__main__` modules imports this one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from aiohttp import web

BACKLOG = 1024  # connections that may wait for an answer: a crowd presses its buttons all at once

ReadyLine = Mapping[str, str | int | bool]


def service_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every service: `--state`, `--port` and `--watch-stdin`."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--state", type=Path, required=True, help="the folder that keeps what must outlive a restart")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 takes a free one")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input is closed")
    return parser


def run_service(opening: AbstractAsyncContextManager[ReadyLine], *, watch_stdin: bool) -> None:
    """Run a service until SIGTERM or SIGINT. Raises whatever keeps the service from opening.

    `opening` opens the service and closes it again; what it yields is printed as one line of JSON, for which the
    parent waits. With `watch_stdin` the service also stops when standard input ends, so that it does not outlive a
    supervisor that was killed.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_run_until_stopped(opening, watch_stdin))


async def _run_until_stopped(opening: AbstractAsyncContextManager[ReadyLine], watch_stdin: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=(loop, stop), daemon=True, name="stdin").start()
    async with opening as ready:
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()


def _stop_at_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    try:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)
    except (OSError, RuntimeError):
        return  # stdin was never open, or the loop has ended before stdin did


def fail(sentence: str, status: int) -> int:
    """Write to stderr why a service could not start; returns the exit status."""
    sys.stderr.write(f"{sentence}\n")
    return status


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound but does not listen yet; port 0 takes a free one. Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener


def port_of(listener: socket.socket) -> int:
    """Return the port of a bound socket."""
    return int(listener.getsockname()[1])


async def serve_app(app: web.Application, listener: socket.socket, *, shutdown_s: float = 1.0) -> web.AppRunner:
    """Serve an application on a bound socket. `cleanup()` of the runner closes both.

    There is no access log: it would hold tokens, which addresses of uploads and of follow-ups contain.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_s)
    try:
        await runner.setup()
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
    except BaseException:
        await runner.cleanup()
        listener.close()
        raise
    return runner
