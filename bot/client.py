"""The discord.py client: least intents, no mentions, the command tree, and its start and end.

It imports no cog and no app: what it does is given to it by `attach`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, cast
from urllib.parse import urlsplit

import aiohttp
import discord
from discord import app_commands
from discord.ext import commands
from yarl import URL

from bot.permissions import INTENTS
from bot.settings import Settings

log = logging.getLogger(__name__)

discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # the bot never speaks

Interaction: TypeAlias = discord.Interaction["Client"]
Hook = Callable[[], Awaitable[None]]
OnError = Callable[[Interaction, Exception], Awaitable[None]]


class Tree(app_commands.CommandTree["Client"]):
    """The command tree. Its errors are answered in the same place as all others."""

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError, /) -> None:
        await self.client.answer_error(interaction, error)


def point_at(settings: Settings) -> None:
    """Use another Discord than discord.com, if the settings name one: the demo names the embedded one."""
    if settings.discord_api_base:
        discord.http.Route.BASE = settings.discord_api_base.rstrip("/")
    if settings.discord_gateway:
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(settings.discord_gateway)
    elif settings.discord_api_base:
        parts = urlsplit(settings.discord_api_base)
        scheme = "wss" if parts.scheme == "https" else "ws"
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(f"{scheme}://{parts.netloc}/gateway")


class Client(commands.AutoShardedBot):
    """The bot's connection to Discord. Its cogs and hooks are attached before it starts."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()  # of Discord's answers, by kind: rate_limit, refused and server
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._count_error)
        super().__init__(
            http_trace=trace,
            command_prefix=commands.when_mentioned,
            help_command=None,
            intents=INTENTS,
            allowed_mentions=discord.AllowedMentions.none(),  # prompts are hostile
            tree_cls=Tree,
            max_messages=None,  # the bot reads only messages that it fetches
        )
        self.connected: set[int] = set()  # the shards whose gateway connection stands
        self._cogs_to_add: Sequence[commands.Cog] = ()
        self._on_open: Hook = _nothing
        self._on_close: Hook = _nothing
        self._on_error: OnError | None = None

    def attach(self, *, cogs: Sequence[commands.Cog], on_open: Hook, on_close: Hook, on_error: OnError) -> None:
        """Take the cogs to serve, what to do after the login and before the end, and the answer to a failed command."""
        self._cogs_to_add = cogs
        self._on_open, self._on_close, self._on_error = on_open, on_close, on_error

    async def answer_error(self, interaction: Interaction, error: Exception) -> None:
        """Answer an interaction whose command failed."""
        if self._on_error is not None:
            await self._on_error(interaction, error)

    async def _count_error(
        self, _session: aiohttp.ClientSession, _context: object, end: aiohttp.TraceRequestEndParams
    ) -> None:
        status = end.response.status
        if status >= 400:
            self.errors["rate_limit" if status == 429 else "refused" if status < 500 else "server"] += 1

    async def on_shard_ready(self, shard_id: int) -> None:
        self.connected.add(shard_id)

    async def on_shard_resumed(self, shard_id: int) -> None:
        self.connected.add(shard_id)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        self.connected.discard(shard_id)

    async def setup_hook(self) -> None:
        for cog in self._cogs_to_add:
            await self.add_cog(cog)
        await self.tree.sync()
        await self._on_open()

    async def channel(self, channel_id: int) -> discord.TextChannel:
        """Return a text channel, from the cache or fetched.

        Raises discord.NotFound or discord.Forbidden.
        """
        await self.wait_until_ready()
        return cast(discord.TextChannel, self.get_channel(channel_id) or await self.fetch_channel(channel_id))

    async def thread(self, thread_id: int) -> discord.Thread:
        """Return a thread, from the cache or fetched: archived threads are not in the cache.

        Raises discord.NotFound or discord.Forbidden.
        """
        await self.wait_until_ready()
        return cast(discord.Thread, self.get_channel(thread_id) or await self.fetch_channel(thread_id))

    async def close(self) -> None:
        await self._on_close()
        await super().close()


async def _nothing() -> None:
    """The hook of a client to which none was attached."""


async def run_client(client: Client, token: str, stop: asyncio.Event) -> None:
    """Run until `stop` is set or the connection ends for good. Raises what discord.py raises."""
    running = asyncio.create_task(client.start(token))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await client.close()
    await running
