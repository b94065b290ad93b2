"""The planning of battles, and of their reveals once the round's result stands for good."""

from __future__ import annotations

import logging

from sqlalchemy import select, update

from contracts.ledger import calldata
from contracts.ledger.client import from_hex
from contracts.relayer import reverts
from contracts.relayer.planning.draft import Draft, DraftContext, EntryRow, opened_in
from contracts.relayer.reverts import Verdict
from contracts.rpc.node import LedgerRefusedError
from migrations.schema import battles, outbox
from migrations.states.ledger import OutboxKind, OutboxState, TransactionKind

log = logging.getLogger(__name__)

REVEALED = "ledger: nothing to reveal"


class BattlePlanner:
    """Drafts one battle or one reveal: each takes a transaction."""

    def __init__(self, context: DraftContext) -> None:
        self._context = context
        self._database = context.database
        self._ledger = context.ledger

    async def battle(self, row: EntryRow) -> Draft | None:
        """Draft a battle of a round that is on the ledger."""
        record = self._context.reverts.of(reverts.entry(row.id))
        if record.judge_chain() is Verdict.WAIT:
            return None
        payload = {name: from_hex(value) for name, value in row.payload.items()}
        number = await self._ledger.video_of(payload["key"])
        if number:
            await self.store_number(row.video_id, number, row.id)
            return None
        data = calldata.add_battle(
            payload["key"],
            row.round_number,
            payload["prompt_hash"],
            payload["content_a"],
            payload["content_b"],
            payload["sides"],
        )
        try:
            return await self._context.draft(TransactionKind.BATTLE, data, record, row.round_id, [row.id])
        except LedgerRefusedError as refusal:
            await self._context.reject([row.id], refusal.reason)
            await self._context.reject_orphans()
            return None

    async def store_number(self, battle_id: str, number: int, entry: int | None = None) -> None:
        """Write down a battle's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._database.begin() as connection:
            await connection.execute(update(battles).where(battles.c.id == battle_id).values(chain_id=number))
            if entry is not None:
                await self._context.mark_recorded_within(connection, [entry])

    async def reject_orphans(self) -> None:
        """Reject reveals that no result will ever let go: their battle, round or end was rejected."""
        about, waits = outbox.alias(), outbox.alias()
        same_battle = (about.c.kind == OutboxKind.BATTLE) & (about.c.video_id == waits.c.video_id)
        same_round = about.c.kind.in_((OutboxKind.ROUND, OutboxKind.CLOSE)) & (about.c.round_id == waits.c.round_id)
        query = (
            select(waits.c.id)
            .join(about, same_battle | same_round)
            .where(waits.c.kind == OutboxKind.REVEAL, waits.c.state == OutboxState.PENDING)
            .where(about.c.round_id == waits.c.round_id, about.c.state == OutboxState.REJECTED)
        )
        async with self._database.connect() as connection:
            orphan = (await connection.execute(query.limit(1))).first()
        if orphan is not None:
            await self._context.reject_orphans()
            self._context.resolved += 1

    async def reveal(self, row: EntryRow) -> Draft | None:
        """Draft the reveal of a battle whose round is final. Whoever knows the salt may have sent it already."""
        record = self._context.reverts.of(reverts.entry(row.id))
        if record.judge_chain() is Verdict.WAIT:
            return None
        sides = tuple(from_hex(row.payload[name]) for name in ("model_a", "model_b", "salt"))
        data = calldata.reveal_battle(row.battle_number, *sides)
        try:
            return await self._context.draft(TransactionKind.REVEAL, data, record, row.round_id, [row.id])
        except LedgerRefusedError as refusal:
            if refusal.reason == REVEALED:
                event = await self._ledger.reveal_of(row.battle_number, await opened_in(self._database, row.round_id))
                if event is not None:  # only one pair of sides fits the hash
                    await self._context.mark_recorded([row.id], payload={**row.payload, "tx": event.tx})
                    return None
            await self._context.reject([row.id], refusal.reason)
            return None
