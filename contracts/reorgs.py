"""What a reorganisation took back: transactions that were called final, and are no longer on the chain.

Finality by depth is a bet. When it is lost, entries go back to `batched` and the same bytes are sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts import attempts
from contracts.finality import Finality
from contracts.node import Node
from migrations.schema import chain_transactions, outbox, rounds

log = logging.getLogger(__name__)

AT_ONCE = 64


async def reopen(engine: AsyncEngine, finality: Finality, sender: str) -> int:
    """Takes back what is final in our books and not on the chain; gives how many transactions.

    Proof is another block in the place of ours. A node that knows no block of that number is merely behind.
    """
    mined = (chain_transactions.c.state == "final", chain_transactions.c.block_hash.is_not(None))
    query = (
        select(chain_transactions)
        .where(*mined, chain_transactions.c.sender == sender)
        .order_by(chain_transactions.c.id.desc())
        .limit(AT_ONCE)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    gone: Sequence[Row[Any]] = ()
    for place, row in enumerate(rows, 1):
        found = await finality.block_hash(row.block_number)
        if found == row.block_hash:
            break  # and so do all before it stand
        if found is not None:
            gone = rows[:place]
    for row in gone:
        async with engine.begin() as connection:
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(state="sent", block_number=None, block_hash=None, gas_used=None, final_at_ms=None)
            )
            await connection.execute(
                update(outbox)
                .where(outbox.c.transaction_id == row.id, outbox.c.state == "final")
                .values(state="batched")
            )
            if row.kind == "finalize":
                await connection.execute(update(rounds).where(rounds.c.id == row.round_id).values(finalized_tx=None))
    if gone:
        log.warning("A reorganisation took back %d final transactions; they are sent again", len(gone))
    return len(gone)


async def adopt(engine: AsyncEngine, node: Node, sender: str) -> bool:
    """Whether a batch that we had given up was mined after all: then it counts, and its sequence number is taken.

    Its entries have gone back to the queue meanwhile; recording the same choices once more changes nothing.
    """
    query = (
        select(chain_transactions)
        .where(chain_transactions.c.state == "reverted", chain_transactions.c.kind == "votes")
        .where(chain_transactions.c.sender == sender)
        .order_by(chain_transactions.c.id.desc())
        .limit(AT_ONCE)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    for row in rows:
        for tx in row.hashes:
            receipt = await node.receipt(tx)
            if receipt is None or not receipt.ok:
                continue
            call, _ = attempts.call_of(bytes(row.raw))
            async with engine.begin() as connection:
                await connection.execute(
                    update(chain_transactions)
                    .where(chain_transactions.c.id == row.id)
                    .values(state="sent", seq=int.from_bytes(call["data"][4:36], "big"))
                )
            log.warning("A batch that was given up was mined after all (%s)", tx)
            return True
    return False
