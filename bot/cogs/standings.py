"""`/standings`: how a round stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cards import results as result_cards
from bot.cogs.ledger_notices import tell_refused
from bot.cogs.replies import answer
from bot.domain.errors import NoRoundError
from bot.store import rounds

if TYPE_CHECKING:
    from bot.app import App


class Standings(commands.Cog):
    """Results, as they are and as they were."""

    def __init__(self, app: App) -> None:
        self.app = app

    @app_commands.command(name="standings", description="The standings of the latest round, or of an earlier one.")
    @app_commands.describe(round="The number of an earlier round.")
    @app_commands.guild_only()
    async def standings(
        self,
        interaction: discord.Interaction[Any],
        round: app_commands.Range[int, 1, 1_000_000] | None = None,  # noqa: A002  # the option's name for members
    ) -> None:
        await answer(interaction, self._standings(interaction, round))
        await tell_refused(self.app, interaction)

    async def _standings(self, interaction: discord.Interaction[Any], number: int | None) -> ui.LayoutView:
        found = await rounds.by_number_or_none(self.app.database, interaction.guild_id or 0, number)
        if found is None:
            raise NoRoundError
        outcome = await self.app.results.of(found)
        ranked = result_cards.ranked(outcome)
        views = await self.app.views.of(entry.video for entry in ranked[: result_cards.MOST_RANKED])
        return result_cards.standings_card(found, outcome, views)
