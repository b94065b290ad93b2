"""The listeners of a process: open within a block, off at port 0, and a sentence where the port is taken."""

from __future__ import annotations

import httpx
import pytest
from aiohttp import web

from bot.domain.errors import OperatorError
from bot.monitoring.http import listening
from tests.bot.conftest import free_port


def application() -> web.Application:
    async def greet(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    greeting = web.Application()
    greeting.router.add_get("/", greet)
    return greeting


async def test_it_answers_within_the_block_and_never_after_it() -> None:
    """The port is free again when the block has ended."""
    port = free_port()
    async with httpx.AsyncClient() as client:
        async with listening(application(), "127.0.0.1", port, purpose="greetings", setting="FLOCK_PORT"):
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hello"
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/")


async def test_a_port_that_is_taken_is_a_sentence() -> None:
    """It names the port, what it is for, and the setting to change; port 0 opens nothing."""
    port = free_port()
    async with listening(application(), "127.0.0.1", port, purpose="greetings", setting="FLOCK_PORT"):
        with pytest.raises(OperatorError, match=f"Port {port} cannot be opened for greetings .* Set FLOCK_PORT to a"):
            async with listening(application(), "127.0.0.1", port, purpose="greetings", setting="FLOCK_PORT"):
                pass
        async with listening(application(), "127.0.0.1", 0, purpose="greetings", setting="FLOCK_PORT"):
            pass
