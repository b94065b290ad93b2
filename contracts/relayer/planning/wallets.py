"""What members' wallets signed: links, ballots and unlinks, each voter's in their order, and the seats to hand over.

Signed ballots have no grace after the close: they have a turn of their own beside batches, and go before them where a
round closes soon. Anyone may send what a wallet signed: what the ledger has already is final, whoever brought it there.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.ledger import batch_codec as stream
from contracts.ledger import calldata as calls
from contracts.ledger.client import from_hex
from contracts.relayer import attempts, reverts
from contracts.relayer.planning.draft import Desk, Draft, Look, opened_in
from contracts.relayer.planning.votes import VoteDrafts
from contracts.relayer.reverts import Next, Record
from contracts.rpc.node import LedgerRefusedError
from migrations.schema import outbox, rounds, seats, voters, wallets

log = logging.getLogger(__name__)

KINDS = ("link", "ballot", "unlink")
NOT_CLOSED = ("opening", "open", "closing")  # of rounds: in these seats can still be claimed
GONE = "ledger: stale nonce"
_SERVER = func.coalesce(rounds.c.guild_id, wallets.c.guild_id)  # links and unlinks are of no round


class WalletDrafts:
    """The next link, ballot or unlink that a wallet signed, or the next claim that follows from a link.

    Servers take turns, and their members do. An account whose answer in a block is another than it was when it was
    asked is tried twice, and holds up nobody but itself meanwhile.
    """

    def __init__(self, desk: Desk, votes: VoteDrafts) -> None:
        self._desk = desk
        self._engine = desk.engine
        self._ledger = desk.ledger
        self._votes = votes
        self._hopeless: set[tuple[int, str]] = set()  # claims that the ledger refused, by round and voter

    async def link(self, look: Look) -> Draft | None:
        """The next link of a voter who is registered, and whose votes from before are on their way."""
        return await self._first("link", look, self._link, voters.c.voter_index.is_not(None))

    async def ballot(self, look: Look) -> Draft | None:
        """The next signed ballot, or the claim that has to come before it."""
        numbered = (rounds.c.chain_id.is_not(None), voters.c.voter_index.is_not(None))
        return await self._first("ballot", look, self._ballot, *numbered)

    async def unlink(self, look: Look) -> Draft | None:
        """The next unlink."""
        return await self._first("unlink", look, self._unlink)

    async def _first(
        self,
        kind: str,
        look: Look,
        make: Callable[[Row[Any]], Awaitable[Draft | None]],
        *ready: ColumnElement[bool],
    ) -> Draft | None:
        """Of each voter's earliest entry that waits: what came later is about what it leaves behind."""
        earliest = (
            select(func.min(outbox.c.id))
            .where(outbox.c.kind.in_(KINDS), outbox.c.state == "pending")
            .group_by(outbox.c.voter_id)
        )
        query: Select[Any] = (
            select(outbox.c.id, outbox.c.voter_id, _SERVER.label("guild_id"))
            .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(wallets, wallets.c.voter_id == outbox.c.voter_id)
            .where(outbox.c.id.in_(earliest), outbox.c.kind == kind, *ready, *self._desk.within(look))
            .order_by(outbox.c.id)
        )

        async def heads() -> Sequence[Row[Any]]:
            async with self._engine.connect() as connection:
                return list(await connection.execute(query))

        return await self._desk.first(
            self._desk.turns(kind, look), heads, lambda head: (head.guild_id, head.voter_id), make
        )

    async def _drafted(
        self, kind: str, data: bytes, row: Row[Any], entries: Sequence[int], round_id: int | None = None
    ) -> Draft | None:
        record = self._record(row)
        try:
            return await self._desk.draft(kind, data, record, round_id, entries)
        except LedgerRefusedError as refusal:
            await self._desk.reject(entries, refusal.reason)
            return None

    def _record(self, row: Row[Any]) -> Record:
        return self._desk.reverts.of(reverts.entry(row.id))

    # ------------------------------------------------------------------ links

    async def _link(self, row: Row[Any]) -> Draft | None:
        if self._record(row).theirs() is Next.WAIT or await self._votes_wait(row):
            return None  # registration and votes are drafted for its sake
        signed = row.payload
        if await self._ledger.wallet_of(row.voter_index) == signed["wallet"]:
            await self._desk.settle([row.id])
            return None
        signature = bytes.fromhex(signed["signature"])
        data = calls.link(from_hex(row.voter_id), signed["wallet"], signed["nonce"], signed["deadline"], signature)
        return await self._drafted("link", data, row, [row.id])

    async def _votes_wait(self, row: Row[Any]) -> bool:
        """Whether votes that this voter cast before the link still wait: after it the ledger would refuse them."""
        query = select(outbox.c.id).where(
            outbox.c.kind == "vote",
            outbox.c.state == "pending",
            outbox.c.voter_id == row.voter_id,
            outbox.c.id < row.id,
        )
        async with self._engine.connect() as connection:
            return (await connection.execute(query.limit(1))).first() is not None

    async def _unlink(self, row: Row[Any]) -> Draft | None:
        if self._record(row).theirs() is Next.WAIT:
            return None
        signed = row.payload
        linked = None if row.voter_index is None else await self._ledger.wallet_of(row.voter_index)
        if linked != signed["wallet"]:
            await self._desk.settle([row.id])
            return None
        signature = bytes.fromhex(signed["signature"])
        data = calls.unlink(from_hex(row.voter_id), signed["nonce"], signed["deadline"], signature)
        return await self._drafted("unlink", data, row, [row.id])

    # ------------------------------------------------------------------ ballots

    async def _ballot(self, row: Row[Any]) -> Draft | None:
        if self._record(row).theirs() is Next.WAIT:
            return None
        seat = await self._seat(row)
        async with self._engine.connect() as connection:
            parts = await connection.execute(
                select(outbox.c.id, outbox.c.payload).where(
                    outbox.c.kind == "signed",
                    outbox.c.round_id == row.round_id,
                    outbox.c.voter_id == row.voter_id,
                    outbox.c.state == "pending",
                )
            )
            entries = [row.id, *(part.id for part in parts if part.payload.get("ballot") == row.id)]
        if seat is not None and not seat.claimed:
            claim = self._claimed(row)
            if claim.theirs() is Next.WAIT:
                return None
            if (draft := await self._claim_of(row, seat.seat)) is not None:
                return draft
            if claim.theirs() is Next.NO:
                await self._desk.reject(entries, "ledger: seat not claimed")
                return None
        signed = row.payload
        listed = [(number, choice) for number, choice in signed["choices"]]
        signature = bytes.fromhex(signed["signature"])
        about = (signed["wallet"], row.round_number, listed, signed["nonce"], signed["deadline"])
        data = calls.cast_signed(*about, signature)
        try:
            return await self._desk.draft("ballot", data, self._record(row), row.round_id, entries)
        except LedgerRefusedError as refusal:
            if refusal.reason == "ledger: seat not claimed":  # it has a seat that we never wrote down
                await self._votes.learn_seats(row.round_id, row.round_number)
                self._desk.moved += seat is None and await self._seat(row) is not None
                return None
            if refusal.reason == GONE and (tx := await self._sent_past_us(row)) is not None:
                await self._desk.settle([row.id], payload={**signed, "tx": tx})
                await self._desk.settle(entries[1:])
                return None
            await self._desk.reject(entries, refusal.reason)
            return None

    async def _seat(self, row: Row[Any]) -> Row[Any] | None:
        query = select(seats).where(seats.c.round_id == row.round_id, seats.c.voter_id == row.voter_id)
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).first()

    async def _sent_past_us(self, row: Row[Any]) -> str | None:
        first = await opened_in(self._engine, row.round_id)
        return await self._ledger.ballot_tx(row.round_number, row.voter_index, row.payload["nonce"], first)

    async def settle_seat(self, row: Row[Any]) -> None:
        """Writes down the seat in which the voter of an included ballot votes."""
        query = (
            select(outbox.c.voter_id, voters.c.voter_index, rounds.c.chain_id)
            .join(voters, voters.c.voter_id == outbox.c.voter_id)
            .join(rounds, rounds.c.id == outbox.c.round_id)
            .where(outbox.c.transaction_id == row.id, outbox.c.kind == "ballot")
        )
        async with self._engine.connect() as connection:
            about = (await connection.execute(query)).one()
        seat = await self._ledger.own_seat(about.chain_id, about.voter_index)
        if seat is None or seat < stream.OWN_SEATS:  # one that was claimed is known
            return
        here = (seats.c.round_id == row.round_id, seats.c.voter_id == about.voter_id)
        async with self._engine.begin() as connection:
            if (await connection.execute(select(seats.c.seat).where(*here))).first() is None:
                await connection.execute(
                    insert(seats).values(
                        round_id=row.round_id, voter_id=about.voter_id, seat=seat, transaction_id=row.id, claimed=True
                    )
                )

    # ------------------------------------------------------------------ claims

    async def claim(self, look: Look) -> Draft | None:
        """Hands over the next seat that a linked voter got from a batch, in a round that is not over."""
        last = {kind: func.max(case((outbox.c.kind == kind, outbox.c.id), else_=0)) for kind in ("link", "unlink")}
        linked = (  # who ever linked a wallet, and has not let it go since
            select(outbox.c.voter_id)
            .where(outbox.c.kind.in_(("link", "unlink")), outbox.c.state.in_(("batched", "final")))
            .group_by(outbox.c.voter_id)
            .having(last["link"] > last["unlink"])
        )
        running = select(rounds.c.id).where(rounds.c.status.in_(NOT_CLOSED))
        query = (
            select(seats, voters.c.voter_index, rounds.c.chain_id.label("round_number"), rounds.c.guild_id)
            .join(voters, voters.c.voter_id == seats.c.voter_id)
            .join(rounds, rounds.c.id == seats.c.round_id)
            .where(~seats.c.claimed, seats.c.round_id.in_(running), seats.c.voter_id.in_(linked))
        )
        if look.rounds is not None:
            query = query.where(seats.c.round_id.in_(look.rounds))
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        turns = self._desk.turns("claim", look)
        for row in turns.order(rows, lambda one: (one.guild_id, one.voter_id)):
            record = self._claimed(row)
            if look.again != bool(record.times) or record.theirs() is Next.WAIT:
                continue
            if (row.round_id, row.voter_id) not in self._hopeless:
                draft = await self._claim_of(row, row.seat)
                if draft is not None:
                    turns.serve((row.guild_id, row.voter_id))
                    return draft
        return None

    def _claimed(self, row: Row[Any]) -> Record:
        return self._desk.reverts.of(reverts.seat(row.round_id, row.voter_id))

    async def _claim_of(self, row: Row[Any], seat: int) -> Draft | None:
        """`row` tells round and voter. None where there is nothing to claim, which is then written down."""
        own = await self._ledger.own_seat(row.round_number, row.voter_index)
        if own is not None:
            async with self._engine.begin() as connection:
                await connection.execute(
                    update(seats)
                    .where(seats.c.round_id == row.round_id, seats.c.voter_id == row.voter_id)
                    .values(claimed=True)
                )
            return None
        roll = await self._ledger.roll_of(row.round_number, seat, await opened_in(self._engine, row.round_id))
        if roll is not None:
            data = calls.claim(row.round_number, seat, *roll)
            try:
                return await self._desk.draft("claim", data, self._claimed(row), row.round_id)
            except LedgerRefusedError as refusal:
                log.warning("A seat in round %d could not be claimed (%s)", row.round_number, refusal.reason)
        self._hopeless.add((row.round_id, row.voter_id))
        return None

    async def settle_claim(self, connection: AsyncConnection, row: Row[Any], *, claimed: bool) -> None:
        """Writes down that a seat is the wallet's now, or that it is not after all."""
        call, _ = attempts.call_of(bytes(row.raw))
        here = (seats.c.round_id == row.round_id, seats.c.seat == calls.claimed_by(call["data"]))
        await connection.execute(update(seats).where(*here).values(claimed=claimed))
