"""Reactions that nobody told us of: made while the bot was away, or before a card was known to take votes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Literal

import discord
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import MemberError
from bot.domain.videos import Video
from bot.domain.votes import Choice, choice_of_emoji
from bot.life.patience import patiently
from bot.store import videos
from bot.store.votes import Reaction, known_reactions

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 4


class CatchingUp:
    """Looks at each open card once in a session; the vote writer asks for those that members act on."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(LOOKS_AT_ONCE)

    def begin_session(self) -> None:
        """Discord does not tell again what it told while we were away: every card has to be looked at anew."""
        for look in self._looks.values():
            look.cancel()
        self._looks = {}
        self._app.votes.begin_session()

    async def all(self) -> None:
        """One card after the other, of all that take votes."""
        for video in await videos.open_for_votes(self._app.database):
            await self.look_at(video.id)

    async def look_at(self, video_id: str) -> None:
        """Returns when a card was looked at in this session, or when the session is over."""
        await asyncio.wait({self.begin_to_look_at(video_id)})

    def begin_to_look_at(self, video_id: str) -> asyncio.Task[None]:
        """Looks at a card soon, unless that was done already."""
        if video_id not in self._looks:
            self._looks[video_id] = asyncio.create_task(self._look(video_id), name=f"look at video {video_id}")
        return self._looks[video_id]

    async def _look(self, video_id: str) -> None:
        """Waits out an outage; a card that cannot be read holds nobody up."""
        try:
            async with self._slots:
                video = await patiently("The database", lambda: videos.get(self._app.database, video_id))
                if video is not None:
                    await patiently("Discord", lambda: self._compare(video))
        except discord.NotFound:
            log.info("The card of video %s was deleted.", video_id)
        except discord.HTTPException as error:
            log.warning("The reactions on video %s could not be read: HTTP %s.", video_id, error.status)
        except Exception:
            log.exception("The reactions on video %s could not be read.", video_id)
        self._app.votes.caught_up(video_id)

    async def _compare(self, video: Video) -> None:
        """Compares what stands on a card with what we know of it, and records the difference."""
        known = await known_reactions(self._app.database, video.id)
        channel = await self._app.client.channel(video.thread_id or 0)
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
                await record(self._app, Reaction(video.guild_id, message.id, member_id, choice, change, missed=True))


async def record(app: App, reaction: Reaction) -> None:
    """Records what a reaction means, if it is on a card that takes votes."""
    try:
        await app.votes.react(reaction)
    except MemberError:
        pass  # no card of ours, or of a closed round: nobody can be told but by spamming the thread
    except SQLAlchemyError as error:
        # Not lost: what stands on the card is compared with what we know at the next start.
        log.error("A reaction could not be recorded: %s", type(error).__name__)
