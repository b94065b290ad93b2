"""What keeps a post from Discord, as a sentence for moderators: what is in the way, and what they can do about it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import discord

from bot.permissions import in_words, missing_permissions
from bot.retry import UNREADABLE, GivenUpError, is_limit, is_unreadable, passes, patiently

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

T = TypeVar("T")

UNFORESEEN = "Something went wrong on our side; the operator finds it in the log."
_UNKNOWN_CHANNEL, _UNKNOWN_MESSAGE, _MISSING_ACCESS = 10003, 10008, 50001
_MODERATED = frozenset({200000, 200001})


@dataclass(frozen=True)
class Obstacle:
    """Something in the way of a post, which `passes` by itself, or for which somebody must do something.

    `gone` says that the channel or message is not there any more.
    """

    sentence: str
    passes: bool = False
    gone: bool = False


async def tried(
    app: App,
    channel_id: int,
    call: Callable[[], Awaitable[T]],
    *,
    seconds: float,
    unwanted: Callable[[], Awaitable[bool]] | None = None,
) -> T | Obstacle:
    """The result of something that is asked of Discord alone, or what is in its way after so many seconds.

    Whatever Discord answers, nothing is raised; what nobody foresaw is in the log with its trace.
    """
    try:
        return await patiently("Discord", call, seconds=seconds, unwanted=unwanted)
    except GivenUpError:
        return Obstacle("It is no longer wanted.")
    except Exception as error:
        return await obstacle(app, channel_id, error)


async def obstacle(app: App, channel_id: int, error: Exception) -> Obstacle:
    """What a failure comes to, for moderators; the log has the rest."""
    return Obstacle(await _sentence(app, channel_id, error), passes=passes(error), gone=_gone(error))


def _gone(error: Exception) -> bool:
    return isinstance(error, discord.NotFound) and error.code in {_UNKNOWN_CHANNEL, _UNKNOWN_MESSAGE}


async def _sentence(app: App, channel_id: int, error: Exception) -> str:
    if is_limit(error):
        return (
            "This server has as many active threads as Discord allows. Archive some of them; "
            "each thread's menu has that."
        )
    if passes(error):
        what = f"HTTP {error.status}" if isinstance(error, discord.HTTPException) else type(error).__name__
        return f"Discord does not take it at the moment ({what})."
    if isinstance(error, discord.HTTPException):
        log.error("Discord refused a post in channel %s: HTTP %s, code %s.", channel_id, error.status, error.code)
        if error.code == _UNKNOWN_CHANNEL:
            return "The channel or thread was deleted. Choose a channel for rounds with `/setup`."
        if error.code == _UNKNOWN_MESSAGE:
            return "The message was deleted meanwhile."
        if error.code in _MODERATED:
            return "AutoMod of this server has blocked it. Let my messages pass there, or change the round's task."
        if isinstance(error, discord.Forbidden):
            return await _permissions(app, channel_id)
        return (
            f"Discord refused it (HTTP {error.status}, code {error.code}). If that stays, tell the operator these "
            "numbers."
        )
    if is_unreadable(error):
        log.error("Discord answers what cannot be read (%s).", type(error).__name__, exc_info=error)
        return "Discord answers what cannot be read at the moment."
    log.error("A post in channel %s failed, unforeseen.", channel_id, exc_info=error)
    return UNFORESEEN


async def _permissions(app: App, channel_id: int) -> str:
    """What Discord does not say with its 403: which permissions are missing."""
    where = f"<#{channel_id}>"
    channel = app.client.get_channel(channel_id)
    missing = [] if channel is None else missing_permissions(channel)
    if missing:
        return f"I may not do that in {where}. Give me there: {in_words(missing)}."
    return f"I may not do that in {where}. Check my permissions there; `/setup` names what is missing."


async def why_not_here(app: App, channel_id: int) -> str | None:
    """What keeps a round from being opened in a channel, by what Discord has told us; None for nothing that we know of.

    A channel that we have not been told of is asked for.
    """
    try:
        channel: Any = await app.client.channel(channel_id)
        missing = missing_permissions(channel)
    except discord.HTTPException as error:
        return await _sentence(app, channel_id, error) if _gone(error) or _denied(error) else None
    except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, *UNREADABLE):
        return None  # the round's life will see
    return f"I may not post rounds in <#{channel_id}>. Give me there: {in_words(missing)}." if missing else None


def _denied(error: discord.HTTPException) -> bool:
    return isinstance(error, discord.Forbidden) and error.code == _MISSING_ACCESS
