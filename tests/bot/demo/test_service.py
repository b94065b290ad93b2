"""The entry that the embedded services share, in a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import aiohttp
import pytest
from aiohttp import web

from bot.demo.service import bind, port_of, serve_app, service_parser

PROGRAM = """
import sys
from contextlib import asynccontextmanager
from bot.demo.service import fail, run_service, service_parser

@asynccontextmanager
async def opening():
    if "broken" in str(options.state):
        raise OSError("no room")
    yield {"ready": True, "port": options.port}
    print("closed", flush=True)

options = service_parser("service", "A service.").parse_args()
try:
    run_service(opening(), watch_stdin=options.watch_stdin)
except OSError as error:
    sys.exit(fail(f"It could not start: {error}", 3))
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, None], ids=["SIGTERM", "SIGINT", "end of stdin"])
def test_a_service_says_that_it_is_ready_and_closes_when_it_is_asked_to(end: signal.Signals | None) -> None:
    """One line of JSON, and then a clean end, whoever asks for it."""
    with start("--state", "s", "--port", "7", "--watch-stdin") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline()) == {"ready": True, "port": 7}
        if end is None:
            process.stdin.close()
        else:
            process.send_signal(end)
        assert process.stdout.readline() == "closed\n"
        assert process.wait(20) == 0


def test_a_service_that_cannot_start_says_why() -> None:
    """A sentence on stderr, nothing on stdout, and the status that it chose."""
    with start("--state", "broken") as process:
        out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("", "It could not start: no room\n", 3)


def test_the_state_is_needed_and_the_port_is_free_to_choose(capsys: pytest.CaptureFixture[str]) -> None:
    """The options of every service."""
    parser = service_parser("service", "A service.")
    options = parser.parse_args(["--state", "s"])
    assert (options.port, options.watch_stdin) == (0, False)
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert "--state" in capsys.readouterr().err


async def test_an_application_is_served_and_its_port_is_free_afterwards() -> None:
    """A second one cannot have the port meanwhile."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    listener = bind("127.0.0.1", 0)
    port = port_of(listener)
    runner = await serve_app(app, listener)
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as answer:
        assert await answer.text() == "hello"
    with pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", port)
    await runner.cleanup()
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port)):
        pass
