"""What the bot asks of Discord: nothing more than it needs. README.md gives the reasons, and so does this."""

from __future__ import annotations

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
