"""Posts that appear exactly once: by a nonce, and after a crash by a look for the earlier attempt."""

from __future__ import annotations

from collections.abc import Mapping

import discord
from discord import ui

LOOK_BACK = 100  # messages
Messageable = discord.TextChannel | discord.Thread
# Discord's codes for a request, and for a file, that is too large:
# https://discord.com/developers/docs/topics/opcodes-and-status-codes
TOO_LARGE = (40005, 50045)


def is_too_large(error: discord.HTTPException) -> bool:
    """Return True if a message was refused for the size of its file: by Discord, or by a proxy before it."""
    is_named = error.status == 400 and "request entity too large" in error.text.lower()
    return error.status == 413 or error.code in TOO_LARGE or is_named


async def find_ours(channel: Messageable, mark: str) -> discord.Message | None:
    """Return the bot's recent message whose card carries the mark: a custom id, or the beginning or end of a text.

    The middle of a text holds members' words, which may imitate any mark.
    """
    me = channel.guild.me.id
    async for message in channel.history(limit=LOOK_BACK):
        if message.author.id == me and any(each.startswith(mark) or each.endswith(mark) for each in marks(message)):
            return message
    return None


def marks(message: discord.Message) -> set[str]:
    """Return everything that identifies a card: its texts and the ids of its buttons."""
    texts: set[str] = set()

    def walk(data: object) -> None:
        if isinstance(data, Mapping):
            texts.update(str(data[key]) for key in ("custom_id", "content") if data.get(key))
            for value in data.values():
                walk(value)
        elif isinstance(data, list):
            for value in data:
                walk(value)

    walk([component.to_dict() for component in message.components])
    return texts


async def post_once(
    channel: Messageable, view: ui.LayoutView, *, nonce: str, mark: str, again: bool, file: discord.File | None = None
) -> discord.Message:
    """Post a card. `again` means that an earlier attempt may have got through.

    Discord removes duplicates by nonce for a few minutes only, so an older attempt is looked for.
    """
    if again:
        earlier = await find_ours(channel, mark)
        if earlier is not None:
            return earlier
    files = [file] if file is not None else []
    return await channel.send(view=view, files=files, nonce=nonce)
