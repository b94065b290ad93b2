"""Votes: one writer gathers those that arrive together and commits them at once, with their outbox entries.

A caller is told only after the commit. One transaction for many votes makes `synchronous=FULL` affordable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

from sqlalchemy import delete, or_, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import ElsewhereError, RoundClosedError, VideoUnknownError
from bot.domain.rounds import Round
from bot.domain.votes import Choice, Source, Standing, Vote
from contracts import outbox
from migrations.database import now_ms, upsert_into
from migrations.schema import reactions, rounds, videos, votes

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500


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
    missed: bool = False  # found on the card afterwards: older than all that was heard since the connection began


@dataclass
class _Waiting:
    action: Vote | Reaction
    answer: asyncio.Future[Standing]


@dataclass(frozen=True)
class _Ballot:
    choice: Choice
    source: Source


@dataclass(frozen=True)
class _Heard:
    """What a member did about a video since the connection began, and the ballot before that."""

    before: _Ballot
    actions: tuple[Vote | Reaction, ...] = ()


_Key = tuple[str, int]  # a video and a member


class VoteWriter:
    """The only writer of votes in this process. Actions of one member on one video are applied in their order."""

    def __init__(self, database: AsyncEngine, pepper: bytes) -> None:
        """`pepper` is the secret that makes voter ids irreversible."""
        self._database = database
        self._pepper = pepper
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=10_000)
        self._task: asyncio.Task[None] | None = None
        self.observe: Callable[[float], None] | None = None  # is told the seconds of each acknowledged action
        self._heard: dict[_Key, _Heard] = {}
        self._caught_up: set[str] = set()

    def begin_session(self) -> None:
        """From now on we hear of everything again; what is found to have been missed was done before."""
        self._heard, self._caught_up = {}, set()

    def caught_up(self, video_id: str) -> None:
        """Nothing that was missed on a video's card is still to come."""
        self._caught_up.add(video_id)
        for key in [key for key in self._heard if key[0] == video_id]:
            del self._heard[key]

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.create_task(self._run(), name="vote writer")

    async def close(self) -> None:
        """Writes what has arrived, then stops."""
        if self._task is not None:
            await self._queue.join()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def cast(self, vote: Vote) -> Standing:
        """Records a vote; returns after its commit.

        Raises VideoUnknownError, ElsewhereError or RoundClosedError; SQLAlchemyError when the database fails, and
        then nothing is recorded.
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
            batch = [await self._queue.get()]
            while len(batch) < MOST_AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                answers = await self._write([waiting.action for waiting in batch])
            except Exception as error:
                if not isinstance(error, SQLAlchemyError):
                    log.exception("The vote writer failed")
                answers = [error] * len(batch)
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():  # the caller may have gone
                    if isinstance(answer, Standing):
                        waiting.answer.set_result(answer)
                    else:
                        waiting.answer.set_exception(answer)
                self._queue.task_done()

    async def _write(self, actions: list[Vote | Reaction]) -> list[Standing | Exception]:
        session = self._heard
        async with self._database.begin() as connection:
            batch = await _Batch.load(connection, actions, self._pepper, session)
            answers = [batch.apply(action) for action in actions]
            await batch.save(connection)
        heard = batch.heard.maps[0]
        session.update({key: heard[key] for key in heard if key[0] not in self._caught_up})
        return answers


class _Batch:
    """Votes applied in memory to the state that one transaction has read, then saved by it."""

    def __init__(self, pepper: bytes, session: dict[_Key, _Heard]) -> None:
        self.now = now_ms()
        self.pepper = pepper
        self.videos: dict[str, tuple[Any, Round]] = {}
        self.by_message: dict[int, str] = {}
        self.ballots: dict[_Key, _Ballot] = {}
        self.changed: dict[_Key, None] = {}
        self.heard: ChainMap[_Key, _Heard] = ChainMap({}, session)
        self.outbox: list[dict[str, Any]] = []
        self.added: dict[tuple[str, int, int], bool] = {}

    @classmethod
    async def load(
        cls,
        connection: AsyncConnection,
        actions: list[Vote | Reaction],
        pepper: bytes,
        session: dict[_Key, _Heard],
    ) -> _Batch:
        batch = cls(pepper, session)
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

    def apply(self, action: Vote | Reaction) -> Standing | Exception:
        video_id = self.video_id(action)
        if video_id not in self.videos:
            return VideoUnknownError()
        video, round_ = self.videos[video_id]
        if action.guild_id != video.guild_id:
            return ElsewhereError()
        ballot_key = (video_id, action.member_id)
        before = self.ballots.get(ballot_key, _Ballot(Choice.WITHDRAWN, "button"))
        heard = self.heard.get(ballot_key, _Heard(before))
        missed = isinstance(action, Reaction) and action.missed
        known = missed and any(isinstance(a, Reaction) and a.choice == action.choice for a in heard.actions)
        if isinstance(action, Reaction) and not known:
            self.added[video_id, action.member_id, int(action.choice)] = action.change == "added"
        if not round_.accepts_votes(self.now):
            return RoundClosedError(number=round_.number)
        if known:  # heard of since, and that is the latest
            after = before
        elif missed:  # in its place: before all that was heard since
            self.heard[ballot_key] = _Heard(_next(heard.before, action), heard.actions)
            after = reduce(_next, heard.actions, _next(heard.before, action))
        else:
            self.heard[ballot_key] = _Heard(heard.before, (*heard.actions, action))
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
