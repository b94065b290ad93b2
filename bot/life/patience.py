"""Waiting out what passes by itself: an outage is no failure, and nothing is lost while it lasts."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import aiohttp
import discord
import httpx
from sqlalchemy.exc import OperationalError

from contracts.node import ChainUnreachableError
from generation.engine import Engine
from generation.hosting.host import HostBusy, HostUnreachable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

FIRST_S = 0.5
MOST_S = 30.0
BUSY_S = 2.0  # the least after a host that has too much to do
LONGEST_S = 600.0  # however long somebody would have us wait


class GivenUpError(Exception):
    """The caller no longer wants what was waited for."""


def passes(error: BaseException) -> bool:
    """True for what is likely to go away: an unreachable or overloaded Discord, host, chain or database."""
    if isinstance(error, discord.HTTPException):
        return error.status >= 500 or error.status == 429
    return isinstance(
        error,
        HostUnreachable
        | HostBusy
        | ChainUnreachableError
        | discord.GatewayNotFound
        | discord.ConnectionClosed
        | aiohttp.ClientError
        | httpx.TransportError
        | OperationalError
        | OSError
        | TimeoutError,
    )


async def patiently(
    what: str,
    call: Callable[[], Awaitable[T]],
    *,
    unwanted: Callable[[], Awaitable[bool]] | None = None,
    on_trouble: Callable[[], Awaitable[None]] | None = None,
) -> T:
    """Calls until it works or fails for good, ever more slowly.

    `on_trouble` is told once, at the first failure. Raises GivenUpError when `unwanted` says so in between.
    """
    wait = FIRST_S
    while True:
        try:
            return await call()
        except Exception as error:
            if not passes(error):
                raise
            if isinstance(error, HostBusy):  # Livepeer says no time with its 429; other hosts do
                wait = max(wait, BUSY_S if error.retry_after is None else min(error.retry_after, LONGEST_S))
            log.warning("%s: %s; trying again in %.0f s.", what, error or type(error).__name__, wait)
        if on_trouble is not None:
            await on_trouble()
            on_trouble = None
        if unwanted is not None and await unwanted():
            raise GivenUpError(what)
        await asyncio.sleep(wait * random.uniform(0.7, 1.3))  # noqa: S311  # jitter, not a secret
        wait = max(FIRST_S, min(wait * 2, MOST_S))


async def step(name: str, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """A durable step of a life that waits out what passes. Its result must be plain JSON.

    An exception that leaves a step is recorded, and comes back after a restart as another type: what a life wants
    to decide upon, its steps return.
    """
    return await Engine.step(name, lambda: patiently(name, lambda: function(*args, **kwargs)))
