"""A discord.py bot of several shards, as anybody would write it; only the two base addresses are not Discord's."""

from __future__ import annotations

import json
import os
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands
from yarl import URL

intents = discord.Intents.none()
intents.guilds = intents.guild_reactions = True


class Bot(commands.AutoShardedBot):
    def __init__(self) -> None:
        super().__init__(command_prefix="!", help_command=None, intents=intents, shard_count=2)
        self.messages = 0

    async def setup_hook(self) -> None:
        @self.tree.command(description="Where it is")
        async def where(interaction: Any) -> None:
            shards = dict.fromkeys(self.shards, 0)
            for guild in self.guilds:
                shards[guild.shard_id] += 1
            told = {"shards": shards, "here": interaction.guild.shard_id, "messages": self.messages}
            await interaction.response.send_message(json.dumps(told), ephemeral=True)

        @self.tree.command(description="Edits faster than it may")
        async def hurry(interaction: Any, times: app_commands.Range[int, 1, 20]) -> None:
            await interaction.response.send_message("0")
            for number in range(1, times + 1):
                await interaction.edit_original_response(content=str(number))
            await interaction.followup.send("done", ephemeral=True)

        await self.tree.sync()

    async def before_identify_hook(self, _shard_id: int | None, *, initial: bool = False) -> None:
        """Does not pause for five seconds between its shards, as Discord wants it: no test has that much time."""

    async def on_message(self, _message: Any) -> None:
        self.messages += 1  # never: it did not ask for messages

    async def on_raw_reaction_add(self, event: Any) -> None:
        """Answers a member's reaction by editing the message, as an ordinary one of its own."""
        if event.user_id != self.user.id:  # type: ignore[union-attr]  # it is logged in
            channel = self.get_partial_messageable(event.channel_id)
            await channel.get_partial_message(event.message_id).edit(content=f"{event.emoji} by {event.member.name}")


if __name__ == "__main__":
    discord.http.Route.BASE = os.environ["API"]
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(os.environ["GATEWAY"])
    Bot().run(os.environ["TOKEN"], root_logger=True)
