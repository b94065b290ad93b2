"""The votes on the cards of videos: counted in the database, and shown by few edits, however many votes there are.

The database is asked again and again for what a card should say, so that whatever changes it comes to be shown: votes,
receipts of the relayer, a reorganisation, the close of a round. A card says by itself what was shown last: it is read
before it is edited, and one that is right is left alone, also after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import discord
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards.videos import votes_line
from bot.posts.obstacles import is_gone, is_old
from bot.posts.videos import ThreadArchivedError, ThreadLockedError, VideoPosts
from bot.retry import is_unreadable, passes
from bot.store.vote_writer import PostedVotes, votes_on_cards

log = logging.getLogger(__name__)

# Discord allows about five edits in five seconds a channel, for all that a bot edits there.
GATHER_S = 1.5  # from the first vote to the edit: the votes of that time are shown by one edit
CARD_S = 5.0  # the least between two edits of one card
THREAD_S = 1.5  # the least between two edits in one thread
OLD_S = 7.0  # the same after the edit of a message that is over an hour old
EDIT_S = 30.0  # the longest that one card may keep the others in its thread waiting
AGAIN_S, LONGEST_AGAIN_S = 10.0, 600.0  # between two tries at a card that could not be edited
LOOK_S = 15.0  # between two looks at all cards; votes and what is on its way to the ledger are looked at in each tick
AT_ONCE = 4  # cards that are looked at and edited at the same time: after a start all may be due, in many threads
MOST_LOAD = 0.05  # of the time is spent on asking the database


@dataclass
class _Card:
    """A card that is not known to be up to date, and the time from which it may be edited."""

    thread_id: int
    guild_id: int
    message_id: int
    closed: bool  # its round
    due: float
    pause: float = 0.0  # before the next try, if the last one failed


class VoteCounts:
    """Keeps the votes on cards up to date. The cards of a thread take turns; threads do not, but for a great many."""

    def __init__(self, *, database: AsyncEngine, posts: VideoPosts) -> None:
        self._database = database
        self._posts = posts
        self._changed: set[str] = set()  # videos with new votes, by id
        self._on_their_way: set[str] = set()  # videos with entries that are not on the ledger yet
        self._shown: dict[str, str] = {}  # by video: the line on its card, as far as this run knows
        self._edited: dict[str, float] = {}  # by video: the time of the last edit
        self._late: dict[str, _Card] = {}  # by video
        self._gone: set[str] = set()  # videos whose card or thread was deleted
        self._locked: set[int] = set()  # threads that are archived and locked, as the log says
        self._in_flight = asyncio.Semaphore(AT_ONCE)
        self._threads: dict[int, asyncio.Task[None]] = {}
        self._next_look = self._rest_until = 0.0
        self.edits = 0  # of cards in this run

    def note_votes(self, video_ids: Collection[str]) -> None:
        """Take note of new votes on some videos. Costs nothing but memory: a member waits for the answer."""
        self._changed.update(video_ids)

    def hurry(self, guild_id: int) -> None:
        """Try again soon what failed in a guild: a permission or a channel has changed there."""
        now = asyncio.get_running_loop().time()
        for card in self._late.values():
            if card.guild_id == guild_id and card.pause:
                card.due, card.pause = now, 0.0

    async def tick(self) -> None:
        """Look for what is to be shown, and begin to show it."""
        try:
            await self._look()
        except (SQLAlchemyError, OSError) as error:
            log.warning("Votes on cards could not be counted (%s).", type(error).__name__)
            self._rest_until = asyncio.get_running_loop().time() + GATHER_S
        for thread_id in {card.thread_id for card in self._late.values()} - set(self._threads):
            if self._next_card(thread_id) is not None:
                task = asyncio.create_task(self._work(thread_id), name=f"votes in thread {thread_id}")
                self._threads[thread_id] = task
                task.add_done_callback(partial(self._done, thread_id))

    def _done(self, thread_id: int, _: asyncio.Task[None]) -> None:
        self._threads.pop(thread_id, None)

    async def close(self) -> None:
        """Stop; the next start brings up to date what is left."""
        tasks = list(self._threads.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ the database

    async def _look(self) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        everything = began >= max(self._next_look, self._rest_until)
        changed, self._changed = self._changed, set()
        wanted = changed if began < self._rest_until else changed | self._on_their_way
        if not everything and not wanted:
            return
        try:
            posted = await votes_on_cards(self._database, None if everything else wanted)
        except BaseException:
            self._changed |= changed
            raise
        if everything:
            self._next_look = began + LOOK_S
            self._forget_all_but({card.video_id for card in posted})
        self._on_their_way = set() if everything else self._on_their_way - wanted
        busy = {card.thread_id for card in posted if card.closed and card.votes.underway}
        for card in posted:
            self._compare(card, clock(), is_busy=card.thread_id in busy)
        self._rest_until = clock() + (clock() - began) / MOST_LOAD

    def _forget_all_but(self, video_ids: set[str]) -> None:
        """Forget cards that were removed, and those of rounds that are over."""
        self._shown = {id_: line for id_, line in self._shown.items() if id_ in video_ids}
        self._edited = {id_: time for id_, time in self._edited.items() if id_ in video_ids}
        self._late = {id_: card for id_, card in self._late.items() if id_ in video_ids}
        self._gone &= video_ids
        self._on_their_way &= video_ids

    def _compare(self, posted: PostedVotes, now: float, *, is_busy: bool) -> None:
        """Note whether a card is to be edited, and when. Votes of a busy thread are on their way to the ledger."""
        video_id, votes = posted.video_id, posted.votes
        if votes.underway:
            self._on_their_way.add(video_id)
        line = votes_line(votes)
        if video_id in self._gone or self._shown.get(video_id) == line:
            self._late.pop(video_id, None)
        elif posted.closed and is_busy:
            self._late.pop(video_id, None)  # its thread is archived: it is opened once, for all of the last votes
        elif (late := self._late.get(video_id)) is not None:
            late.closed = posted.closed
        else:
            due = max(now + GATHER_S, self._edited.get(video_id, now - CARD_S) + CARD_S)
            self._late[video_id] = _Card(posted.thread_id, posted.guild_id, posted.message_id, posted.closed, due)

    # ------------------------------------------------------------------ Discord

    def _next_card(self, thread_id: int) -> str | None:
        """Return the video in a thread whose card has waited longest among those that are due; None if none is."""
        now = asyncio.get_running_loop().time()
        due = [(card.due, id_) for id_, card in self._late.items() if card.thread_id == thread_id and card.due <= now]
        return min(due)[1] if due else None

    async def _work(self, thread_id: int) -> None:
        """Bring the cards of a thread up to date, one after the other, until none is due."""
        async with contextlib.AsyncExitStack() as opened:  # the thread of a closed round, for all of its cards
            while self._next_card(thread_id) is not None:
                async with self._in_flight:
                    video_id = self._next_card(thread_id)
                    if video_id is None:  # while this waited, the votes became those that it shows
                        return
                    card = self._late.pop(video_id)
                    try:
                        async with asyncio.timeout(EDIT_S):
                            edited = await self._show(video_id, card, opened)
                    except Exception as error:
                        self._failed(video_id, card, error)
                        edited = True
                if edited:
                    await asyncio.sleep(OLD_S if is_old(card.message_id) else THREAD_S)

    async def _show(self, video_id: str, card: _Card, opened: contextlib.AsyncExitStack) -> bool:
        """Bring one card up to date. Return True if that took an edit. Raises what Discord answers.

        If the votes have changed meanwhile, the next look sees that.
        """
        try:
            line, edited = await self._posts.show_votes(video_id)
        except ThreadArchivedError:
            if card.closed:
                await opened.enter_async_context(self._posts.opened(card.thread_id))
            else:
                await self._posts.reopen(card.thread_id)
            line, edited = await self._posts.show_votes(video_id)
        self._shown[video_id] = line
        self._locked.discard(card.thread_id)
        if edited:
            self.edits += 1
            self._edited[video_id] = asyncio.get_running_loop().time()
        return edited

    def _failed(self, video_id: str, card: _Card, error: Exception) -> None:
        """Note when to try again, if ever. The trouble of one card holds up no other."""
        if isinstance(error, ThreadLockedError):
            self._note_locked(card.thread_id)
        else:
            failure = f"HTTP {error.status}" if isinstance(error, discord.HTTPException) else type(error).__name__
            log.info("The votes on the card of video %s are not shown yet: %s.", video_id, failure)
        if is_gone(error):
            self._gone.add(video_id)
            return
        if passes(error) or is_unreadable(error):
            card.pause = min(max(card.pause * 2, AGAIN_S), LONGEST_AGAIN_S)
        else:  # somebody must do something first
            card.pause = LONGEST_AGAIN_S
            if not isinstance(error, ThreadArchivedError | discord.HTTPException):
                log.error("The votes on the card of video %s could not be shown.", video_id, exc_info=error)
        card.due = asyncio.get_running_loop().time() + card.pause
        self._late[video_id] = card

    def _note_locked(self, thread_id: int) -> None:
        """Say once in the log that a thread is left as it is; its cards are tried again as long as their round is."""
        if thread_id not in self._locked:
            self._locked.add(thread_id)
            log.warning("Thread %d is archived and locked: its cards show no new votes until it is open.", thread_id)
