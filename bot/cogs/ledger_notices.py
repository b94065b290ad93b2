"""Notices of rejected votes: each member reads of theirs once, after the next answer that only they see."""

from __future__ import annotations

import logging
from collections.abc import Collection

import aiohttp
import discord
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import results as result_cards
from bot.client import Interaction
from bot.cogs.replies import insist
from bot.store import rejections
from contracts.outbox.entries import voter_id

log = logging.getLogger(__name__)


class LedgerNotices:
    """Tells members which of their votes the ledger rejected."""

    def __init__(self, *, database: AsyncEngine, pepper: bytes) -> None:
        """`pepper` is the secret that makes voter ids irreversible."""
        self._database = database
        self._pepper = pepper
        self._in_progress: set[str] = set()  # the voters to whom a notice is being sent

    async def tell_rejected(self, interaction: Interaction, *, read: Collection[int] = ()) -> None:
        """Send a notice after an answer, in a message of its own. `read` are rounds whose receipt the member just saw.

        Raises nothing: a notice that cannot be sent now comes with the next answer.
        """
        guild_id = interaction.guild_id or 0
        voter = voter_id(self._pepper, guild_id, interaction.user.id)
        if voter in self._in_progress or not interaction.response.is_done():
            return
        self._in_progress.add(voter)  # two presses at once cause one notice
        try:
            pending = await rejections.list_untold(self._database, guild_id, voter)
            news = [rejection for rejection in pending if rejection.number not in read]
            if news:
                view = result_cards.rejected_note(
                    [(rejection.number, rejection.votes, rejection.reason) for rejection in news]
                )
                await insist(lambda: interaction.followup.send(view=view, ephemeral=True))
            if pending:
                await rejections.mark_told(self._database, pending)
        except (discord.HTTPException, aiohttp.ClientError, OSError, SQLAlchemyError) as error:
            log.info("A member could not be told now what the ledger rejected (%s).", type(error).__name__)
        finally:
            self._in_progress.discard(voter)
