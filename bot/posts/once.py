"""Posting exactly once: with a nonce, and after a crash by looking first whether it is already there."""

from __future__ import annotations

from typing import Any

import discord
from discord import ui

LOOK_BACK = 100
# Discord's codes for a request, and for a file, that is too large:
# https://discord.com/developers/docs/topics/opcodes-and-status-codes
TOO_LARGE = (40005, 50045)


def is_too_large(error: discord.HTTPException) -> bool:
    """Whether a message was refused for the size of its file: by Discord, or by whatever stands before it."""
    named = error.status == 400 and "request entity too large" in error.text.lower()
    return error.status == 413 or error.code in TOO_LARGE or named


async def find_ours(channel: Any, mark: str) -> discord.Message | None:
    """Our own recent message in a channel whose card carries the mark: a custom id, or how a text begins or ends.

    In the middle of a text stand members' words, which may be anybody's mark.
    """
    me = channel.guild.me.id
    async for message in channel.history(limit=LOOK_BACK):
        if message.author.id == me and any(found.startswith(mark) or found.endswith(mark) for found in marks(message)):
            return message  # type: ignore[no-any-return]  # the channel is of any kind
    return None


def marks(message: discord.Message) -> set[str]:
    """Everything in a card by which it can be known again: its texts and the ids of its buttons."""
    found: set[str] = set()

    def walk(data: Any) -> None:
        if isinstance(data, dict):
            found.update(str(data[key]) for key in ("custom_id", "content") if data.get(key))
            for value in data.values():
                walk(value)
        elif isinstance(data, list):
            for value in data:
                walk(value)

    walk([component.to_dict() for component in message.components])
    return found


async def post_once(
    channel: Any, view: ui.LayoutView, *, nonce: str, mark: str, again: bool, file: discord.File | None = None
) -> discord.Message:
    """Posts a card. `again` says that an earlier attempt may have got through.

    Discord de-duplicates by nonce for a few minutes only, so an old attempt is looked for.
    """
    if again:
        found = await find_ours(channel, mark)
        if found is not None:
            return found
    files = [file] if file is not None else []
    message: discord.Message = await channel.send(view=view, files=files, nonce=nonce)
    return message
