"""`/receipt`: the state of a member's own votes on the ledger, and how to check them without trusting the operator."""

from __future__ import annotations

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import receipts as receipt_cards
from bot.client import Interaction
from bot.cogs.ledger_notices import LedgerNotices
from bot.cogs.replies import answer
from bot.domain.errors import NoRoundError, NoVoteError
from bot.domain.ledger_links import PublicLedger
from bot.store import rounds, videos
from contracts.outbox.entries import voter_id
from contracts.outbox.progress import round_progress, voter_receipts


class Receipts(commands.Cog):
    """The command that shows members their own votes, and those of nobody else."""

    def __init__(self, *, database: AsyncEngine, pepper: bytes, notices: LedgerNotices, links: PublicLedger) -> None:
        """`pepper` is the secret that makes voter ids irreversible."""
        self._database = database
        self._pepper = pepper
        self._notices = notices
        self._links = links

    @app_commands.command(
        name="receipt", description="Where your votes in a round stand on the ledger. Only you see it."
    )
    @app_commands.rename(number="round")
    @app_commands.describe(number="The number of an earlier round; without it, the latest one.")
    @app_commands.guild_only()
    async def receipt(
        self, interaction: Interaction, number: app_commands.Range[int, 1, 1_000_000] | None = None
    ) -> None:
        rounds_read: list[int] = []
        await answer(interaction, self._receipt(interaction, number, rounds_read))
        await self._notices.tell_rejected(interaction, read=rounds_read)

    async def _receipt(self, interaction: Interaction, number: int | None, rounds_read: list[int]) -> ui.LayoutView:
        """Return the receipt. Add the round's number to `rounds_read`: a receipt needs no notice besides."""
        guild_id = interaction.guild_id or 0
        round_ = await rounds.by_number_or_none(self._database, guild_id, number)
        if round_ is None:
            raise NoRoundError
        voter = voter_id(self._pepper, guild_id, interaction.user.id)
        receipts = await voter_receipts(self._database, round_.id, voter)
        if not receipts:
            raise NoVoteError(number=round_.number)
        progress = await round_progress(self._database, round_.id)
        entries = await videos.entries(self._database, round_.id, removed=True)
        posted = {entry.video.id: entry.video for entry in entries}
        lines = [(posted[video_id], receipt) for video_id, receipt in receipts.items() if video_id in posted]
        rounds_read.append(round_.number)
        audit_command = self._links.audit_command(progress.chain_id)
        return receipt_cards.receipt_card(round_, lines, voter, self._links, audit_command)
