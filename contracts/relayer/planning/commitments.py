"""The planning of commitments: a data set after its parent, a release after all that it rests upon.

What a commitment rests upon has to stand for good: its number is part of what is signed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update

from contracts.ledger import calldata
from contracts.ledger.client import from_hex
from contracts.manifests import KIND_NUMBERS
from contracts.relayer import reverts
from contracts.relayer.planning.draft import Draft, DraftContext, EntryRow, Scope, pending
from contracts.relayer.reverts import Verdict
from contracts.rpc.node import LedgerRefusedError
from migrations.schema import commitments, outbox, rounds
from migrations.states.ledger import CommitmentKind, OutboxKind, OutboxState, TransactionKind

log = logging.getLogger(__name__)

EXISTS = "ledger: commitment exists"


class CommitmentPlanner:
    """Drafts the next commitment whose time has come, the oldest first."""

    def __init__(self, context: DraftContext) -> None:
        self._context = context
        self._database = context.database
        self._ledger = context.ledger

    async def commitment(self, scope: Scope) -> Draft | None:
        """Draft the next commitment."""
        if scope.rounds is not None:  # a commitment is never in a hurry
            return None
        query = (
            select(outbox.c.id)
            .where(pending(OutboxKind.COMMITMENT), *self._context.within(scope))
            .order_by(outbox.c.id)
        )

        async def heads() -> Sequence[EntryRow]:
            async with self._database.connect() as connection:
                return list(await connection.execute(query))

        turns = self._context.turns(OutboxKind.COMMITMENT, scope)
        return await self._context.first(turns, heads, lambda head: (head.id,), self._draft)

    async def _draft(self, row: EntryRow) -> Draft | None:
        record = self._context.reverts.of(reverts.entry(row.id))
        if record.judge_chain() is Verdict.WAIT:
            return None
        about = await self._about(row.id)
        parent, obstacle = await self._ready(about)
        if (parent is None and obstacle is None) or await self._note_existing(about, row.id):
            return None
        if parent is None:
            await self._reject(row.id, obstacle or "")
            return None
        kind = CommitmentKind(about.kind)
        data = calldata.commit(KIND_NUMBERS[kind], from_hex(about.root), parent, from_hex(about.meta))
        try:
            return await self._context.draft(TransactionKind.COMMITMENT, data, record, None, [row.id])
        except LedgerRefusedError as refusal:
            if refusal.reason == EXISTS and await self._note_existing(about, row.id):
                return None
            await self._context.reject([row.id], refusal.reason)
            return None

    async def _note_existing(self, about: EntryRow, entry: int) -> bool:
        """Return True if the ledger holds the commitment already, whoever made it; its number is then stored."""
        number = await self._ledger.commitment_of(CommitmentKind(about.kind), from_hex(about.root))
        if number:
            await self.store_number(entry, number, recorded=True)
        return number > 0

    async def _about(self, entry: int) -> EntryRow:
        async with self._database.connect() as connection:
            return (await connection.execute(select(commitments).where(commitments.c.entry == entry))).one()

    async def store_number(self, entry: int, number: int, *, recorded: bool = False) -> None:
        """Write down a commitment's number on the ledger; a recorded one needs no sending any more."""
        async with self._database.begin() as connection:
            await connection.execute(update(commitments).where(commitments.c.entry == entry).values(number=number))
            if recorded:
                await self._context.mark_recorded_within(connection, [entry])

    async def number_of(self, entry: int) -> int:
        """Return the number that the ledger has given to an entry's commitment; 0 where it has none."""
        about = await self._about(entry)
        return await self._ledger.commitment_of(CommitmentKind(about.kind), from_hex(about.root))

    async def _ready(self, about: EntryRow) -> tuple[int | None, str | None]:
        """Return the parent's number (0 without one) once a commitment's time has come, or None; and an obstacle that
        it can never get over, as a sentence.
        """
        parent: int | None = 0
        for kind, root in ((about.kind, about.parent), (CommitmentKind.DATASET, about.dataset)):
            if root is None:
                continue
            rests_on = await self._rests_on(kind, root)
            if rests_on.state == OutboxState.REJECTED:
                return None, f"The {kind} that it rests on could not be recorded on the ledger."
            if rests_on.state != OutboxState.FINAL:
                parent = None
            elif kind == about.kind and parent is not None:
                parent = int(rests_on.number)
        if about.round_id is not None:
            ended, obstacle = await self._ended(about.round_id)
            if obstacle is not None or not ended:
                return None, obstacle
        return parent, None

    async def _rests_on(self, kind: str, root: str) -> EntryRow:
        columns: list[Any] = [outbox.c.state, commitments.c.number]
        query = (
            select(*columns)
            .join(commitments, commitments.c.entry == outbox.c.id)
            .where(commitments.c.kind == kind, commitments.c.root == root)
        )
        async with self._database.connect() as connection:
            return (await connection.execute(query)).one()

    async def _ended(self, round_id: int) -> tuple[bool, str | None]:
        """Return True once a battle round's result and all its reveals stand; and a sentence where they never will."""
        kinds = (OutboxKind.ROUND, OutboxKind.BATTLE, OutboxKind.REVEAL, OutboxKind.CLOSE)
        entries = (
            select(outbox.c.kind, outbox.c.state)
            .where(outbox.c.round_id == round_id, outbox.c.kind.in_(kinds))
            .distinct()
        )
        async with self._database.connect() as connection:
            states = (await connection.execute(entries)).all()
            final = await connection.scalar(select(rounds.c.finalized_tx).where(rounds.c.id == round_id))
        if any(row.state == OutboxState.REJECTED for row in states):
            return False, "Its battle round is not whole on the ledger: the round, a battle or a reveal was rejected."
        stand = all(row.state == OutboxState.FINAL for row in states)
        return stand and final is not None, None

    async def _reject(self, entry: int, sentence: str) -> None:
        """Reject a commitment whose conditions will never be met."""
        log.warning("A commitment is rejected: %s", sentence)
        await self._context.reject_with_sentence([entry], sentence)
