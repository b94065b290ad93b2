"""Members are told what the ledger refused of their votes: once, with the next answer that only they see."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
from sqlalchemy.exc import SQLAlchemyError

from bot.cards import results as result_cards
from bot.cogs.replies import insist
from bot.store import rejections as refused
from contracts.outbox.entries import voter_id

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)


async def tell_refused(app: App, interaction: discord.Interaction[Any], *, read: Collection[int] = ()) -> None:
    """Comes after an answer, in a message of its own. `read` are rounds whose receipt they have just seen.

    Raises nothing: who could not be told now is told with their next answer.
    """
    voter = voter_id(app.pepper, interaction.guild_id or 0, interaction.user.id)
    if voter in app.being_told or not interaction.response.is_done():
        return
    app.being_told.add(voter)  # two presses at once are one reason to tell them
    try:
        found = await refused.list_untold(app.database, interaction.guild_id or 0, voter)
        news = [one for one in found if one.number not in read]
        if news:
            view = result_cards.rejected_note([(one.number, one.votes, one.reason) for one in news])
            await insist(lambda: interaction.followup.send(view=view, ephemeral=True))
        if found:
            await refused.mark_told(app.database, found)
    except (discord.HTTPException, aiohttp.ClientError, OSError, SQLAlchemyError) as error:
        log.info("A member could not be told now what the ledger refused (%s).", type(error).__name__)
    finally:
        app.being_told.discard(voter)
