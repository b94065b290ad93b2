"""The retries of what passes by itself: an outage is no failure, and nothing is lost while it lasts."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import discord
import httpx
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from contracts.rpc.node import ChainUnreachableError
from generation.hosting.host import HostBusy, HostUnreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_S = 0.5
MOST_S = 30.0
BUSY_S = 2.0  # the least after a host that has too much to do
LONGEST_S = 600.0  # the longest wait, whatever a server asks for
LIMIT_S = 15.0  # the longest wait for a full Discord server, while a person waits
MOST_UNREADABLE = 6  # unreadable answers in a row: more are taken for a fault of our own

# https://discord.com/developers/docs/topics/opcodes-and-status-codes#json
_PASSING_CODES = frozenset(
    {
        20016,  # slow mode
        20028,  # the channel's limit of writes
        20029,  # the server's limit of writes
        30046,  # edits to messages older than an hour
        40004,  # sending is switched off for a while
        40006,  # a feature is switched off for a while
        40062,  # a service of Discord's is rate limited
        130000,  # the API is overloaded
    }
)
_LIMIT_CODES = frozenset({30033, 160006, 160007})  # members in a thread, threads and announcement threads in a server
_PAGE = re.compile(r"\s*(<|error code: 1[0-9]{3})")  # of the edge: HTML, or a line that only it writes
UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class GivenUpError(Exception):
    """The caller no longer wants the result."""


def passes(error: BaseException) -> bool:
    """Return True for what is likely to go away: an unreachable or overloaded Discord, host, chain or database."""
    if isinstance(error, discord.HTTPException):
        if error.status >= 500 or error.status in {408, 425, 429} or error.code in _PASSING_CODES:
            return True
        if error.status == 401:  # a bad token ends the process at the gateway; a single 401 is a mishap of Discord's
            return error.code in {0, 40001}
        return is_page(error)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(
        error,
        HostUnreachable
        | HostBusy
        | ChainUnreachableError
        | discord.GatewayNotFound
        | discord.ConnectionClosed
        | discord.RateLimited
        | aiohttp.ClientError
        | httpx.TransportError
        | OperationalError
        | InterfaceError
        | PoolTimeoutError
        | OSError
        | TimeoutError,
    )


def is_page(error: discord.HTTPException) -> bool:
    """Return True for a refusal that is a page of the edge before Discord, which knows no permissions or channels.

    A request that is too large (413) is too large for the edge as well.
    """
    return error.code == 0 and error.status not in {413, 414, 431} and _PAGE.match(error.text) is not None


def is_limit(error: BaseException) -> bool:
    """Return True for a full server: it has room again when somebody, or Discord in time, archives threads."""
    return isinstance(error, discord.HTTPException) and error.code in _LIMIT_CODES


def is_unreadable(error: BaseException) -> bool:
    """Return True if discord.py failed on an answer that is not what Discord specifies: no JSON, or fields missing.

    discord.py has no exception for that. The error is recognised by its origin: a frame of discord.py below our last.
    """
    if not isinstance(error, UNREADABLE):
        return False
    frames, frame = [], error.__traceback__
    while frame is not None:
        frames.append(str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0])
        frame = frame.tb_next
    our_last = max((number for number, name in enumerate(frames) if name in {"bot", "tests"}), default=-1)
    return "discord" in frames[our_last + 1 :]


async def patiently(
    name: str,
    call: Callable[[], Awaitable[T]],
    *,
    unwanted: Callable[[], Awaitable[bool]] | None = None,
    on_trouble: Callable[[], Awaitable[None]] | None = None,
    seconds: float | None = None,
) -> T:
    """Call until it works or fails for good, with growing pauses.

    `on_trouble` is called once, at the first failure. Raises GivenUpError when `unwanted` returns True in between.
    With `seconds` a person waits: the last failure is raised after that time, and a full server is waited for as well.
    """
    wait = FIRST_S
    clock = asyncio.get_running_loop().time
    began = clock()
    unreadable = 0
    while True:
        try:
            return await call()
        except Exception as error:
            unreadable = unreadable + 1 if is_unreadable(error) else 0
            limited = seconds is not None and is_limit(error)
            if not (passes(error) or limited or 0 < unreadable < MOST_UNREADABLE):
                raise
            if seconds is not None and clock() - began + wait > (min(seconds, LIMIT_S) if limited else seconds):
                raise
            if isinstance(error, HostBusy):  # Livepeer's 429 names no time; other hosts' do
                wait = max(wait, BUSY_S if error.retry_after is None else min(error.retry_after, LONGEST_S))
            log.warning("%s: %s; trying again in %.0f s.", name, _short(error), wait)
            failure = error
        if on_trouble is not None:
            await on_trouble()
            on_trouble = None
        if unwanted is not None and await unwanted():
            raise GivenUpError(name) from failure
        await asyncio.sleep(wait * random.uniform(0.7, 1.3))  # noqa: S311  # jitter, not a secret
        wait = max(FIRST_S, min(wait * 2, MOST_S))


def _short(error: BaseException) -> str:
    """Return an error for the log, without the page that an edge may have sent."""
    text = str(error) or type(error).__name__
    return f"{type(error).__name__}: {text[:200]}" if isinstance(error, UNREADABLE) else text[:200]
