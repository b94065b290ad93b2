"""Votes: one writer gathers those that arrive together and commits them at once, with their outbox entries.

A caller is told only after the commit. One transaction for many votes makes `synchronous=FULL` affordable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import delete, or_, select, tuple_
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import ElsewhereError, RestartingError, RoundClosedError, VideoUnknownError
from bot.domain.rounds import Round
from bot.domain.votes import Choice, Source, Standing, Vote
from contracts import outbox
from migrations.database import now_ms, upsert_into
from migrations.schema import reactions, rounds, videos, votes

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500
AGAIN_S = 0.5  # after the database failed


@dataclass(frozen=True)
class Reaction:
    """A 👍 or 👎 that was put on a message, or taken off it; the writer finds out whether that is a video's card.

    It is queued at once, before anything is looked up, so that a member's reactions and presses keep their order.
    """

    guild_id: int
    message_id: int
    member_id: int
    choice: Choice
    change: Literal["added", "removed"]
    missed: bool = False  # found on the card afterwards: older than all that is heard in this session


@dataclass(eq=False)
class _Waiting:
    action: Vote | Reaction
    answer: asyncio.Future[Standing]
    waits_for: str = ""  # the video whose card has to be looked at before, if that is what it waits for


@dataclass(frozen=True)
class _Ballot:
    choice: Choice
    source: Source


@dataclass(frozen=True)
class _Held:
    """The answer to an action that has to wait until what was missed on its video's card is recorded."""

    video_id: str


class VoteWriter:
    """The only writer of votes in this process. Actions of one member on one video are applied in their order.

    Discord does not say when a reaction was made. One that was missed while we were away counts as older than
    everything that is heard in a session, so nothing about a video is recorded before its card was looked at: a
    press that was acknowledged too early would, after the next death, look older than a reaction from before it.
    """

    def __init__(self, database: AsyncEngine, pepper: bytes, *, look_at: Callable[[str], object] | None = None) -> None:
        """`pepper` is the secret that makes voter ids irreversible.

        `look_at` is asked to record what was missed on a video's card, and to call `caught_up` then; without it,
        nothing is ever missed.
        """
        self._database = database
        self._pepper = pepper
        self._look_at = look_at
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue(maxsize=10_000)
        self._held: list[_Waiting] = []  # in the order of arrival
        self._caught_up: set[str] = set()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.observe: Callable[[float], None] | None = None  # is told the seconds of each acknowledged action

    def begin_session(self) -> None:
        """From now on we hear of everything again; what we did not hear of before, has to be looked up."""
        self._caught_up = set()
        self._ask_for({held.waits_for for held in self._held if held.waits_for})

    def caught_up(self, video_id: str) -> None:
        """What was missed on a video's card is recorded; what waited for that comes next."""
        self._caught_up.add(video_id)
        with contextlib.suppress(asyncio.QueueFull):  # then the writer is at work, and looks by itself
            self._queue.put_nowait(None)

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.create_task(self._run(), name="vote writer")

    async def close(self) -> None:
        """Writes what has arrived, then stops; what still waits for a look at its card is refused."""
        if self._task is not None:
            await self._queue.join()
            async with self._writing:
                for held in self._held:
                    _tell(held, RestartingError())
                self._held = []
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def cast(self, vote: Vote) -> Standing:
        """Records a vote; returns after its commit.

        Raises VideoUnknownError, ElsewhereError, RoundClosedError or RestartingError; SQLAlchemyError when the
        database fails. Then nothing is recorded.
        """
        return await self._put(vote)

    async def react(self, reaction: Reaction) -> Standing:
        """Records what a reaction means: added, it is a vote; removed, it withdraws a vote that came from it."""
        return await self._put(reaction)

    async def _put(self, action: Vote | Reaction) -> Standing:
        answer: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        since = time.monotonic()
        await self._queue.put(_Waiting(action, answer))
        standing = await answer
        if self.observe is not None:
            self.observe(time.monotonic() - since)
        return standing

    async def _run(self) -> None:
        while True:
            arrived = [] if any(self._free(held) for held in self._held) else [await self._queue.get()]
            async with self._writing:
                batch = [held for held in self._held if self._free(held)][:MOST_AT_ONCE]
                self._held = [held for held in self._held if held not in batch]
                while len(batch) + len(arrived) < MOST_AT_ONCE and not self._queue.empty():
                    arrived.append(self._queue.get_nowait())
                batch += [waiting for waiting in arrived if waiting is not None]
                await self._answer(batch)
            for _ in arrived:
                self._queue.task_done()

    def _free(self, held: _Waiting) -> bool:
        return not held.waits_for or held.waits_for in self._caught_up

    async def _answer(self, batch: list[_Waiting]) -> None:
        answers: Sequence[Standing | Exception | _Held]
        again: list[_Waiting] = []
        try:
            answers = await self._write([waiting.action for waiting in batch])
        except Exception as error:
            answers = [error] * len(batch)
            if isinstance(error, OperationalError):
                # Who pressed is told, and presses again. Who reacted cannot be told: that is tried again, and first.
                again = [waiting for waiting in batch if isinstance(waiting.action, Reaction)]
                self._held[:0] = again
            elif not isinstance(error, SQLAlchemyError):
                log.exception("The vote writer failed")
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, _Held):
                waiting.waits_for = answer.video_id
                self._held.append(waiting)
            elif waiting not in again:
                _tell(waiting, answer)
        self._ask_for({answer.video_id for answer in answers if isinstance(answer, _Held)})
        if again:
            log.warning("The database does not take %d reactions; they are tried again.", len(again))
            await asyncio.sleep(AGAIN_S)

    def _ask_for(self, video_ids: set[str]) -> None:
        for video_id in sorted(video_ids):
            if self._look_at is not None:
                self._look_at(video_id)

    async def _write(self, actions: list[Vote | Reaction]) -> list[Standing | Exception | _Held]:
        if not actions:
            return []
        async with self._database.begin() as connection:
            batch = await _Batch.load(connection, actions, self._pepper)
            answers = [self._held_back(batch, action) or batch.apply(action) for action in actions]
            await batch.save(connection)
        return answers

    def _held_back(self, batch: _Batch, action: Vote | Reaction) -> _Held | None:
        video_id = batch.video_id(action)
        missed = isinstance(action, Reaction) and action.missed
        if self._look_at is None or missed or video_id in self._caught_up or not batch.takes_votes(video_id):
            return None
        return _Held(video_id)


def _tell(waiting: _Waiting, answer: Standing | Exception) -> None:
    if waiting.answer.done():  # the caller has gone
        return
    if isinstance(answer, Standing):
        waiting.answer.set_result(answer)
    else:
        waiting.answer.set_exception(answer)


class _Batch:
    """Votes applied in memory to the state that one transaction has read, then saved by it."""

    def __init__(self, pepper: bytes) -> None:
        self.now = now_ms()
        self.pepper = pepper
        self.videos: dict[str, tuple[Any, Round]] = {}
        self.by_message: dict[int, str] = {}
        self.ballots: dict[tuple[str, int], _Ballot] = {}  # by video and member
        self.changed: dict[tuple[str, int], None] = {}
        self.outbox: list[dict[str, Any]] = []
        self.added: dict[tuple[str, int, int], bool] = {}

    @classmethod
    async def load(cls, connection: AsyncConnection, actions: list[Vote | Reaction], pepper: bytes) -> _Batch:
        batch = cls(pepper)
        ids = {action.video_id for action in actions if isinstance(action, Vote)}
        messages = {action.message_id for action in actions if isinstance(action, Reaction)}
        query = select(videos).where(or_(videos.c.id.in_(ids), videos.c.message_id.in_(messages)))
        found = (await connection.execute(query)).all()
        # Locked for reading (where rows can be locked): a round cannot close between this check and the commit.
        held = await connection.execute(
            select(rounds).where(rounds.c.id.in_({video.round_id for video in found})).with_for_update(read=True)
        )
        by_id = {row.id: Round.from_row(row) for row in held}
        batch.videos = {video.id: (video, by_id[video.round_id]) for video in found if video.status == "published"}
        batch.by_message = {video.message_id: video.id for video in found}
        batch.now = now_ms()  # after the locks: waiting for them may have taken us over the deadline
        keys = {(batch.video_id(action), action.member_id) for action in actions}
        standing = await connection.execute(select(votes).where(tuple_(votes.c.video_id, votes.c.member_id).in_(keys)))
        batch.ballots = {(row.video_id, row.member_id): _Ballot(Choice(row.choice), row.source) for row in standing}
        return batch

    def video_id(self, action: Vote | Reaction) -> str:
        return action.video_id if isinstance(action, Vote) else self.by_message.get(action.message_id, "")

    def takes_votes(self, video_id: str) -> bool:
        return video_id in self.videos and self.videos[video_id][1].accepts_votes(self.now)

    def apply(self, action: Vote | Reaction) -> Standing | Exception:
        video_id = self.video_id(action)
        if video_id not in self.videos:
            return VideoUnknownError()
        video, round_ = self.videos[video_id]
        if action.guild_id != video.guild_id:
            return ElsewhereError()
        if isinstance(action, Reaction):
            self.added[video_id, action.member_id, int(action.choice)] = action.change == "added"
        if not round_.accepts_votes(self.now):
            return RoundClosedError(number=round_.number)
        ballot_key = (video_id, action.member_id)
        before = self.ballots.get(ballot_key, _Ballot(Choice.WITHDRAWN, "button"))
        after = _next(before, action)
        if after != before:
            self.ballots[ballot_key] = after
            self.changed[ballot_key] = None
        if after.choice != before.choice:
            voter = outbox.voter_id(self.pepper, video.guild_id, action.member_id)
            self.outbox.append(
                outbox.vote_row(
                    round_id=round_.id,
                    video_id=video_id,
                    voter_id=voter,
                    choice=int(after.choice),
                    created_at_ms=self.now,
                )
            )
        return Standing(
            choice=after.choice,
            changed=after.choice != before.choice,
            round_number=round_.number,
            closes_at_ms=round_.closes_at_ms,
            prompt=video.prompt,
        )

    async def save(self, connection: AsyncConnection) -> None:
        if self.changed:
            upsert = upsert_into(connection, votes)
            await connection.execute(
                upsert.on_conflict_do_update(
                    index_elements=["video_id", "member_id"],
                    set_={name: upsert.excluded[name] for name in ("choice", "source", "cast_at_ms")},
                ),
                [
                    {
                        "video_id": video_id,
                        "member_id": member_id,
                        "choice": int(self.ballots[video_id, member_id].choice),
                        "source": self.ballots[video_id, member_id].source,
                        "cast_at_ms": self.now,
                    }
                    for video_id, member_id in self.changed
                ],
            )
        if self.outbox:
            await outbox.record_votes(connection, self.outbox)
        added = [key for key, present in self.added.items() if present]
        removed = [key for key, present in self.added.items() if not present]
        if added:
            await connection.execute(
                upsert_into(connection, reactions).on_conflict_do_nothing(),
                [{"video_id": v, "member_id": m, "choice": c} for v, m, c in added],
            )
        if removed:
            columns = tuple_(reactions.c.video_id, reactions.c.member_id, reactions.c.choice)
            await connection.execute(delete(reactions).where(columns.in_(removed)))


def _next(before: _Ballot, action: Vote | Reaction) -> _Ballot:
    """The last action wins; a removed reaction takes back only the vote that it was."""
    if isinstance(action, Vote):
        return _Ballot(action.choice, action.source)
    if action.change == "added":
        return _Ballot(action.choice, "reaction")
    if before == _Ballot(action.choice, "reaction"):
        return _Ballot(Choice.WITHDRAWN, "reaction")
    return before


async def known_reactions(database: AsyncEngine, video_id: str) -> set[tuple[int, Choice]]:
    """Which members' 👍 and 👎 on a video we have seen."""
    async with database.connect() as connection:
        rows = await connection.execute(
            select(reactions.c.member_id, reactions.c.choice).where(reactions.c.video_id == video_id)
        )
        return {(row.member_id, Choice(row.choice)) for row in rows}


async def votes_of_member(database: AsyncEngine, round_id: int, member_id: int) -> dict[str, Choice]:
    """A member's votes on the videos of a round."""
    async with database.connect() as connection:
        rows = await connection.execute(
            select(votes.c.video_id, votes.c.choice)
            .join(videos, videos.c.id == votes.c.video_id)
            .where(videos.c.round_id == round_id, votes.c.member_id == member_id)
        )
        return {row.video_id: Choice(row.choice) for row in rows}
