"""The fate of a signed transaction, written down: in a block, final or dead, and the numbers that the ledger gave."""

from __future__ import annotations

import logging

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger.batch_codec import decode_arrivals
from contracts.ledger.client import Ledger, from_hex
from contracts.relayer import attempts, reorgs, reverts
from contracts.relayer.attempts import TransactionRow
from contracts.relayer.planning.draft import mark
from contracts.relayer.planning.planner import Planner
from contracts.rpc.node import ChainUnreachableError, LedgerRefusedError, NodeRefusedError, Receipt
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, rounds, seats
from migrations.states.ledger import OutboxState, TransactionKind, TransactionState

log = logging.getLogger(__name__)

# The kinds of transactions by which the ledger gives a number to the one entry that they carry.
NUMBERED = (TransactionKind.ROUND, TransactionKind.VIDEO, TransactionKind.BATTLE, TransactionKind.COMMITMENT)
NOT_MINED = {"block_number": None, "block_hash": None, "gas_used": None}  # the columns of a row that no block holds


class RevertedError(LedgerRefusedError):
    """A block holds a transaction of ours that did nothing, although the ledger had agreed to it."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"ledger: a transaction of kind {kind} was reverted, and is drafted anew")


class Settlement:
    """Writes down what became of transactions, each in one transaction of the database.

    `planner` learns the numbers that the ledger gave.
    """

    def __init__(self, database: AsyncEngine, ledger: Ledger, planner: Planner) -> None:
        self._database = database
        self._ledger = ledger
        self._planner = planner

    async def update(self, transaction: int, **values: object) -> None:
        """Set columns of a transaction's row."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(chain_transactions).where(chain_transactions.c.id == transaction).values(**values)
            )

    async def abandon(self, row: TransactionRow, receipt: Receipt | None = None) -> None:
        """Give up a transaction that did nothing and never will: its entries wait again, its sequence number is free.

        With a receipt, a block holds it and it was reverted: the revert is noted with what the transaction was for.
        """
        blamed = receipt is not None and not await self._is_barred(row, receipt)
        async with self._database.begin() as connection:
            if blamed:
                await reverts.note(connection, row.id, await reverts.subjects_of(connection, row))
            place = {} if receipt is None else await _place(connection, row, receipt)
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(state=TransactionState.REVERTED, seq=None, **place)
            )
            carried = list(
                await connection.scalars(
                    select(outbox.c.id).where(outbox.c.transaction_id == row.id, outbox.c.state == OutboxState.BATCHED)
                )
            )
            await mark(connection, carried, OutboxState.PENDING, transaction_id=None)
            seats_given = (seats.c.round_id == row.round_id, seats.c.transaction_id == row.id)
            await connection.execute(delete(seats).where(*seats_given))
            if row.kind == TransactionKind.VOTERS:
                await reorgs.forget_voters(connection, bytes(row.raw))
            elif row.kind == TransactionKind.CLAIM:
                await self._planner.wallets.store_claim(connection, row, claimed=False)

    async def _is_barred(self, row: TransactionRow, receipt: Receipt) -> bool:
        """Return True if the ledger took nothing from us in that block: then no entry is to blame."""
        try:
            if await self._ledger.paused(receipt.block_number):
                return True
            return not await self._ledger.is_relayer(row.sender, receipt.block_number)
        except (NodeRefusedError, LedgerRefusedError):  # a node that keeps no state of earlier blocks
            return False

    async def record_inclusion(self, row: TransactionRow, receipt: Receipt) -> None:
        """Write down the block that holds a transaction, and the numbers that the ledger gave by it.

        Raises RevertedError where the transaction did nothing.
        """
        if not receipt.ok:
            await self.abandon(row, receipt)
            # Drafting it again asks the contract for the reason, and rejects the entry that is to blame.
            raise RevertedError(row.kind)
        if row.kind in NUMBERED:
            await self._store_number(row)
        elif row.kind == TransactionKind.VOTERS:
            await self._store_voter_indices(receipt)
        elif row.kind == TransactionKind.VOTES:
            await self._store_seats(row, receipt)
        elif row.kind == TransactionKind.BALLOT:
            await self._planner.wallets.store_own_seat(row)
        elif row.kind == TransactionKind.CLAIM:
            async with self._database.begin() as connection:
                await self._planner.wallets.store_claim(connection, row, claimed=True)
        async with self._database.begin() as connection:
            place = await _place(connection, row, receipt)
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(state=TransactionState.SENT, **place)
            )

    async def _store_number(self, row: TransactionRow) -> None:
        """Write down the number that the ledger gave to a round, video, battle or commitment."""
        async with self._database.connect() as connection:
            entry = (await connection.execute(select(outbox).where(outbox.c.transaction_id == row.id))).one()
        if row.kind == TransactionKind.COMMITMENT:
            number = _require_number(await self._planner.commitments.number_of(entry.id))
            await self._planner.commitments.store_number(entry.id, number)
            return
        key = from_hex(entry.payload["key"])
        if row.kind == TransactionKind.ROUND:
            number = _require_number(await self._ledger.round_of(key))
            await self._planner.store_round_number(entry.round_id, number)
            return
        number = _require_number(await self._ledger.video_of(key))
        if row.kind == TransactionKind.BATTLE:
            await self._planner.battles.store_number(entry.video_id, number)
        else:
            await self._planner.store_video_number(entry.video_id, number)

    async def _store_voter_indices(self, receipt: Receipt) -> None:
        """Write down the indices that a registration gave, by the log of its block."""
        async for event in self._ledger.events(receipt.block_number, receipt.block_number):
            if event.name == "VotersRegistered" and event.tx == receipt.tx:
                first = int(event.args["first"])
                voter_ids = [bytes(voter).hex() for voter in event.args["voter_ids"]]
                await self._planner.votes.store_voter_indices(
                    {voter: first + place for place, voter in enumerate(voter_ids)}
                )

    async def _store_seats(self, row: TransactionRow, receipt: Receipt) -> None:
        """Write down the seats that a batch gave, by the log of its block."""
        async for event in self._ledger.events(receipt.block_number, receipt.block_number):
            if event.name == "VotesRecorded" and event.tx == receipt.tx:
                newcomers = decode_arrivals(list(event.args["arrivals"]))
                seat_of = {voter: event.args["first_seat"] + place for place, voter in enumerate(newcomers)}
                await self._planner.votes.store_seats(row.round_id, seat_of, transaction_id=row.id)

    async def record_finality(self, row: TransactionRow, receipt: Receipt) -> None:
        """Write down that a transaction stands for good, and with it the entries that it carried."""
        async with self._database.begin() as connection:
            await reverts.forget(connection, await reverts.subjects_of(connection, row))
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(state=TransactionState.FINAL, final_at_ms=now_ms())
            )
            await connection.execute(
                update(outbox)
                .where(outbox.c.transaction_id == row.id, outbox.c.state == OutboxState.BATCHED)
                .values(state=OutboxState.FINAL)
            )
            if row.kind == TransactionKind.FINALIZE:
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


def _require_number(number: int) -> int:
    """Return a number that the ledger gave.

    Raises ChainUnreachableError where it gave none: the receipt and the state are those of two chains.
    """
    if not number:
        raise ChainUnreachableError(
            "The chain's node tells of a transaction that its state does not have; asking again."
        )
    return number


def receipt_of(row: TransactionRow) -> Receipt:
    """Return the receipt as we stored it."""
    return Receipt(row.hashes[-1], True, int(row.block_number), row.block_hash, int(row.gas_used or 0), None)


async def _place(connection: AsyncConnection, row: TransactionRow, receipt: Receipt) -> dict[str, object]:
    """Return the columns that say where a transaction was mined; the hash that was mined comes last."""
    return {
        "hashes": await attempts.hashes(connection, row.id, receipt.tx),
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "gas_used": receipt.gas_used,
    }
