"""Transactions that a block holds and that did nothing, though the ledger had agreed to them: whom they were for.

They are counted for each entry, voter or seat, on disk, and only those in final blocks count against anybody: a block
may be taken back. What follows from a count is decided here; what was refused with a reason is none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger import calldata as calls
from contracts.relayer import attempts
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, reverts, rounds, seats

ENOUGH = 2  # a single revert may be a race, or a pause of the ledger; a second one after it was asked anew is not
MOST = 10  # of what is ours alone, and so nobody's fault but the chain's
PAUSE_MS = 60_000  # before such a thing is tried for the third time; twice as long before each further one
LONGEST_PAUSE_MS = 3_600_000
AT_ONCE = 500  # a statement takes a limited number of values


def entry(number: int) -> str:
    """The name under which an entry of the outbox is counted."""
    return f"entry {number}"


def vote(number: int) -> str:
    """The name under which a vote's entry is counted: votes share their transactions."""
    return f"vote {number}"


def voter(voter_id: str) -> str:
    """The name under which a voter's registration is counted."""
    return f"voter {voter_id}"


def seat(round_id: int, voter_id: str) -> str:
    """The name under which the claim of a voter's seat in a round is counted."""
    return f"seat {round_id} {voter_id}"


@dataclass(frozen=True)
class Try:
    """One transaction that was reverted; `shared` says with how many others' things, its own included."""

    shared: int
    final: bool
    at_ms: int


class Next(StrEnum):
    """What may be done with something that was reverted before."""

    GO = "go"  # it may be sent
    WAIT = "wait"  # until its reverts are final, or for a while
    NO = "no"  # it is given up


@dataclass(frozen=True)
class Record:
    """All transactions of one thing that were reverted."""

    tries: tuple[Try, ...] = ()

    @property
    def times(self) -> int:
        return len(self.tries)

    @property
    def final(self) -> int:
        return sum(one.final for one in self.tries)

    @property
    def shared(self) -> int:
        """The fewest things that one of its transactions carried."""
        return min((one.shared for one in self.tries), default=0)

    @property
    def alone(self) -> Record:
        """Those in which nothing else can be to blame."""
        return Record(tuple(one for one in self.tries if one.shared == 1))

    def theirs(self) -> Next:
        """What may be done where somebody else's code or signature decides: it is given up after two."""
        if self.times < ENOUGH:
            return Next.GO
        return Next.NO if self.final >= ENOUGH else Next.WAIT

    def ours(self) -> Next:
        """What may be done where only the chain can be to blame: it is tried ever more seldom, and not for ever."""
        if self.times < ENOUGH:
            return Next.GO
        if self.final < self.times:
            return Next.WAIT
        if self.times >= MOST:
            return Next.NO
        pause = min(LONGEST_PAUSE_MS, PAUSE_MS << (self.times - ENOUGH))
        return Next.GO if now_ms() >= max(one.at_ms for one in self.tries) + pause else Next.WAIT


CLEAN = Record()


class Reverts:
    """What was reverted and is not over, as it was when it was last read."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._records: dict[str, Record] = {}

    async def tidy(self) -> None:
        """Forget what is over by another way: refused with its round or video, or left behind by a claim."""
        async with self._engine.begin() as connection:
            named: dict[str, list[list[str]]] = {}
            for subject in await connection.scalars(select(reverts.c.subject).distinct()):
                kind, *rest = str(subject).split(" ")
                named.setdefault(kind, []).append(rest)
            entries = {int(number) for kind in ("entry", "vote") for (number,) in named.get(kind, [])}
            voters = {voter_id for (voter_id,) in named.get("voter", [])}
            rounds_of_seats = {int(round_id) for round_id, _ in named.get("seat", [])}
            waits = await _among(connection, outbox.c.id, entries, outbox.c.state.in_(("pending", "batched")))
            unregistered = await _among(
                connection, outbox.c.voter_id, voters, outbox.c.state.in_(("pending", "batched"))
            )
            running = await _among(connection, rounds.c.id, rounds_of_seats, rounds.c.finalized_tx.is_(None))
            over = [name(number) for number in entries - waits for name in (entry, vote)]
            over += [voter(voter_id) for voter_id in voters - unregistered]
            over += [seat(int(number), one) for number, one in named.get("seat", []) if int(number) not in running]
            await forget(connection, over)

    async def read(self) -> None:
        """Read all of it anew; there is little, as what is final or rejected is forgotten."""
        query = (
            select(
                reverts.c.subject,
                reverts.c.shared,
                chain_transactions.c.final_at_ms,
                chain_transactions.c.created_at_ms,
            )
            .join(chain_transactions, chain_transactions.c.id == reverts.c.transaction_id)
            .where(chain_transactions.c.state == "reverted", chain_transactions.c.block_hash.is_not(None))
            .order_by(reverts.c.transaction_id)
        )
        found: dict[str, list[Try]] = {}
        async with self._engine.connect() as connection:
            for row in await connection.execute(query):
                made = Try(int(row.shared), row.final_at_ms is not None, int(row.created_at_ms))
                found.setdefault(row.subject, []).append(made)
        self._records = {subject: Record(tuple(tries)) for subject, tries in found.items()}

    def of(self, subject: str) -> Record:
        """What is known of an entry, a voter or a seat, by its name."""
        return self._records.get(subject, CLEAN)

    @property
    def entries(self) -> set[int]:
        """The entries among them that take a transaction each."""
        return {int(subject.removeprefix("entry ")) for subject in self._records if subject.startswith("entry ")}

    @property
    def none(self) -> bool:
        """Whether nothing at all was reverted: the usual case, in which nobody need look closer."""
        return not self._records

    def part(self, subjects: Sequence[str], judge: Callable[[Record], Next]) -> tuple[list[str], list[str]]:
        """Return which of these suspects to try next, all in one transaction, and which are given up.

        What was reverted together is tried together once more, then by halves: in the end the one to blame is alone,
        and the others are through. `judge` says what becomes of one that was reverted alone.
        """
        ready, over = [], []
        for subject in subjects:
            verdict = judge(self.of(subject).alone)
            if verdict is Next.NO:
                over.append(subject)
            elif verdict is Next.GO:
                ready.append(subject)
        if not ready:
            return [], over
        lead = self.of(ready[0])
        size = lead.shared if lead.times < ENOUGH else max(1, lead.shared // 2)
        return [subject for subject in ready if self.of(subject).shared == lead.shared][:size], over


async def _among(
    connection: AsyncConnection, column: ColumnElement[Any], values: Collection[Any], condition: ColumnElement[bool]
) -> set[Any]:
    """Return those of the values for which the condition holds of some row."""
    found: set[Any] = set()
    listed = list(values)
    for start in range(0, len(listed), AT_ONCE):
        query = select(column).where(column.in_(listed[start : start + AT_ONCE]), condition)
        found.update(await connection.scalars(query.distinct()))
    return found


async def note(connection: AsyncConnection, transaction: int, subjects: Sequence[str]) -> None:
    """Write down whom a transaction that was reverted was for, within the transaction that gives it up."""
    await connection.execute(delete(reverts).where(reverts.c.transaction_id == transaction))
    if subjects:
        rows = [{"transaction_id": transaction, "subject": one, "shared": len(subjects)} for one in subjects]
        await connection.execute(insert(reverts), rows)


async def forget(connection: AsyncConnection, subjects: Iterable[str]) -> None:
    """Forget what is over: it is on the ledger, or was given up."""
    if (await connection.execute(select(reverts.c.subject).limit(1))).first() is None:
        return
    listed = list(subjects)
    for start in range(0, len(listed), AT_ONCE):
        some = listed[start : start + AT_ONCE]
        await connection.execute(delete(reverts).where(reverts.c.subject.in_(some)))


async def subjects_of(connection: AsyncConnection, row: Row[Any]) -> list[str]:
    """Whom a transaction is for, while its entries still belong to it."""
    if row.kind == "voters":
        call, _ = attempts.call_of(bytes(row.raw))
        return [voter(one.hex()) for one in calls.registered_by(call["data"])]
    if row.kind == "claim":
        call, _ = attempts.call_of(bytes(row.raw))
        here = (seats.c.round_id == row.round_id, seats.c.seat == calls.claimed_by(call["data"]))
        return [seat(row.round_id, one) for one in await connection.scalars(select(seats.c.voter_id).where(*here))]
    if row.kind == "close":  # its entry goes on to wait, for the finalizing
        query = select(outbox.c.id).where(outbox.c.kind == "close", outbox.c.round_id == row.round_id)
    else:
        query = select(outbox.c.id).where(outbox.c.transaction_id == row.id, outbox.c.state == "batched")
    if row.kind == "ballot":  # the choices in it share its fate
        query = query.where(outbox.c.kind == "ballot")
    named = vote if row.kind == "votes" else entry
    return [named(number) for number in await connection.scalars(query.order_by(outbox.c.id))]
