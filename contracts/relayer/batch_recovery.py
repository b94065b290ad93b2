"""Batches of ours that stand on the ledger although we think otherwise: what counts is the digest, and not who sent it.

The rolling digest after a batch fixes its content and everything before it. Where the ledger's equals the one that we
stored, the batch is ours, whatever transaction brought it there; any other means another writer.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger
from contracts.relayer import attempts
from contracts.relayer.planning.draft import opened_in
from contracts.rpc.node import ChainUnreachableError, Node
from migrations.schema import chain_transactions

log = logging.getLogger(__name__)

AT_ONCE = 64


async def elsewhere(engine: AsyncEngine, ledger: Ledger, row: Row[Any]) -> bool:
    """Whether the batch of a transaction that did nothing is on the ledger all the same.

    Then the hash that brought it is one of the row's from now on, and its receipt counts for the entries.
    """
    if row.kind != "votes" or row.seq is None or await _digest(ledger) != row.digest:
        return False
    tx = await _bringer(engine, ledger, row)
    async with engine.begin() as connection:
        known = await attempts.hashes(connection, row.id, tx)
        await connection.execute(
            update(chain_transactions).where(chain_transactions.c.id == row.id).values(hashes=known)
        )
    log.warning("Batch %d came to the ledger by another transaction than its own (%s); it counts", row.seq, tx)
    return True


async def adopt(engine: AsyncEngine, ledger: Ledger, sender: str) -> bool:
    """Whether a batch that we had given up is on the ledger after all: then it counts, and its number is taken.

    Its entries have gone back to the queue meanwhile; recording the same choices once more changes nothing. What the
    row is called says little: the nonce of a batch that was given up may be signed again for an empty transaction.
    """
    query = (  # by what is rare: all transactions are of this sender, or nearly
        select(chain_transactions)
        .where(or_(chain_transactions.c.state == "reverted", chain_transactions.c.kind == "noop"))
        .where(chain_transactions.c.digest.is_not(None))
        .order_by(chain_transactions.c.id.desc())
        .limit(AT_ONCE)
    )
    async with engine.connect() as connection:
        rows = [row for row in await connection.execute(query) if row.sender == sender]
    standing = await _digest(ledger)
    for row in rows:
        for attempt in await attempts.of(engine, row):
            seq = calls.batch_of(attempts.call_of(attempt.raw)[0]["data"])
            if seq is None:
                continue
            tx = await _mined(ledger.node, attempt.tx)
            if tx is None and row.digest == standing:
                tx = await _bringer(engine, ledger, row)
            if tx is None:
                continue
            async with engine.begin() as connection:
                known = await attempts.hashes(connection, row.id, tx)
                place = {"block_number": None, "block_hash": None, "gas_used": None, "final_at_ms": None}
                await connection.execute(
                    update(chain_transactions)
                    .where(chain_transactions.c.id == row.id)
                    .values(kind="votes", state="sent", seq=seq, raw=attempt.raw, hashes=known, **place)
                )
            log.warning("A batch that was given up was mined after all (%s)", tx)
            return True
    return False


async def _mined(node: Node, tx: str) -> str | None:
    receipt = await node.receipt(tx)
    return tx if receipt is not None and receipt.ok else None


async def _digest(ledger: Ledger) -> str:
    return "0x" + (await ledger.digest()).hex()


async def _bringer(engine: AsyncEngine, ledger: Ledger, row: Row[Any]) -> str:
    """The transaction of the ledger's latest batch, which is this row's. Raises ChainUnreachableError for none."""
    tx = await ledger.batch_tx(await ledger.seq() - 1, await opened_in(engine, row.round_id))
    if tx is None:
        raise ChainUnreachableError("The chain's node does not tell who brought our latest batch; asking again.")
    return tx
