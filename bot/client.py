"""The discord.py client: least intents, no mentions, the command tree, and how it starts and stops."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import discord
from discord import app_commands
from discord.ext import commands
from yarl import URL

from bot.cogs.prompts import Prompts
from bot.cogs.provenance import Provenance
from bot.cogs.receipts import Receipts
from bot.cogs.removal import Removal
from bot.cogs.replies import answer_error
from bot.cogs.reviews import ReviewButton, Reviews
from bot.cogs.rounds import Rounds, Setup
from bot.cogs.standings import Standings
from bot.cogs.voting import VideoButton, Voting
from bot.cogs.wallet import PasteButton, Wallets
from bot.permissions import INTENTS
from bot.settings import Settings

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # we never speak


class Tree(app_commands.CommandTree[Any]):
    """The command tree; its errors are answered where all errors are."""

    async def on_error(self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError, /) -> None:
        await answer_error(interaction, error)


def point_at(settings: Settings) -> None:
    """Uses another Discord than discord.com, where the settings name one: the embedded one, for the demo."""
    if settings.discord_api_base:
        discord.http.Route.BASE = settings.discord_api_base.rstrip("/")
    if settings.discord_gateway:
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(settings.discord_gateway)
    elif settings.discord_api_base:
        parts = urlsplit(settings.discord_api_base)
        scheme = "wss" if parts.scheme == "https" else "ws"
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(f"{scheme}://{parts.netloc}/gateway")


class Client(commands.AutoShardedBot):
    """The bot on Discord. What it does is in the cogs; what they work with is in the app."""

    def __init__(self, app: App) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            intents=INTENTS,
            allowed_mentions=discord.AllowedMentions.none(),  # prompts are hostile
            tree_cls=Tree,
            max_messages=None,  # we never look at a message that we did not fetch
        )
        self.app = app
        self.connected: set[int] = set()  # the shards whose gateway connection stands

    async def on_shard_ready(self, shard_id: int) -> None:
        self.connected.add(shard_id)

    async def on_shard_resumed(self, shard_id: int) -> None:
        self.connected.add(shard_id)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        self.connected.discard(shard_id)

    async def setup_hook(self) -> None:
        self.add_dynamic_items(VideoButton, PasteButton, ReviewButton)
        for cog in (Prompts, Voting, Rounds, Setup, Standings, Receipts, Provenance, Removal, Reviews, Wallets):
            await self.add_cog(cog(self.app))
        await self.tree.sync()
        await self.app.open()

    async def channel(self, channel_id: int) -> Any:
        """A channel or thread, from the cache or fetched (archived threads are not in the cache).

        Raises discord.NotFound or discord.Forbidden.
        """
        await self.wait_until_ready()
        return self.get_channel(channel_id) or await self.fetch_channel(channel_id)

    async def close(self) -> None:
        await self.app.close()
        await super().close()


async def run_client(client: Client, token: str, stop: asyncio.Event) -> None:
    """Runs until `stop` is set or the connection ends for good. Raises what discord.py raises."""
    running = asyncio.create_task(client.start(token))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await client.close()
    await running
