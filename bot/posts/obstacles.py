"""The obstacles that keep a post from Discord, as sentences for moderators: what is in the way, and what to do."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import aiohttp
import discord

from bot.client import Client
from bot.permissions import in_words, missing_permissions
from bot.retry import UNREADABLE, GivenUpError, is_limit, is_unreadable, passes, patiently

log = logging.getLogger(__name__)

T = TypeVar("T")

OLD = timedelta(hours=1)
UNFORESEEN = "Something went wrong on our side. The operator can see it in the log."
_UNKNOWN_CHANNEL, _UNKNOWN_MESSAGE, _MISSING_ACCESS = 10003, 10008, 50001
_MODERATED = frozenset({200000, 200001})


@dataclass(frozen=True)
class Obstacle:
    """Something in the way of a post. It `passes` by itself, or somebody must do something.

    `is_gone` means that the channel or message no longer exists.
    """

    sentence: str
    passes: bool = False
    is_gone: bool = False


async def attempt(
    client: Client,
    channel_id: int,
    call: Callable[[], Awaitable[T]],
    *,
    seconds: float,
    unwanted: Callable[[], Awaitable[bool]] | None = None,
) -> T | Obstacle:
    """Return the result of a call to Discord, or what is in its way after so many seconds.

    Nothing is raised, whatever Discord answers. An error that nobody foresaw is logged with its trace.
    """
    try:
        return await patiently("Discord", call, seconds=seconds, unwanted=unwanted)
    except GivenUpError:
        return Obstacle("It is no longer wanted.")
    except Exception as error:
        return obstacle(client, channel_id, error)


def obstacle(client: Client, channel_id: int, error: Exception) -> Obstacle:
    """Return a failure as moderators need it. The log has the rest."""
    return Obstacle(_sentence(client, channel_id, error), passes=passes(error), is_gone=is_gone(error))


def is_gone(error: Exception) -> bool:
    """Return True if the channel or the message that was asked for no longer exists."""
    return isinstance(error, discord.NotFound) and error.code in {_UNKNOWN_CHANNEL, _UNKNOWN_MESSAGE}


def is_old(message_id: int) -> bool:
    """Return True for a message that is over an hour old: Discord takes far fewer edits of these (its code 30046)."""
    return discord.utils.utcnow() - discord.utils.snowflake_time(message_id) > OLD


def _sentence(client: Client, channel_id: int, error: Exception) -> str:
    if is_limit(error):
        return "This server has as many active threads as Discord allows. Archive some of them from their menus."
    if passes(error):
        failure = f"HTTP {error.status}" if isinstance(error, discord.HTTPException) else type(error).__name__
        return f"Discord isn't accepting it at the moment ({failure})."
    if isinstance(error, discord.HTTPException):
        log.error("Discord refused a post in channel %s: HTTP %s, code %s.", channel_id, error.status, error.code)
        if error.code == _UNKNOWN_CHANNEL:
            return "The channel or thread was deleted. Choose a channel for rounds with `/setup`."
        if error.code == _UNKNOWN_MESSAGE:
            return "The message was deleted in the meantime."
        if error.code in _MODERATED:
            return "This server's AutoMod blocked it. Let my messages pass there, or change the round's task."
        if isinstance(error, discord.Forbidden):
            return _missing(client, channel_id)
        return (
            f"Discord refused it (HTTP {error.status}, code {error.code}). If it keeps happening, give the "
            "operator these numbers."
        )
    if is_unreadable(error):
        log.error("Discord answers what cannot be read (%s).", type(error).__name__, exc_info=error)
        return "Discord's answers can't be read at the moment."
    log.error("A post in channel %s failed, unforeseen.", channel_id, exc_info=error)
    return UNFORESEEN


def _missing(client: Client, channel_id: int) -> str:
    """Name the missing permissions, which Discord's 403 does not."""
    where = f"<#{channel_id}>"
    channel = client.get_channel(channel_id)
    missing = missing_permissions(channel) if isinstance(channel, discord.abc.GuildChannel) else []
    if missing:
        return f"I can't do that in {where}. Please give me these permissions there: {in_words(missing)}."
    return f"I can't do that in {where}. Check my permissions there; `/setup` names what is missing."


async def why_not_here(client: Client, channel_id: int) -> str | None:
    """Return what keeps a round from being opened in a channel, as a sentence; None if nothing is known.

    A channel that is not in the cache is fetched.
    """
    try:
        missing = missing_permissions(await client.channel(channel_id))
    except discord.HTTPException as error:
        return _sentence(client, channel_id, error) if is_gone(error) or _denied(error) else None
    except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, *UNREADABLE):
        return None  # the round's workflow will see
    return (
        f"I can't post rounds in <#{channel_id}>. Please give me these permissions there: {in_words(missing)}."
        if missing
        else None
    )


def _denied(error: discord.HTTPException) -> bool:
    return isinstance(error, discord.Forbidden) and error.code == _MISSING_ACCESS
