"""`/help`: what this is, what to do now, and the commands that a member may use."""

from __future__ import annotations

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import help as help_cards
from bot.client import Interaction
from bot.cogs.replies import answer
from bot.store import rounds
from migrations.database import now_ms


class Help(commands.Cog):
    """The command that newcomers type first."""

    def __init__(self, *, database: AsyncEngine, model_id: str) -> None:
        """`model_id` is the model of the rounds: examples are prompts that work with it."""
        self._database = database
        self._model_id = model_id

    @app_commands.command(name="help", description="What this is, and what you can do right now. Only you see it.")
    @app_commands.guild_only()
    async def help(self, interaction: Interaction) -> None:
        await answer(interaction, self._help(interaction.guild_id or 0, interaction.permissions.manage_guild))

    async def _help(self, guild_id: int, is_moderator: bool) -> ui.LayoutView:
        channel = await rounds.rounds_channel_or_none(self._database, guild_id)
        return help_cards.help_card(
            await rounds.latest_or_none(self._database, guild_id),
            is_set_up=channel is not None,
            is_moderator=is_moderator,
            model_id=self._model_id,
            now_ms=now_ms(),
        )
