"""What becomes of a signed transaction, written down: in a block, final, or dead, and what the ledger gave by it."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger.batch_codec import decode_arrivals
from contracts.ledger.client import Ledger, from_hex
from contracts.relayer import attempts, reorgs, reverts
from contracts.relayer.planning.draft import mark
from contracts.relayer.planning.planner import Drafts
from contracts.rpc.node import ChainUnreachableError, LedgerRefusedError, NodeRefusedError, Receipt
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, rounds, seats

log = logging.getLogger(__name__)


class RevertedError(LedgerRefusedError):
    """A block has a transaction of ours that did nothing, although the ledger had agreed to it."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"ledger: a transaction of kind {kind} was reverted, and is drafted anew")


class Outcomes:
    """Writes them down, each in one transaction of the database. `drafts` learns the numbers that the ledger gave."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger, drafts: Drafts) -> None:
        self._engine = engine
        self._ledger = ledger
        self._drafts = drafts

    async def change(self, transaction: int, **values: Any) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(
                update(chain_transactions).where(chain_transactions.c.id == transaction).values(**values)
            )

    async def abandon(self, row: Row[Any], receipt: Receipt | None = None) -> None:
        """The transaction did nothing and never will: its entries wait again, and its sequence number is free.

        With a receipt, a block has it, and it was reverted: that is noted with what it was for.
        """
        blamed = receipt is not None and not await self._barred(row, receipt)
        async with self._engine.begin() as connection:
            if blamed:
                await reverts.note(connection, row.id, await reverts.subjects_of(connection, row))
            told = {} if receipt is None else await _place(connection, row, receipt)
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(state="reverted", seq=None, **told)
            )
            carried = list(
                await connection.scalars(
                    select(outbox.c.id).where(outbox.c.transaction_id == row.id, outbox.c.state == "batched")
                )
            )
            await mark(connection, carried, "pending", transaction_id=None)
            given = (seats.c.round_id == row.round_id, seats.c.transaction_id == row.id)
            await connection.execute(delete(seats).where(*given))
            if row.kind == "voters":
                await reorgs.forget_voters(connection, bytes(row.raw))
            elif row.kind == "claim":
                await self._drafts.wallets.settle_claim(connection, row, claimed=False)

    async def _barred(self, row: Row[Any], receipt: Receipt) -> bool:
        """Whether the ledger took nothing from us in that block: then no entry is to blame."""
        try:
            if await self._ledger.paused(receipt.block_number):
                return True
            return not await self._ledger.is_relayer(row.sender, receipt.block_number)
        except (NodeRefusedError, LedgerRefusedError):  # a node that keeps no state of earlier blocks
            return False

    async def included(self, row: Row[Any], receipt: Receipt) -> None:
        """It is in a block: writes down which, and the numbers that the ledger gave. Raises RevertedError."""
        if not receipt.ok:
            await self.abandon(row, receipt)
            # drafting it again asks the contract for the reason, and refuses the entry that is to blame
            raise RevertedError(row.kind)
        if row.kind in ("round", "video"):
            async with self._engine.connect() as connection:
                entry = (await connection.execute(select(outbox).where(outbox.c.transaction_id == row.id))).one()
            key = from_hex(entry.payload["key"])
            if row.kind == "round":
                await self._drafts.settle_round(entry.round_id, _given(await self._ledger.round_of(key)))
            else:
                await self._drafts.settle_video(entry.video_id, _given(await self._ledger.video_of(key)))
        elif row.kind == "voters":
            async for event in self._ledger.events(receipt.block_number, receipt.block_number):
                if event.name == "VotersRegistered" and event.tx == receipt.tx:
                    first = int(event.args["first"])
                    named = [bytes(voter).hex() for voter in event.args["voter_ids"]]
                    await self._drafts.votes.settle_voters({voter: first + place for place, voter in enumerate(named)})
        elif row.kind == "votes":
            async for event in self._ledger.events(receipt.block_number, receipt.block_number):
                if event.name == "VotesRecorded" and event.tx == receipt.tx:
                    newcomers = decode_arrivals(list(event.args["arrivals"]))
                    given = {voter: event.args["first_seat"] + place for place, voter in enumerate(newcomers)}
                    await self._drafts.votes.settle_seats(row.round_id, given, transaction_id=row.id)
        elif row.kind == "ballot":
            await self._drafts.wallets.settle_seat(row)
        elif row.kind == "claim":
            async with self._engine.begin() as connection:
                await self._drafts.wallets.settle_claim(connection, row, claimed=True)
        async with self._engine.begin() as connection:
            place = await _place(connection, row, receipt)
            await connection.execute(
                update(chain_transactions).where(chain_transactions.c.id == row.id).values(state="sent", **place)
            )

    async def final(self, row: Row[Any], receipt: Receipt) -> None:
        """It stands for good, and so does what it carried."""
        async with self._engine.begin() as connection:
            await reverts.forget(connection, await reverts.subjects_of(connection, row))
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(state="final", final_at_ms=now_ms())
            )
            await connection.execute(
                update(outbox)
                .where(outbox.c.transaction_id == row.id, outbox.c.state == "batched")
                .values(state="final")
            )
            if row.kind == "finalize":
                await connection.execute(
                    update(rounds).where(rounds.c.id == row.round_id).values(finalized_tx=receipt.tx)
                )
            carried = select(outbox.c.video_id).where(outbox.c.transaction_id == row.id, outbox.c.video_id.is_not(None))
            of_videos = list(await connection.scalars(carried.distinct()))
        log.info(
            "Transaction %d is final in block %d.",
            row.nonce,
            receipt.block_number,
            extra={"kind": row.kind, "round": row.round_id, "videos": of_videos, "tx": receipt.tx},
        )


def _given(number: int) -> int:
    """A number that the ledger gave. Raises ChainUnreachableError for none: receipt and state are of two chains."""
    if not number:
        raise ChainUnreachableError(
            "The chain's node tells of a transaction that its state does not have; asking again."
        )
    return number


def receipt_of(row: Row[Any]) -> Receipt:
    """The receipt as we wrote it down."""
    return Receipt(row.hashes[-1], True, int(row.block_number), row.block_hash, int(row.gas_used or 0), None)


async def _place(connection: AsyncConnection, row: Row[Any], receipt: Receipt) -> dict[str, Any]:
    """The columns that tell where a transaction was mined; the hash that was mined comes last."""
    return {
        "hashes": await attempts.hashes(connection, row.id, receipt.tx),
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "gas_used": receipt.gas_used,
    }
