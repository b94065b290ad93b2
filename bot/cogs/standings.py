"""`/standings`: the standings of a round."""

from __future__ import annotations

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import results as result_cards
from bot.client import Interaction
from bot.cogs.ledger_notices import LedgerNotices
from bot.cogs.replies import answer
from bot.domain.errors import NoRoundError
from bot.round_results import Results
from bot.store import rounds
from bot.sync.view_counts import ViewCounts


class Standings(commands.Cog):
    """The command that shows the results of a round, open or closed."""

    def __init__(
        self, *, database: AsyncEngine, results: Results, view_counts: ViewCounts, notices: LedgerNotices
    ) -> None:
        self._database = database
        self._results = results
        self._view_counts = view_counts
        self._notices = notices

    @app_commands.command(name="standings", description="The standings of the latest round or of an earlier one.")
    @app_commands.rename(number="round")
    @app_commands.describe(number="The number of an earlier round; without it, the latest one.")
    @app_commands.guild_only()
    async def standings(
        self, interaction: Interaction, number: app_commands.Range[int, 1, 1_000_000] | None = None
    ) -> None:
        await answer(interaction, self._standings(interaction.guild_id or 0, number))
        await self._notices.tell_rejected(interaction)

    async def _standings(self, guild_id: int, number: int | None) -> ui.LayoutView:
        round_ = await rounds.by_number_or_none(self._database, guild_id, number)
        if round_ is None:
            raise NoRoundError
        outcome = await self._results.of(round_)
        best = result_cards.ranked(outcome)[: result_cards.MOST_RANKED]
        view_counts = await self._view_counts.of(entry.video for entry in best)
        return result_cards.standings_card(round_, outcome, view_counts)
