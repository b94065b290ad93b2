"""The comparison of reactions on cards with the database.

Discord sends no events for reactions that were made while the bot was away, or before a card was known to take votes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import aiohttp
import discord
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.domain.errors import MemberError
from bot.domain.videos import Video
from bot.domain.votes import Choice, Reaction, Standing, choice_of_emoji
from bot.retry import patiently
from bot.store import videos
from bot.store.vote_writer import VoteWriter, known_reactions

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 4
MOST_LISTED = 500  # messages of a thread
PAGE = 100  # members of a reaction, the most that Discord gives at once


class ReactionSync:
    """Looks at each open card once in a session. The vote writer asks for the cards that members act on."""

    def __init__(self, *, database: AsyncEngine, client: Client, votes: VoteWriter) -> None:
        self._database = database
        self._client = client
        self._votes = votes
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._fetched_cards: dict[int, discord.Message] = {}  # in this session, and not yet looked at
        self._slots = asyncio.Semaphore(LOOKS_AT_ONCE)

    def begin_session(self) -> None:
        """Begin a session. Call it at the very beginning: Discord does not repeat events that the bot missed."""
        for look in self._looks.values():
            look.cancel()
        self._looks, self._fetched_cards = {}, {}
        self._votes.begin_session()

    async def look_at_all(self) -> None:
        """Look at all cards that take votes, one after the other."""
        cards = sorted(await videos.open_for_votes(self._database), key=lambda video: video.message_id or 0)
        for thread_id in {video.thread_id or 0 for video in cards}:
            await self._list(thread_id, [video.message_id or 0 for video in cards if video.thread_id == thread_id])
        for video in cards:
            await self.look_at(video.id)

    async def look_at_round(self, round_id: int, seconds: float) -> bool:
        """Wait at most `seconds` for a look at all cards of a round. Return True if all were looked at."""
        cards = [video.id for video in await videos.open_for_votes(self._database, round_id)]
        if not cards:
            return True
        _, waiting = await asyncio.wait({self.begin_to_look_at(video_id) for video_id in cards}, timeout=seconds)
        return not waiting

    async def look_at(self, video_id: str) -> None:
        """Return when a card was looked at in this session, or when the session is over."""
        await asyncio.wait({self.begin_to_look_at(video_id)})

    def begin_to_look_at(self, video_id: str) -> asyncio.Task[None]:
        """Look at a card soon, unless that was done already."""
        if video_id not in self._looks:
            self._looks[video_id] = asyncio.create_task(self._look(video_id), name=f"look at video {video_id}")
        return self._looks[video_id]

    async def _look(self, video_id: str) -> None:
        """Wait out an outage; a card that cannot be read holds nobody up."""
        try:
            async with self._slots:
                video = await patiently("The database", lambda: videos.get_or_none(self._database, video_id))
                if video is not None:
                    await patiently("Discord", lambda: self._compare(video))
        except discord.NotFound:
            log.info("The card of video %s was deleted.", video_id)
        except discord.HTTPException as error:
            log.warning("The reactions on video %s could not be read: HTTP %s.", video_id, error.status)
        except Exception:
            log.exception("The reactions on video %s could not be read.", video_id)
        self._votes.mark_caught_up(video_id)

    async def _list(self, thread_id: int, message_ids: list[int]) -> None:
        """Fetch many cards at once; a card that is missed here is fetched by itself."""
        try:
            thread = await self._client.thread(thread_id)
            async for message in thread.history(after=discord.Object(message_ids[0] - 1), limit=MOST_LISTED):
                if message.id in message_ids:
                    self._fetched_cards[message.id] = message
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.info("The cards in thread %s could not be read at once: %s.", thread_id, type(error).__name__)

    async def _compare(self, video: Video) -> None:
        """Compare the reactions on a card with those in the database, and record the difference.

        Discord sends events for all later changes; the vote writer keeps them until this is done.
        """
        recorded = await known_reactions(self._database, video.id)
        message = self._fetched_cards.pop(video.message_id or 0, None)
        if message is None:
            thread = await self._client.thread(video.thread_id or 0)
            message = await thread.fetch_message(video.message_id or 0)
        standing: set[tuple[int, Choice]] = set()
        for reaction in message.reactions:
            choice = choice_of_emoji(str(reaction.emoji))
            if choice is not None:
                standing |= {(user_id, choice) for user_id in await self._members_who(reaction)}
        changes: list[tuple[set[tuple[int, Choice]], Literal["added", "removed"]]]
        changes = [(recorded - standing, "removed"), (standing - recorded, "added")]
        for reactions, change in changes:
            for member_id, choice in sorted(reactions):
                await self.record(Reaction(video.guild_id, message.id, member_id, choice, change, missed=True))

    async def _members_who(self, reaction: discord.Reaction) -> set[int]:
        """Return all members who have put on a reaction, normal or super; bots are left out.

        `Reaction.users` would stop at the count that the message had when it was read. The list is in the order of
        ids: a member who reacts in between would push another one out of it.
        """
        kinds = {discord.ReactionType.normal: reaction.count - reaction.burst_count}
        kinds[discord.ReactionType.burst] = reaction.burst_count
        members: set[int] = set()
        for kind in [kind for kind, count in kinds.items() if count > 0]:
            last: int | None = None
            while True:
                page = await self._client.http.get_reaction_users(
                    reaction.message.channel.id, reaction.message.id, str(reaction.emoji), PAGE, last, kind.value
                )
                members |= {int(user["id"]) for user in page if not user.get("bot")}
                if len(page) < PAGE:
                    break
                last = int(page[-1]["id"])
        return members

    async def record(self, reaction: Reaction) -> Standing | None:
        """Record a reaction if it is on a card that takes votes. Return the vote as it then stands."""
        try:
            return await self._votes.react(reaction)
        except MemberError:
            pass  # not on a card, or the round is closed: the member could only be told by a post in the thread
        except SQLAlchemyError as error:
            # Not lost: the next session compares what stands on the card with the database.
            log.error("A reaction could not be recorded: %s", type(error).__name__)
        return None
