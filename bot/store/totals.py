"""Totals for the metrics. Rows that can no longer change are counted once and remembered, the others each time.

A round is over a day after its close, if nothing of it is still on its way. Until then, wallets may still send ballots
to the ledger past us, and the chain may take back what was final. If the chain did so later than that, these totals
would be right again after the next start.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.videos import UNDER_WAY
from contracts.outbox.progress import UNDERWAY
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, render_timings, rounds, videos, votes
from migrations.states.community import RoundStatus, VideoStatus
from migrations.states.ledger import TransactionState

SETTLED_MS = 24 * 3_600_000
AT_ONCE = 500  # rounds that one statement counts

Key = TypeVar("Key", str, int)


@dataclass
class Totals:
    """Numbers of videos, ledger entries and votes by state, of transactions by kind, and of renders by duration."""

    videos: Counter[str] = field(default_factory=Counter)
    entries: Counter[str] = field(default_factory=Counter)
    votes: Counter[int] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    gas: Counter[str] = field(default_factory=Counter)
    reverts: Counter[str] = field(default_factory=Counter)  # transactions that are in a block and did nothing
    renders: Counter[float] = field(default_factory=Counter)  # by bound: renders that took no longer
    rendered: int = 0
    render_seconds: float = 0.0

    def __add__(self, totals: Totals) -> Totals:
        return Totals(
            self.videos + totals.videos,
            self.entries + totals.entries,
            self.votes + totals.votes,
            self.batches + totals.batches,
            self.gas + totals.gas,
            self.reverts + totals.reverts,
            self.renders + totals.renders,
            self.rendered + totals.rendered,
            self.render_seconds + totals.render_seconds,
        )


class TotalsCounter:
    """Counts one database repeatedly."""

    def __init__(self, database: AsyncEngine, render_bounds: Sequence[float]) -> None:
        """`render_bounds` are the upper bounds of durations, in seconds, by which renders are counted."""
        self._database = database
        self._bounds = tuple(render_bounds)
        self._counting = asyncio.Lock()
        self._over = Totals()
        self._round = self._transaction = self._render = 0  # all rows up to these ids are over, and counted in `_over`
        self._rounds: set[int] = set()  # and so are these rounds, although an earlier round is not

    async def totals(self) -> Totals:
        """Return the totals of now. Raises SQLAlchemyError or OSError where the database does not answer."""
        async with self._counting, self._database.connect() as connection:
            now = await self._of_rounds(connection)
            now += await self._of_transactions(connection)
            now += await self._of_renders(connection)
            without_round = select(outbox.c.state, func.count()).where(outbox.c.round_id.is_(None))
            now.entries.update(await _count_by(connection, without_round.group_by(outbox.c.state)))
            totals = self._over + now
            # A moderator may remove what was posted long ago.
            removed = await connection.scalar(select(func.count()).where(videos.c.status == VideoStatus.REMOVED))
            posted = totals.videos["published"] + totals.videos["removed"]
            totals.videos["removed"], totals.videos["published"] = int(removed or 0), posted - int(removed or 0)
            return totals

    # ------------------------------------------------------------------ rounds

    async def _of_rounds(self, connection: AsyncConnection) -> Totals:
        """Return the totals of the rounds that are not over; remember those of rounds that are over by now."""
        query = select(rounds.c.id, rounds.c.status, rounds.c.closes_at_ms).where(rounds.c.id > self._round)
        rows = (await connection.execute(query.order_by(rounds.c.id))).all()
        unchanging_since = now_ms() - SETTLED_MS
        ended = [row.id for row in rows if row.status == RoundStatus.CLOSED and row.closes_at_ms < unchanging_since]
        fresh = [round_id for round_id in ended if round_id not in self._rounds]
        fresh = sorted({*fresh} - await _busy(connection, fresh))
        self._over += await _in_rounds(connection, fresh)
        self._rounds |= {*fresh}
        rest = [row.id for row in rows if row.id not in self._rounds]
        for row in rows:
            if row.id not in self._rounds:
                break
            self._rounds.discard(row.id)
            self._round = row.id
        return await _in_rounds(connection, rest)

    # ------------------------------------------------------------------ rows that are in the order of their ids

    async def _of_transactions(self, connection: AsyncConnection) -> Totals:
        ids = chain_transactions.c.id
        unsure = select(func.min(ids)).where(
            chain_transactions.c.state.in_((TransactionState.SIGNED, TransactionState.SENT))
        )
        upto = await _last_unchanging(connection, ids, chain_transactions.c.created_at_ms, self._transaction, unsure)
        self._over += await self._transactions(connection, ids > self._transaction, ids <= upto)
        self._transaction = upto
        return await self._transactions(connection, ids > upto)

    async def _transactions(self, connection: AsyncConnection, *where: ColumnElement[bool]) -> Totals:
        gas = func.coalesce(func.sum(chain_transactions.c.gas_used), 0)
        query = select(chain_transactions.c.kind, func.count().label("number"), gas.label("gas")).where(*where)
        rows = await connection.execute(
            query.where(chain_transactions.c.state == TransactionState.FINAL).group_by(chain_transactions.c.kind)
        )
        totals = Totals()
        for row in rows:
            totals.batches[row.kind], totals.gas[row.kind] = int(row.number), int(row.gas)
        reverted = select(chain_transactions.c.kind, func.count()).where(
            *where,
            chain_transactions.c.state == TransactionState.REVERTED,
            chain_transactions.c.block_hash.is_not(None),
        )
        totals.reverts.update(await _count_by(connection, reverted.group_by(chain_transactions.c.kind)))
        return totals

    async def _of_renders(self, connection: AsyncConnection) -> Totals:
        ids = render_timings.c.id
        upto = await _last_unchanging(connection, ids, render_timings.c.finished_at_ms, self._render)
        self._over += await self._renders(connection, ids > self._render, ids <= upto)
        self._render = upto
        return await self._renders(connection, ids > upto)

    async def _renders(self, connection: AsyncConnection, *where: ColumnElement[bool]) -> Totals:
        seconds = render_timings.c.seconds
        within = [func.coalesce(func.sum(case((seconds <= bound, 1), else_=0)), 0) for bound in self._bounds]
        query = select(*within, func.count(), func.coalesce(func.sum(seconds), 0.0)).where(*where)
        *buckets, rendered, total = (await connection.execute(query)).one()
        renders = Counter({bound: int(count) for bound, count in zip(self._bounds, buckets, strict=True)})
        return Totals(renders=renders, rendered=int(rendered), render_seconds=float(total))


async def _last_unchanging(
    connection: AsyncConnection,
    ids: ColumnElement[int],
    times: ColumnElement[int],
    upto: int,
    unsure: Select[int] | None = None,
) -> int:
    """Return the id up to which no row changes any more: before the first young row, or the first of `unsure`."""
    young = select(func.min(ids)).where(ids > upto, times >= now_ms() - SETTLED_MS)
    ends = [await connection.scalar(query) for query in (young, unsure) if query is not None]
    last = await connection.scalar(select(func.max(ids)))
    return max(upto, min([*(int(end) - 1 for end in ends if end is not None), int(last or 0)]))


async def _busy(connection: AsyncConnection, round_ids: Sequence[int]) -> set[int]:
    """Return those of the rounds of which a video or an entry for the ledger is on its way."""
    busy: set[int] = set()
    for some in _in_portions(round_ids):
        video_rounds = select(videos.c.round_id).where(videos.c.round_id.in_(some), videos.c.status.in_(UNDER_WAY))
        entry_rounds = select(outbox.c.round_id).where(outbox.c.round_id.in_(some), outbox.c.state.in_(UNDERWAY))
        for query in (video_rounds, entry_rounds):
            busy.update(await connection.scalars(query.distinct()))
    return busy


def _in_portions(round_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (round_ids[start : start + AT_ONCE] for start in range(0, len(round_ids), AT_ONCE))


async def _in_rounds(connection: AsyncConnection, round_ids: Sequence[int]) -> Totals:
    totals = Totals()
    for some in _in_portions(round_ids):
        of_theirs = select(videos.c.id).where(videos.c.round_id.in_(some))
        by_status = select(videos.c.status, func.count()).where(videos.c.round_id.in_(some))
        by_state = select(outbox.c.state, func.count()).where(outbox.c.round_id.in_(some))
        by_choice = select(votes.c.choice, func.count()).where(votes.c.video_id.in_(of_theirs))
        totals.videos.update(await _count_by(connection, by_status.group_by(videos.c.status)))
        totals.entries.update(await _count_by(connection, by_state.group_by(outbox.c.state)))
        totals.votes.update(await _count_by(connection, by_choice.group_by(votes.c.choice)))
    return totals


async def _count_by(connection: AsyncConnection, query: Select[Key, int]) -> dict[Key, int]:
    return {key: int(count) for key, count in await connection.execute(query)}
