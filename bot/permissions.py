"""What the bot asks of Discord: nothing more than it needs. README.md gives the reasons, and so does this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import discord

# Guilds for channels and threads, reactions for votes. Nothing privileged: members' messages are none of our business.
INTENTS = discord.Intents(guilds=True, guild_reactions=True)

PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_public_threads=True,
    manage_threads=True,  # to lock a round's thread when it is closed
    attach_files=True,
    embed_links=True,
    read_message_history=True,  # to find our own message again after a crash
    add_reactions=True,
)
# Without the first of each, Discord takes the others away as well: only that one is named then.
_IMPLIED = {"send_messages": {"attach_files", "embed_links"}}


def missing_permissions(channel: Any) -> list[str]:
    """The permissions that we lack in a channel of a server, by the names that Discord shows; the cause, not all
    that follows from it.
    """
    me = channel.guild.me
    if me is None:
        return []
    have = channel.permissions_for(me)
    lacking = {name for name, needed in PERMISSIONS if needed and not getattr(have, name)}
    if "read_messages" in lacking:  # discord.py's word for View Channel
        return ["View Channel"]
    for cause, implied in _IMPLIED.items():
        if cause in lacking:
            lacking -= implied
    return [name.replace("_", " ").title().replace(" In ", " in ") for name, _ in PERMISSIONS if name in lacking]


def in_words(permissions: Sequence[str]) -> str:
    """Permissions for a sentence."""
    return ", ".join(f"**{name}**" for name in permissions)
