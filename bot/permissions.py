"""The intents and permissions that the bot asks of Discord: no more than it needs, each with its reason.

docs/setup.md gives the same reasons to those who invite it.
"""

from __future__ import annotations

from collections.abc import Sequence

import discord

# Guilds for channels and threads, reactions for votes. Nothing privileged: members' messages are not ours to read.
INTENTS = discord.Intents(guilds=True, guild_reactions=True)

PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_public_threads=True,
    manage_threads=True,  # to lock a round's thread when it is closed
    attach_files=True,
    embed_links=True,
    read_message_history=True,  # to find the bot's own message again after a crash
    add_reactions=True,
)
# Without the first of each, Discord takes the others away as well: only the first is named then.
_IMPLIED = {"send_messages": {"attach_files", "embed_links"}}


def missing_permissions(channel: discord.abc.GuildChannel | discord.Thread | discord.abc.PrivateChannel) -> list[str]:
    """Return the permissions that the bot lacks in a channel of a server, by the names that Discord shows.

    Only the cause is named, and none of the permissions that Discord takes away because of it.
    """
    if isinstance(channel, discord.abc.PrivateChannel):
        return []
    me = channel.guild.me
    if not me:  # None while Discord has not sent the bot's own membership, though its type denies that
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
    """Return permissions as a part of a sentence."""
    return ", ".join(f"**{name}**" for name in permissions)
