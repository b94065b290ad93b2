"""The vote writer: it gathers votes that arrive together and commits them at once, with their outbox entries.

A caller gets the answer only after the commit. One transaction for many votes makes `synchronous=FULL` affordable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import RestartingError
from bot.domain.rounds import NOT_CLOSED
from bot.domain.votes import CardVotes, Choice, Reaction, Standing, Tally, Vote
from bot.store.videos import count_of
from bot.store.vote_batch import VoteBatch
from contracts.outbox.progress import ledger_counts
from migrations.database import now_ms
from migrations.schema import reactions, rounds, videos, votes
from migrations.states.community import RoundStatus, VideoStatus

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500
RETRY_S = 0.5  # after the database failed
SHOWN_MS = 24 * 3_600_000  # after the close of a round; later, nothing changes on its cards any more


@dataclass(eq=False)
class _Waiting:
    action: Vote | Reaction
    answer: asyncio.Future[Standing]
    waits_for: str = ""  # the video whose card must be read first, if the action waits for that


@dataclass(frozen=True)
class _OnHold:
    """The answer to an action that must wait until missed reactions on its video's card are recorded."""

    video_id: str


class VoteWriter:
    """The only writer of votes in this process. Actions of one member on one video are applied in their order.

    Discord does not say when a reaction was made. A reaction that was missed while the bot was away counts as older
    than every event of the session. So nothing about a video is recorded before its card was read. A press that was
    acknowledged too early would, after the next crash, look older than a reaction from before it.
    """

    def __init__(self, database: AsyncEngine, pepper: bytes, *, look_at: Callable[[str], object] | None = None) -> None:
        """`pepper` is the secret that makes voter ids irreversible.

        `look_at` is asked to record the missed reactions on a video's card, and then to call `mark_caught_up`. Without
        it, no reaction is ever missed.
        """
        self._database = database
        self._pepper = pepper
        self._look_at = look_at
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue(maxsize=10_000)
        self._on_hold: list[_Waiting] = []  # in the order of arrival
        self._caught_up: set[str] = set()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.observe: Callable[[float], None] | None = None  # gets the seconds of each acknowledged action
        self.on_recorded: Callable[[set[str]], None] | None = None  # gets the videos whose votes changed, by their ids

    def begin_session(self) -> None:
        """Begin a session, in which every event arrives. What happened before it has to be read from the cards."""
        self._caught_up = set()
        self._ask_for({waiting.waits_for for waiting in self._on_hold if waiting.waits_for})

    def mark_caught_up(self, video_id: str) -> None:
        """Mark a video whose missed reactions are recorded; the actions that waited for that come next."""
        self._caught_up.add(video_id)
        with contextlib.suppress(asyncio.QueueFull):  # then the writer is busy, and checks by itself
            self._queue.put_nowait(None)

    def start(self) -> None:
        """Start to write."""
        self._task = asyncio.create_task(self._run(), name="vote writer")

    async def close(self) -> None:
        """Write what has arrived, then stop. Actions that still wait for their card fail with RestartingError."""
        if self._task is not None:
            await self._queue.join()
            async with self._writing:
                for waiting in self._on_hold:
                    _resolve(waiting, RestartingError())
                self._on_hold = []
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def cast(self, vote: Vote) -> Standing:
        """Record a vote, and return after its commit.

        Raises VideoUnknownError, ElsewhereError, RoundClosedError or RestartingError; SQLAlchemyError when the
        database fails. Then nothing is recorded.
        """
        return await self._enqueue(vote)

    async def react(self, reaction: Reaction) -> Standing:
        """Record a reaction. An added reaction is a vote; a removed one withdraws the vote that came from it."""
        return await self._enqueue(reaction)

    async def _enqueue(self, action: Vote | Reaction) -> Standing:
        answer: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        since = time.monotonic()
        await self._queue.put(_Waiting(action, answer))
        standing = await answer
        if self.observe is not None:
            self.observe(time.monotonic() - since)
        return standing

    async def _run(self) -> None:
        while True:
            arrived = [] if any(self._is_ready(waiting) for waiting in self._on_hold) else [await self._queue.get()]
            async with self._writing:
                batch = [waiting for waiting in self._on_hold if self._is_ready(waiting)][:MOST_AT_ONCE]
                self._on_hold = [waiting for waiting in self._on_hold if waiting not in batch]
                while len(batch) + len(arrived) < MOST_AT_ONCE and not self._queue.empty():
                    arrived.append(self._queue.get_nowait())
                batch += [waiting for waiting in arrived if waiting is not None]
                await self._answer(batch)
            for _ in arrived:
                self._queue.task_done()

    def _is_ready(self, waiting: _Waiting) -> bool:
        return not waiting.waits_for or waiting.waits_for in self._caught_up

    async def _answer(self, batch: list[_Waiting]) -> None:
        answers: Sequence[Standing | Exception | _OnHold]
        retries: list[_Waiting] = []
        try:
            answers = await self._write([waiting.action for waiting in batch])
        except Exception as error:
            answers = [error] * len(batch)
            if isinstance(error, OperationalError):
                # A member who pressed is told, and presses again. A member who reacted cannot be told, so that action
                # is retried, before all others.
                retries = [waiting for waiting in batch if isinstance(waiting.action, Reaction)]
                self._on_hold[:0] = retries
            elif not isinstance(error, SQLAlchemyError):
                log.exception("The vote writer failed")
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, _OnHold):
                waiting.waits_for = answer.video_id
                self._on_hold.append(waiting)
            elif waiting not in retries:
                _resolve(waiting, answer)
        self._ask_for({answer.video_id for answer in answers if isinstance(answer, _OnHold)})
        if retries:
            log.warning("The database did not take %d reactions; the bot tries again.", len(retries))
            await asyncio.sleep(RETRY_S)

    def _ask_for(self, video_ids: set[str]) -> None:
        for video_id in sorted(video_ids):
            if self._look_at is not None:
                self._look_at(video_id)

    async def _write(self, actions: list[Vote | Reaction]) -> list[Standing | Exception | _OnHold]:
        if not actions:
            return []
        async with self._database.begin() as connection:
            batch = await VoteBatch.load(connection, actions, self._pepper)
            answers = [self._hold_back(batch, action) or batch.apply(action) for action in actions]
            await batch.save(connection)
        if self.on_recorded is not None and batch.changed:
            self.on_recorded({video_id for video_id, _ in batch.changed})
        return answers

    def _hold_back(self, batch: VoteBatch, action: Vote | Reaction) -> _OnHold | None:
        video_id = batch.video_id(action)
        missed = isinstance(action, Reaction) and action.missed
        if self._look_at is None or missed or video_id in self._caught_up or not batch.takes_votes(video_id):
            return None
        return _OnHold(video_id)


def _resolve(waiting: _Waiting, answer: Standing | Exception) -> None:
    if waiting.answer.done():  # the caller is gone
        return
    if isinstance(answer, Standing):
        waiting.answer.set_result(answer)
    else:
        waiting.answer.set_exception(answer)


async def known_reactions(database: AsyncEngine, video_id: str) -> set[tuple[int, Choice]]:
    """Return the 👍 and 👎 of members on a video that the bot has seen."""
    async with database.connect() as connection:
        rows = await connection.execute(
            select(reactions.c.member_id, reactions.c.choice).where(reactions.c.video_id == video_id)
        )
        return {(row.member_id, Choice(row.choice)) for row in rows}


async def votes_of_member(database: AsyncEngine, round_id: int, member_id: int) -> dict[str, Choice]:
    """Return a member's votes on the videos of a round."""
    async with database.connect() as connection:
        rows = await connection.execute(
            select(votes.c.video_id, votes.c.choice).where(
                votes.c.video_id.in_(select(videos.c.id).where(videos.c.round_id == round_id)),
                votes.c.member_id == member_id,
            )
        )
        return {row.video_id: Choice(row.choice) for row in rows}


@dataclass(frozen=True)
class PostedVotes:
    """A card in its thread, and the votes that it is to show."""

    video_id: str
    guild_id: int
    thread_id: int
    message_id: int
    closed: bool  # its round
    votes: CardVotes


async def votes_on_cards(database: AsyncEngine, video_ids: Collection[str] | None = None) -> Sequence[PostedVotes]:
    """Return the votes on these videos, or on those of all rounds that are open or closed lately.

    A round that closed more than a day ago costs nothing. Videos that are not published are left out.
    """
    query = (
        select(
            videos.c.id,
            videos.c.guild_id,
            videos.c.thread_id,
            videos.c.message_id,
            rounds.c.status,
            count_of(Choice.UP).label("up"),
            count_of(Choice.DOWN).label("down"),
        )
        .join(rounds, rounds.c.id == videos.c.round_id)
        .where(videos.c.status == VideoStatus.PUBLISHED, videos.c.thread_id.is_not(None))
    )
    async with database.connect() as connection:
        if video_ids is None:
            query = query.where(videos.c.round_id.in_(await _rounds_to_show(connection)))
        else:
            query = query.where(videos.c.id.in_(video_ids))
        rows = (await connection.execute(query)).all()
    on_ledger = await ledger_counts(database, [row.id for row in rows if row.up + row.down > 0])
    posted = []
    for row in rows:
        count = on_ledger.get(row.id, (0, 0))
        closed = row.status == RoundStatus.CLOSED
        votes_ = CardVotes(Tally(row.up, row.down), on_ledger=count[0], underway=count[1], hidden=not closed)
        posted.append(PostedVotes(row.id, row.guild_id, row.thread_id, row.message_id or 0, closed, votes_))
    return posted


async def _rounds_to_show(connection: AsyncConnection) -> Sequence[int]:
    """Return the rounds that are open or closed lately: asked for together with them, videos would all be searched."""
    lately = (rounds.c.status == RoundStatus.CLOSED) & (rounds.c.closes_at_ms > now_ms() - SHOWN_MS)
    round_ids: list[int] = []
    for condition in (rounds.c.status.in_(NOT_CLOSED), lately):
        round_ids += await connection.scalars(select(rounds.c.id).where(condition))
    return round_ids
