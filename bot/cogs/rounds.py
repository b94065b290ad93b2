"""`/setup` and `/round`: moderators say where rounds are posted, and open and close them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot import cards
from bot.cogs.answers import answer
from bot.domain.errors import MissingPermissionsError, RoundNotOpenError
from bot.domain.policy import read_duration, read_task
from bot.domain.rounds import Round
from bot.permissions import PERMISSIONS
from bot.store import rounds, videos, words

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

LONGEST_LOOK_S = 60.0  # at the cards of a round that is to be closed


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class Rounds(commands.GroupCog, group_name="round", group_description="Open and close rounds."):
    """Moderators' commands."""

    def __init__(self, app: App) -> None:
        self.app = app
        super().__init__()

    @app_commands.command(name="open", description="Open a round: members prompt and vote until it closes.")
    @app_commands.describe(
        task="What the videos of this round should show.", duration="How long, such as 30m, 12h, 3d."
    )
    async def open(self, interaction: discord.Interaction[Any], task: str, duration: str) -> None:
        await answer(interaction, self._open(interaction, task, duration))

    async def _open(self, interaction: discord.Interaction[Any], task: str, duration: str) -> ui.LayoutView:
        app = self.app
        guild_id = interaction.guild_id or 0
        read, seconds = read_task(task), read_duration(duration)
        channel_id = await rounds.rounds_channel(app.database, guild_id)
        async with app.database.begin() as connection:
            round_ = await rounds.open_round(
                connection,
                guild_id=guild_id,
                channel_id=channel_id,
                task=read,
                opened_by=interaction.user.id,
                seconds=seconds,
                grace_s=app.settings.chain_grace_s,
            )
            await app.round_life.begin(connection, round_.id)
        round_ = await self._wait_for(round_, "open")
        where = f"<#{round_.thread_id}>" if round_.thread_id else f"<#{channel_id}> in a moment"
        return cards.note(f"Round {round_.number} is open: {where}. It closes <t:{round_.closes_at_ms // 1000}:R>.")

    async def _wait_for(self, round_: Round, status: str, seconds: float = 10) -> Round:
        """The round when it has got there, or as far as it came in that time: its life goes on without us."""
        deadline = asyncio.get_running_loop().time() + seconds
        while round_.status != status and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.2)
            round_ = await rounds.get(self.app.database, round_.id)
        return round_

    @app_commands.command(name="close", description="Close the open round now. Votes stop at once.")
    async def close(self, interaction: discord.Interaction[Any]) -> None:
        await answer(interaction, self._close(interaction))

    async def _close(self, interaction: discord.Interaction[Any]) -> ui.LayoutView:
        round_ = await rounds.current(self.app.database, interaction.guild_id or 0)
        if round_ is None:
            raise RoundNotOpenError
        # Reactions from while we were away were made before this command: they count.
        if not await self.app.catching_up.look_at_round(round_.id, LONGEST_LOOK_S):
            log.warning("Round %s is closed though not all of its cards could be looked at.", round_.id)
        await self.app.round_life.close_now(round_.id)
        return cards.note(f"Round {round_.number} is closed for votes. Its result is posted in <#{round_.channel_id}>.")

    @app_commands.command(name="status", description="How the open round is doing, and how far it is on the chain.")
    async def status(self, interaction: discord.Interaction[Any]) -> None:
        await answer(interaction, self._status(interaction))

    async def _status(self, interaction: discord.Interaction[Any]) -> ui.LayoutView:
        app = self.app
        round_ = await rounds.numbered(app.database, interaction.guild_id or 0, None)
        if round_ is None:
            raise RoundNotOpenError
        published = await videos.entries(app.database, round_.id)
        waiting = await videos.under_way(app.database, round_.id)
        feedback, reports = await words.count(app.database, round_.id)
        chain = await app.chain_sentence(round_)
        return cards.note(cards.status_text(round_, len(published), len(waiting), feedback, reports, chain))


class Setup(commands.Cog):
    """`/setup`."""

    def __init__(self, app: App) -> None:
        self.app = app

    @app_commands.command(name="setup", description="Say where rounds are posted. Run it again to move them.")
    @app_commands.describe(channel="The text channel in which rounds are announced and their threads opened.")
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    async def setup(self, interaction: discord.Interaction[Any], channel: discord.TextChannel) -> None:
        await answer(interaction, self._setup(interaction, channel))

    async def _setup(self, interaction: discord.Interaction[Any], channel: discord.TextChannel) -> ui.LayoutView:
        have = channel.permissions_for(channel.guild.me)
        missing = [name for name, needed in PERMISSIONS if needed and not getattr(have, name)]
        if missing:
            words_ = ", ".join(f"**{name.replace('_', ' ').title()}**" for name in missing)
            raise MissingPermissionsError(channel_id=channel.id, permissions=words_)
        await rounds.set_up_guild(self.app.database, channel.guild.id, channel.id, interaction.user.id)
        return cards.note(f"Rounds are posted in {channel.mention} from now on. Open the first one with `/round open`.")
