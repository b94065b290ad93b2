"""The planning of what members' wallets signed: links, ballots and unlinks, each voter's in their order, and claims.

Signed ballots have no grace after the close: they have turns of their own beside batches, and go before them where a
round closes soon. Anyone may send what a wallet signed: what the ledger holds already is final, whoever brought it
there. A claim hands a linked voter's seat over to the wallet.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import ColumnElement, case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.ledger import batch_codec, calldata
from contracts.ledger.client import from_hex
from contracts.outbox.rejections import SENTENCES
from contracts.relayer import attempts, reverts
from contracts.relayer.attempts import TransactionRow
from contracts.relayer.planning.draft import Draft, DraftContext, EntryRow, Scope, opened_in, pending
from contracts.relayer.planning.votes import VotePlanner
from contracts.relayer.reverts import Record, Verdict
from contracts.rpc.node import LedgerRefusedError
from migrations.schema import outbox, rounds, seats, voters, wallets
from migrations.states.ledger import OutboxKind, OutboxState, TransactionKind

log = logging.getLogger(__name__)

KINDS = (OutboxKind.LINK, OutboxKind.BALLOT, OutboxKind.UNLINK)
NOT_CLOSED = ("opening", "open", "closing")  # the statuses of rounds in which seats can still be claimed
STALE_NONCE = "ledger: stale nonce"
_SERVER = func.coalesce(rounds.c.guild_id, wallets.c.guild_id)  # links and unlinks are of no round
LINK_KINDS = (OutboxKind.LINK, OutboxKind.UNLINK)


class WalletPlanner:
    """Drafts the next link, ballot or unlink that a wallet signed, or the next claim that follows from a link.

    Servers take turns, and their members do. An account whose answer in a block differs from its answer beforehand is
    tried twice, and holds up nobody but itself meanwhile.
    """

    def __init__(self, context: DraftContext, votes: VotePlanner) -> None:
        self._context = context
        self._database = context.database
        self._ledger = context.ledger
        self._votes = votes
        self._unclaimable: set[tuple[int, str]] = set()  # the claims that the ledger refused, by round and voter

    async def link(self, scope: Scope) -> Draft | None:
        """Draft the next link of a voter who is registered, and whose votes from before are on their way."""
        return await self._first(OutboxKind.LINK, scope, self._link, voters.c.voter_index.is_not(None))

    async def ballot(self, scope: Scope) -> Draft | None:
        """Draft the next signed ballot, or the claim that has to come before it."""
        numbered = (rounds.c.chain_id.is_not(None), voters.c.voter_index.is_not(None))
        return await self._first(OutboxKind.BALLOT, scope, self._ballot, *numbered)

    async def unlink(self, scope: Scope) -> Draft | None:
        """Draft the next unlink."""
        return await self._first(OutboxKind.UNLINK, scope, self._unlink)

    async def _first(
        self,
        kind: OutboxKind,
        scope: Scope,
        make: Callable[[EntryRow], Awaitable[Draft | None]],
        *ready: ColumnElement[bool],
    ) -> Draft | None:
        """Draft for each voter's earliest entry that waits: later ones depend on what it leaves behind."""
        earliest = (
            select(func.min(outbox.c.id))
            .where(outbox.c.kind.in_(KINDS), outbox.c.state == OutboxState.PENDING)
            .group_by(outbox.c.voter_id)
        )
        query = (
            select(outbox.c.id, outbox.c.voter_id, _SERVER.label("guild_id"))
            .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(wallets, wallets.c.voter_id == outbox.c.voter_id)
            .where(outbox.c.id.in_(earliest), outbox.c.kind == kind, *ready, *self._context.within(scope))
            .order_by(outbox.c.id)
        )

        async def heads() -> Sequence[EntryRow]:
            async with self._database.connect() as connection:
                return list(await connection.execute(query))

        return await self._context.first(
            self._context.turns(kind, scope), heads, lambda head: (head.guild_id, head.voter_id), make
        )

    async def _draft_or_reject(
        self, kind: TransactionKind, data: bytes, row: EntryRow, entries: Sequence[int]
    ) -> Draft | None:
        """Return a draft; or None where the ledger refuses it, and the entries are rejected."""
        record = self._record(row)
        try:
            return await self._context.draft(kind, data, record, None, entries)
        except LedgerRefusedError as refusal:
            await self._context.reject(entries, refusal.reason)
            return None

    def _record(self, row: EntryRow) -> Record:
        return self._context.reverts.of(reverts.entry(row.id))

    # ------------------------------------------------------------------ links

    async def _link(self, row: EntryRow) -> Draft | None:
        if self._record(row).judge_account() is Verdict.WAIT or await self._votes_wait(row):
            return None  # the registration and the votes are drafted because of this entry
        signed = row.payload
        if await self._ledger.wallet_of(row.voter_index) == signed["wallet"]:
            await self._context.mark_recorded([row.id])
            return None
        signature = bytes.fromhex(signed["signature"])
        data = calldata.link(from_hex(row.voter_id), signed["wallet"], signed["nonce"], signed["deadline"], signature)
        return await self._draft_or_reject(TransactionKind.LINK, data, row, [row.id])

    async def _votes_wait(self, row: EntryRow) -> bool:
        """Return True if votes from before the voter's link still wait: after it the ledger would refuse them."""
        query = select(outbox.c.id).where(
            pending(OutboxKind.VOTE),
            outbox.c.voter_id == row.voter_id,
            outbox.c.id < row.id,
        )
        async with self._database.connect() as connection:
            return (await connection.execute(query.limit(1))).first() is not None

    async def _unlink(self, row: EntryRow) -> Draft | None:
        if self._record(row).judge_account() is Verdict.WAIT:
            return None
        signed = row.payload
        linked = None if row.voter_index is None else await self._ledger.wallet_of(row.voter_index)
        if linked != signed["wallet"]:
            await self._context.mark_recorded([row.id])
            return None
        signature = bytes.fromhex(signed["signature"])
        data = calldata.unlink(from_hex(row.voter_id), signed["nonce"], signed["deadline"], signature)
        return await self._draft_or_reject(TransactionKind.UNLINK, data, row, [row.id])

    # ------------------------------------------------------------------ ballots

    async def _ballot(self, row: EntryRow) -> Draft | None:
        if self._record(row).judge_account() is Verdict.WAIT:
            return None
        seat = await self._seat(row)
        async with self._database.connect() as connection:
            parts = await connection.execute(
                select(outbox.c.id, outbox.c.payload).where(
                    outbox.c.kind == OutboxKind.SIGNED,
                    outbox.c.round_id == row.round_id,
                    outbox.c.voter_id == row.voter_id,
                    outbox.c.state == OutboxState.PENDING,
                )
            )
            entries = [row.id, *(part.id for part in parts if part.payload.get("ballot") == row.id)]
        if seat is not None and not seat.claimed:
            claim = self._claim_record(row)
            if claim.judge_account() is Verdict.WAIT:
                return None
            if (draft := await self._claim_of(row, seat.seat)) is not None:
                return draft
            if claim.judge_account() is Verdict.NO:
                await self._context.reject_with_sentence(entries, SENTENCES["ledger: seat not claimed"])
                return None
        signed = row.payload
        choices = [(number, choice) for number, choice in signed["choices"]]
        signature = bytes.fromhex(signed["signature"])
        about = (signed["wallet"], row.round_number, choices, signed["nonce"], signed["deadline"])
        data = calldata.cast_signed(*about, signature)
        try:
            return await self._context.draft(TransactionKind.BALLOT, data, self._record(row), row.round_id, entries)
        except LedgerRefusedError as refusal:
            if refusal.reason == "ledger: seat not claimed":  # the voter has a seat that we did not write down
                await self._votes.learn_seats(row.round_id, row.round_number)
                self._context.resolved += seat is None and await self._seat(row) is not None
                return None
            if refusal.reason == STALE_NONCE and (tx := await self._sent_by_others(row)) is not None:
                await self._context.mark_recorded([row.id], payload={**signed, "tx": tx})
                await self._context.mark_recorded(entries[1:])
                return None
            await self._context.reject(entries, refusal.reason)
            return None

    async def _seat(self, row: EntryRow) -> EntryRow | None:
        query = select(seats).where(seats.c.round_id == row.round_id, seats.c.voter_id == row.voter_id)
        async with self._database.connect() as connection:
            return (await connection.execute(query)).first()

    async def _sent_by_others(self, row: EntryRow) -> str | None:
        first = await opened_in(self._database, row.round_id)
        return await self._ledger.ballot_tx(row.round_number, row.voter_index, row.payload["nonce"], first)

    async def store_own_seat(self, row: TransactionRow) -> None:
        """Write down the seat in which the voter of an included ballot votes."""
        query = (
            select(outbox.c.voter_id, voters.c.voter_index, rounds.c.chain_id)
            .join(voters, voters.c.voter_id == outbox.c.voter_id)
            .join(rounds, rounds.c.id == outbox.c.round_id)
            .where(outbox.c.transaction_id == row.id, outbox.c.kind == OutboxKind.BALLOT)
        )
        async with self._database.connect() as connection:
            about = (await connection.execute(query)).one()
        seat = await self._ledger.own_seat(about.chain_id, about.voter_index)
        if seat is None or seat < batch_codec.OWN_SEATS:  # a claimed seat is known already
            return
        here = (seats.c.round_id == row.round_id, seats.c.voter_id == about.voter_id)
        async with self._database.begin() as connection:
            if (await connection.execute(select(seats.c.seat).where(*here))).first() is None:
                await connection.execute(
                    insert(seats).values(
                        round_id=row.round_id, voter_id=about.voter_id, seat=seat, transaction_id=row.id, claimed=True
                    )
                )

    # ------------------------------------------------------------------ claims

    async def claim(self, scope: Scope) -> Draft | None:
        """Draft the claim of the next seat that a linked voter got from a batch, in a round that is not over."""
        last = {kind: func.max(case((outbox.c.kind == kind, outbox.c.id), else_=0)) for kind in LINK_KINDS}
        linked = (  # voters who linked a wallet, and have not unlinked it since
            select(outbox.c.voter_id)
            .where(outbox.c.kind.in_(LINK_KINDS), outbox.c.state.in_((OutboxState.BATCHED, OutboxState.FINAL)))
            .group_by(outbox.c.voter_id)
            .having(last[OutboxKind.LINK] > last[OutboxKind.UNLINK])
        )
        running = select(rounds.c.id).where(rounds.c.status.in_(NOT_CLOSED))
        query = (
            select(seats, voters.c.voter_index, rounds.c.chain_id.label("round_number"), rounds.c.guild_id)
            .join(voters, voters.c.voter_id == seats.c.voter_id)
            .join(rounds, rounds.c.id == seats.c.round_id)
            .where(~seats.c.claimed, seats.c.round_id.in_(running), seats.c.voter_id.in_(linked))
        )
        if scope.rounds is not None:
            query = query.where(seats.c.round_id.in_(scope.rounds))
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        turns = self._context.turns("claim", scope)
        for row in turns.order(rows, lambda row: (row.guild_id, row.voter_id)):
            record = self._claim_record(row)
            if scope.again != bool(record.times) or record.judge_account() is Verdict.WAIT:
                continue
            if (row.round_id, row.voter_id) not in self._unclaimable:
                draft = await self._claim_of(row, row.seat)
                if draft is not None:
                    turns.serve((row.guild_id, row.voter_id))
                    return draft
        return None

    def _claim_record(self, row: EntryRow) -> Record:
        return self._context.reverts.of(reverts.seat(row.round_id, row.voter_id))

    async def _claim_of(self, row: EntryRow, seat: int) -> Draft | None:
        """Draft the claim of the seat of a row's round and voter. None where there is nothing to claim, which is then
        stored.
        """
        own = await self._ledger.own_seat(row.round_number, row.voter_index)
        if own is not None:
            async with self._database.begin() as connection:
                await connection.execute(
                    update(seats)
                    .where(seats.c.round_id == row.round_id, seats.c.voter_id == row.voter_id)
                    .values(claimed=True)
                )
            return None
        roll = await self._ledger.roll_of(row.round_number, seat, await opened_in(self._database, row.round_id))
        if roll is not None:
            data = calldata.claim(row.round_number, seat, *roll)
            try:
                return await self._context.draft(TransactionKind.CLAIM, data, self._claim_record(row), row.round_id)
            except LedgerRefusedError as refusal:
                log.warning("A seat in round %d could not be claimed (%s)", row.round_number, refusal.reason)
        self._unclaimable.add((row.round_id, row.voter_id))
        return None

    async def store_claim(self, connection: AsyncConnection, row: TransactionRow, *, claimed: bool) -> None:
        """Write down that a seat is the wallet's now, or that it is not after all."""
        call, _ = attempts.call_of(bytes(row.raw))
        here = (seats.c.round_id == row.round_id, seats.c.seat == calldata.claimed_by(call["data"]))
        await connection.execute(update(seats).where(*here).values(claimed=claimed))
