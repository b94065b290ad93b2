"""Finds batches of ours on the ledger that our record does not have there. The digest counts, whoever sent the batch.

The rolling digest after a batch fixes its content and everything before it. Where the ledger's digest equals a stored
one, the batch is ours, whatever transaction brought it there; any other digest means another writer.
"""

from __future__ import annotations

import logging

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger import calldata
from contracts.ledger.client import Ledger
from contracts.relayer import attempts
from contracts.relayer.attempts import TransactionRow
from contracts.relayer.planning.draft import opened_in
from contracts.rpc.node import ChainUnreachableError, Node
from migrations.schema import chain_transactions
from migrations.states.ledger import TransactionKind, TransactionState

log = logging.getLogger(__name__)

AT_ONCE = 64


async def recover_by_digest(database: AsyncEngine, ledger: Ledger, row: TransactionRow) -> bool:
    """Return True if the batch of a transaction that did nothing is on the ledger all the same.

    The hash that brought it there is then one of the row's from now on, and its receipt counts for the entries.
    """
    if row.kind != TransactionKind.VOTES or row.seq is None or await _digest(ledger) != row.digest:
        return False
    tx = await _transaction_of_latest_batch(database, ledger, row)
    async with database.begin() as connection:
        hashes = await attempts.hashes(connection, row.id, tx)
        await connection.execute(
            update(chain_transactions).where(chain_transactions.c.id == row.id).values(hashes=hashes)
        )
    log.warning("Batch %d came to the ledger by another transaction than its own (%s); it counts", row.seq, tx)
    return True


async def recover_abandoned(database: AsyncEngine, ledger: Ledger, sender: str) -> bool:
    """Return True if an abandoned batch is on the ledger after all: it then counts, and its number is taken.

    Its entries have gone back to the queue meanwhile; recording the same choices once more changes nothing. The row's
    kind proves little: the nonce of an abandoned batch may have been signed again for an empty transaction.
    """
    query = (  # by what is rare: all transactions are of this sender, or nearly
        select(chain_transactions)
        .where(
            or_(
                chain_transactions.c.state == TransactionState.REVERTED,
                chain_transactions.c.kind == TransactionKind.NOOP,
            )
        )
        .where(chain_transactions.c.digest.is_not(None))
        .order_by(chain_transactions.c.id.desc())
        .limit(AT_ONCE)
    )
    async with database.connect() as connection:
        rows = [row for row in await connection.execute(query) if row.sender == sender]
    ledger_digest = await _digest(ledger)
    for row in rows:
        for attempt in await attempts.of(database, row):
            seq = calldata.batch_of(attempts.call_of(attempt.raw)[0]["data"])
            if seq is None:
                continue
            tx = await _mined(ledger.node, attempt.tx)
            if tx is None and row.digest == ledger_digest:
                tx = await _transaction_of_latest_batch(database, ledger, row)
            if tx is None:
                continue
            async with database.begin() as connection:
                hashes = await attempts.hashes(connection, row.id, tx)
                no_block = {"block_number": None, "block_hash": None, "gas_used": None, "final_at_ms": None}
                await connection.execute(
                    update(chain_transactions)
                    .where(chain_transactions.c.id == row.id)
                    .values(kind=TransactionKind.VOTES, state=TransactionState.SENT, seq=seq, raw=attempt.raw)
                    .values(hashes=hashes, **no_block)
                )
            log.warning("A batch that was given up was mined after all (%s)", tx)
            return True
    return False


async def _mined(node: Node, tx: str) -> str | None:
    receipt = await node.receipt(tx)
    return tx if receipt is not None and receipt.ok else None


async def _digest(ledger: Ledger) -> str:
    return "0x" + (await ledger.digest()).hex()


async def _transaction_of_latest_batch(database: AsyncEngine, ledger: Ledger, row: TransactionRow) -> str:
    """Return the transaction of the ledger's latest batch, which is this row's.

    Raises ChainUnreachableError where the node does not have it.
    """
    tx = await ledger.batch_tx(await ledger.seq() - 1, await opened_in(database, row.round_id))
    if tx is None:
        raise ChainUnreachableError("The chain's node does not tell who brought our latest batch; asking again.")
    return tx
