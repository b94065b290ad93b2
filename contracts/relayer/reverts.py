"""The record of reverts: transactions that a block holds and that did nothing, though the ledger had agreed to them.

They are counted for each entry, voter or seat that they were for, on disk. Only those in final blocks count against
anybody: a block may be taken back. The consequences of a count are decided here. Entries that the ledger rejected with
a reason are no reverts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger import calldata
from contracts.outbox.progress import UNDERWAY
from contracts.relayer import attempts
from contracts.relayer.attempts import TransactionRow
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, reverts, rounds, seats
from migrations.states.ledger import OutboxKind, OutboxState, TransactionKind, TransactionState

T = TypeVar("T")

ENOUGH = 2  # a single revert may be a race, or a pause of the ledger; a second one, after a new estimate, is not
MOST = 10  # reverts of what depends on us alone, and so can be nobody's fault but the chain's
PAUSE_MS = 60_000  # before its third try; twice as long before each further one
LONGEST_PAUSE_MS = 3_600_000
AT_ONCE = 500  # a statement takes a limited number of values


def entry(number: int) -> str:
    """Return the name under which an entry of the outbox is counted."""
    return f"entry {number}"


def vote(number: int) -> str:
    """Return the name under which a vote's entry is counted: votes share their transactions."""
    return f"vote {number}"


def voter(voter_id: str) -> str:
    """Return the name under which a voter's registration is counted."""
    return f"voter {voter_id}"


def seat(round_id: int, voter_id: str) -> str:
    """Return the name under which the claim of a voter's seat in a round is counted."""
    return f"seat {round_id} {voter_id}"


@dataclass(frozen=True)
class Revert:
    """One transaction that was reverted. `shared` is the number of subjects that it carried, this one included."""

    shared: int
    final: bool
    at_ms: int


class Verdict(StrEnum):
    """The verdict on something that was reverted before."""

    GO = "go"  # it may be sent
    WAIT = "wait"  # until its reverts are final, or for a while
    NO = "no"  # it is given up


@dataclass(frozen=True)
class Record:
    """All transactions of one subject that were reverted."""

    reverts: tuple[Revert, ...] = ()

    @property
    def times(self) -> int:
        """The number of reverts."""
        return len(self.reverts)

    @property
    def final(self) -> int:
        """The number of reverts in final blocks."""
        return sum(revert.final for revert in self.reverts)

    @property
    def shared(self) -> int:
        """The smallest number of subjects that one of the transactions carried."""
        return min((revert.shared for revert in self.reverts), default=0)

    @property
    def alone(self) -> Record:
        """The record of the transactions that carried nothing else: nothing else can be to blame for them."""
        return Record(tuple(revert for revert in self.reverts if revert.shared == 1))

    def judge_account(self) -> Verdict:
        """Judge a subject where somebody else's code or signature decides: it is given up after two reverts."""
        if self.times < ENOUGH:
            return Verdict.GO
        return Verdict.NO if self.final >= ENOUGH else Verdict.WAIT

    def judge_chain(self) -> Verdict:
        """Judge a subject where only the chain can be to blame: it is tried ever more seldom, and not for ever."""
        if self.times < ENOUGH:
            return Verdict.GO
        if self.final < self.times:
            return Verdict.WAIT
        if self.times >= MOST:
            return Verdict.NO
        pause = min(LONGEST_PAUSE_MS, PAUSE_MS << (self.times - ENOUGH))
        return Verdict.GO if now_ms() >= max(revert.at_ms for revert in self.reverts) + pause else Verdict.WAIT


CLEAN = Record()


class Reverts:
    """The subjects that were reverted and are not over, as they were when they were last read."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database
        self._records: dict[str, Record] = {}

    async def tidy(self) -> None:
        """Forget what is over by another way: rejected with its round or video, or left behind by a claim."""
        async with self._database.begin() as connection:
            by_kind: dict[str, list[list[str]]] = {}
            for subject in await connection.scalars(select(reverts.c.subject).distinct()):
                kind, *rest = str(subject).split(" ")
                by_kind.setdefault(kind, []).append(rest)
            entries = {int(number) for kind in ("entry", "vote") for (number,) in by_kind.get(kind, [])}
            voters = {voter_id for (voter_id,) in by_kind.get("voter", [])}
            rounds_of_seats = {int(round_id) for round_id, _ in by_kind.get("seat", [])}
            waits = await _among(connection, outbox.c.id, entries, outbox.c.state.in_(UNDERWAY))
            unregistered = await _among(connection, outbox.c.voter_id, voters, outbox.c.state.in_(UNDERWAY))
            running = await _among(connection, rounds.c.id, rounds_of_seats, rounds.c.finalized_tx.is_(None))
            over = [name(number) for number in entries - waits for name in (entry, vote)]
            over += [voter(voter_id) for voter_id in voters - unregistered]
            over += [
                seat(int(number), voter_id)
                for number, voter_id in by_kind.get("seat", [])
                if int(number) not in running
            ]
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
            .where(
                chain_transactions.c.state == TransactionState.REVERTED, chain_transactions.c.block_hash.is_not(None)
            )
            .order_by(reverts.c.transaction_id)
        )
        by_subject: dict[str, list[Revert]] = {}
        async with self._database.connect() as connection:
            for row in await connection.execute(query):
                revert = Revert(int(row.shared), row.final_at_ms is not None, int(row.created_at_ms))
                by_subject.setdefault(row.subject, []).append(revert)
        self._records = {subject: Record(tuple(tries)) for subject, tries in by_subject.items()}

    def of(self, subject: str) -> Record:
        """Return the record of an entry, a voter or a seat, by its name."""
        return self._records.get(subject, CLEAN)

    @property
    def entries(self) -> set[int]:
        """The entries among the subjects that take a transaction each."""
        return {int(subject.removeprefix("entry ")) for subject in self._records if subject.startswith("entry ")}

    @property
    def none(self) -> bool:
        """True if nothing at all was reverted: the usual case, in which nobody need look closer."""
        return not self._records

    def split(self, subjects: Sequence[str], judge: Callable[[Record], Verdict]) -> tuple[list[str], list[str]]:
        """Return which of these suspects to try next, all in one transaction, and which are given up.

        Suspects that were reverted together are tried together once more, then by halves: in the end the one to blame
        is alone, and the others are through. `judge` gives the verdict on one that was reverted alone.
        """
        ready, over = [], []
        for subject in subjects:
            verdict = judge(self.of(subject).alone)
            if verdict is Verdict.NO:
                over.append(subject)
            elif verdict is Verdict.GO:
                ready.append(subject)
        if not ready:
            return [], over
        lead = self.of(ready[0])
        size = lead.shared if lead.times < ENOUGH else max(1, lead.shared // 2)
        return [subject for subject in ready if self.of(subject).shared == lead.shared][:size], over


async def _among(
    connection: AsyncConnection, column: ColumnElement[T], values: Collection[T], condition: ColumnElement[bool]
) -> set[T]:
    """Return those of the values for which the condition holds of some row."""
    matching: set[T] = set()
    all_values = list(values)
    for start in range(0, len(all_values), AT_ONCE):
        query = select(column).where(column.in_(all_values[start : start + AT_ONCE]), condition)
        matching.update(await connection.scalars(query.distinct()))
    return matching


async def note(connection: AsyncConnection, transaction: int, subjects: Sequence[str]) -> None:
    """Write down the subjects of a transaction that was reverted, within the transaction that gives it up."""
    await connection.execute(delete(reverts).where(reverts.c.transaction_id == transaction))
    if subjects:
        rows = [{"transaction_id": transaction, "subject": subject, "shared": len(subjects)} for subject in subjects]
        await connection.execute(insert(reverts), rows)


async def forget(connection: AsyncConnection, subjects: Iterable[str]) -> None:
    """Forget subjects that are over: on the ledger, or given up."""
    if (await connection.execute(select(reverts.c.subject).limit(1))).first() is None:
        return
    over = list(subjects)
    for start in range(0, len(over), AT_ONCE):
        some = over[start : start + AT_ONCE]
        await connection.execute(delete(reverts).where(reverts.c.subject.in_(some)))


async def subjects_of(connection: AsyncConnection, row: TransactionRow) -> list[str]:
    """Return the subjects of a transaction, while its entries still belong to it."""
    if row.kind == TransactionKind.VOTERS:
        call, _ = attempts.call_of(bytes(row.raw))
        return [voter(voter_id.hex()) for voter_id in calldata.registered_by(call["data"])]
    if row.kind == TransactionKind.CLAIM:
        call, _ = attempts.call_of(bytes(row.raw))
        here = (seats.c.round_id == row.round_id, seats.c.seat == calldata.claimed_by(call["data"]))
        return [seat(row.round_id, owner) for owner in await connection.scalars(select(seats.c.voter_id).where(*here))]
    if row.kind == TransactionKind.CLOSE:  # its entry goes on to wait, for the finalizing
        query = select(outbox.c.id).where(outbox.c.kind == OutboxKind.CLOSE, outbox.c.round_id == row.round_id)
    else:
        query = select(outbox.c.id).where(outbox.c.transaction_id == row.id, outbox.c.state == OutboxState.BATCHED)
    if row.kind == TransactionKind.BALLOT:  # the choices in it share its fate
        query = query.where(outbox.c.kind == OutboxKind.BALLOT)
    name = vote if row.kind == TransactionKind.VOTES else entry
    return [name(number) for number in await connection.scalars(query.order_by(outbox.c.id))]
