"""`/standings`: the standings of a round."""

from __future__ import annotations

import re

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import results as result_cards
from bot.client import Interaction
from bot.cogs.ledger_notices import LedgerNotices
from bot.cogs.replies import answer
from bot.domain.errors import NoRoundError
from bot.ledger_status import LedgerStatus
from bot.round_results import Results
from bot.store import rounds
from bot.sync.view_counts import ViewCounts

_BUTTON_ID = re.compile(r"s1:details:(?P<round>[0-9]{1,18})")


class Standings(commands.Cog):
    """The command that shows the results of a round, open or closed, and the route of a result's button."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        results: Results,
        view_counts: ViewCounts,
        notices: LedgerNotices,
        ledger_status: LedgerStatus,
    ) -> None:
        self._ledger_status = ledger_status
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

    async def pressed(self, interaction: Interaction, custom_id: str) -> bool:
        """Answer a press of a result's button. Return False if it has no such id."""
        match = _BUTTON_ID.fullmatch(custom_id)
        if match is None:
            return False
        await answer(interaction, self._details(interaction.guild_id or 0, int(match["round"])))
        return True

    async def submitted(self, interaction: Interaction, custom_id: str, text: str) -> bool:
        """Return False: no form belongs to a result."""
        return False

    async def _details(self, guild_id: int, round_id: int) -> ui.LayoutView:
        round_ = await rounds.get_or_none(self._database, round_id)
        if round_ is None or round_.guild_id != guild_id:
            raise NoRoundError
        return result_cards.details_card(round_, await self._ledger_status.sentence(round_))

    async def _standings(self, guild_id: int, number: int | None) -> ui.LayoutView:
        round_ = await rounds.by_number_or_none(self._database, guild_id, number)
        if round_ is None:
            raise NoRoundError
        outcome = await self._results.of(round_)
        best = result_cards.ranked(outcome)[: result_cards.MOST_RANKED]
        view_counts = await self._view_counts.of(entry.video for entry in best)
        return result_cards.standings_card(round_, outcome, view_counts)
