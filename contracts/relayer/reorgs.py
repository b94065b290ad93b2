"""What a reorganisation took back: transactions that were called final, and are no longer on the chain.

Finality by depth is a bet. When it is lost, entries go back to `batched` and the same bytes are sent again.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger import calldata as calls
from contracts.relayer import attempts
from contracts.relayer.finality import Finality
from migrations.schema import chain_transactions, outbox, rounds, voters

log = logging.getLogger(__name__)

AT_ONCE = 64


async def reopen(engine: AsyncEngine, finality: Finality, sender: str, *, thorough: bool) -> int:
    """Takes back what is final in our books and not on the chain; gives how many transactions.

    Proof is another block in the place of ours. A node that knows no block of that number is merely behind. What came
    before a block that stands was mined as well, but perhaps in another block than we knew: `thorough` finds that out.
    """
    mined = (chain_transactions.c.state == "final", chain_transactions.c.block_hash.is_not(None))
    query = (
        select(chain_transactions)
        .where(*mined, chain_transactions.c.sender == sender)
        .order_by(chain_transactions.c.nonce.desc())
        .limit(AT_ONCE)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    gone: list[Row[Any]] = []
    unknown: list[Row[Any]] = []
    for row in rows:
        found = await finality.block_hash(row.block_number)
        if found is None:
            unknown.append(row)
        elif found != row.block_hash:
            gone += [*unknown, row]  # with a block, all that came after it are gone
            unknown = []
        elif thorough:
            unknown = []
        else:
            break
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


async def forget_voters(connection: AsyncConnection, raw: bytes) -> None:
    """Voters of a registration that is given up have no number, until they are registered again."""
    call, _ = attempts.call_of(raw)
    listed = [voter.hex() for voter in calls.registered_by(call["data"])]
    await connection.execute(update(voters).where(voters.c.voter_id.in_(listed)).values(voter_index=None))


async def all_there(engine: AsyncEngine, finality: Finality, sender: str) -> bool:
    """Whether the chain, as it is told now, has our newest mined transaction, and with it all before."""
    query = (
        select(chain_transactions.c.block_number, chain_transactions.c.block_hash)
        .where(chain_transactions.c.sender == sender, chain_transactions.c.block_hash.is_not(None))
        .where(chain_transactions.c.state.in_(("sent", "final")))
        .order_by(chain_transactions.c.nonce.desc())
        .limit(1)
    )
    async with engine.connect() as connection:
        newest = (await connection.execute(query)).first()
    return newest is None or await finality.stands(newest.block_number, newest.block_hash)
