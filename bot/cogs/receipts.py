"""`/receipt`: where a member's own votes stand on the chain, and how to check them without trusting us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cards import receipts as receipt_cards
from bot.cogs.ledger_notices import tell_refused
from bot.cogs.replies import answer
from bot.domain.errors import NoRoundError, NoVoteError
from bot.store import rounds, videos
from contracts.outbox.entries import voter_id
from contracts.outbox.progress import round_progress, voter_receipts

if TYPE_CHECKING:
    from bot.app import App


class Receipts(commands.Cog):
    """What a member may know of their own votes, and nobody else."""

    def __init__(self, app: App) -> None:
        self.app = app

    @app_commands.command(
        name="receipt", description="Where your votes of a round stand on the chain. Only you see it."
    )
    @app_commands.describe(round="The number of an earlier round.")
    @app_commands.guild_only()
    async def receipt(
        self,
        interaction: discord.Interaction[Any],
        round: app_commands.Range[int, 1, 1_000_000] | None = None,  # noqa: A002  # the option's name for members
    ) -> None:
        shown: list[int] = []
        await answer(interaction, self._receipt(interaction, round, shown))
        await tell_refused(self.app, interaction, read=shown)

    async def _receipt(
        self, interaction: discord.Interaction[Any], number: int | None, shown: list[int]
    ) -> ui.LayoutView:
        """`shown` gets the round's number: what stands in its receipt need not be told once more."""
        guild_id = interaction.guild_id or 0
        found = await rounds.by_number_or_none(self.app.database, guild_id, number)
        if found is None:
            raise NoRoundError
        voter = voter_id(self.app.pepper, guild_id, interaction.user.id)
        receipts = await voter_receipts(self.app.database, found.id, voter)
        if not receipts:
            raise NoVoteError(number=found.number)
        progress = await round_progress(self.app.database, found.id)
        entries = await videos.entries(self.app.database, found.id, removed=True)
        posted = {entry.video.id: entry.video for entry in entries}
        lines = [(posted[video_id], receipt) for video_id, receipt in receipts.items() if video_id in posted]
        shown.append(found.number)
        check = self.app.public_ledger.audit_command(progress.chain_id)
        return receipt_cards.receipt_card(found, lines, voter, self.app.public_ledger, check)
