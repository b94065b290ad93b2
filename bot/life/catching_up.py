"""Reactions that nobody told us of: made while the bot was away, or before a card was known to take votes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import discord
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import MemberError
from bot.domain.videos import Video
from bot.domain.votes import Choice, choice_of_emoji
from bot.life.patience import patiently
from bot.store.votes import Reaction, known_reactions

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)


async def catch_up(app: App, video: Video) -> None:
    """Compares what stands on a card with what we know of it, and records the difference; waits out an outage.

    Discord does not say when a reaction was made: all that is found counts as older than this connection.
    """
    try:
        await patiently("Discord", lambda: _catch_up(app, video))
    except discord.NotFound:
        log.info("The card of video %s was deleted.", video.id)
    except discord.HTTPException as error:
        log.warning("The reactions on video %s could not be read: HTTP %s.", video.id, error.status)
    else:
        app.votes.caught_up(video.id)


async def _catch_up(app: App, video: Video) -> None:
    # First what we know: what we hear of from here on, the vote writer tells from what was missed.
    known = await known_reactions(app.database, video.id)
    channel = await app.client.channel(video.thread_id or 0)
    message = await channel.fetch_message(video.message_id or 0)
    standing: set[tuple[int, Choice]] = set()
    for reaction in message.reactions:
        choice = choice_of_emoji(str(reaction.emoji))
        if choice is not None:
            standing |= {(user.id, choice) async for user in reaction.users() if not user.bot}
    changes: list[tuple[set[tuple[int, Choice]], Literal["added", "removed"]]]
    changes = [(known - standing, "removed"), (standing - known, "added")]
    for found, change in changes:
        for member_id, choice in sorted(found):
            await record(app, Reaction(video.guild_id, message.id, member_id, choice, change, missed=True))


async def record(app: App, reaction: Reaction) -> None:
    """Records what a reaction means, if it is on a card that takes votes."""
    try:
        await app.votes.react(reaction)
    except MemberError:
        pass  # no card of ours, or of a closed round: nobody can be told but by spamming the thread
    except SQLAlchemyError as error:
        # Not lost: what stands on the card is compared with what we know at the next start.
        log.error("A reaction could not be recorded: %s", type(error).__name__)
