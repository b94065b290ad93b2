"""Reorganisations: reopens transactions that were called final, and are no longer on the chain.

Finality by depth is a bet. When it is lost, entries go back to `batched` and the same bytes are sent again.
"""

from __future__ import annotations

import logging

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger import calldata
from contracts.relayer import attempts
from contracts.relayer.attempts import TransactionRow
from contracts.relayer.finality import Finality
from migrations.schema import chain_transactions, outbox, rounds, voters
from migrations.states.ledger import OutboxState, TransactionKind, TransactionState

log = logging.getLogger(__name__)

AT_ONCE = 64


async def reopen(database: AsyncEngine, finality: Finality, sender: str, *, thorough: bool) -> int:
    """Take back what is final in our record and not on the chain; return the number of transactions.

    Proof is another block in the place of ours. A node that knows no block of that number is merely behind. All that
    came before a block that stands was mined as well, but perhaps in another block than we knew: `thorough` checks.
    """
    mined = (chain_transactions.c.state == TransactionState.FINAL, chain_transactions.c.block_hash.is_not(None))
    query = (
        select(chain_transactions)
        .where(*mined, chain_transactions.c.sender == sender)
        .order_by(chain_transactions.c.nonce.desc())
        .limit(AT_ONCE)
    )
    async with database.connect() as connection:
        rows = (await connection.execute(query)).all()
    removed: list[TransactionRow] = []
    unknown: list[TransactionRow] = []
    for row in rows:
        block_hash = await finality.block_hash(row.block_number)
        if block_hash is None:
            unknown.append(row)
        elif block_hash != row.block_hash:
            removed += [*unknown, row]  # all blocks after a removed one are removed as well
            unknown = []
        elif thorough:
            unknown = []
        else:
            break
    for row in removed:
        async with database.begin() as connection:
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(
                    state=TransactionState.SENT, block_number=None, block_hash=None, gas_used=None, final_at_ms=None
                )
            )
            await connection.execute(
                update(outbox)
                .where(outbox.c.transaction_id == row.id, outbox.c.state == OutboxState.FINAL)
                .values(state=OutboxState.BATCHED)
            )
            if row.kind == TransactionKind.FINALIZE:
                await connection.execute(update(rounds).where(rounds.c.id == row.round_id).values(finalized_tx=None))
    if removed:
        log.warning("A reorganisation took back %d final transactions; they are sent again", len(removed))
    return len(removed)


async def forget_voters(connection: AsyncConnection, raw: bytes) -> None:
    """Clear the indices of the voters of an abandoned registration, until they are registered again."""
    call, _ = attempts.call_of(raw)
    voter_ids = [voter.hex() for voter in calldata.registered_by(call["data"])]
    await connection.execute(update(voters).where(voters.c.voter_id.in_(voter_ids)).values(voter_index=None))


async def has_latest_transaction(database: AsyncEngine, finality: Finality, sender: str) -> bool:
    """Return True if the chain, as the node has it now, holds our newest mined transaction, and with it all before."""
    query = (
        select(chain_transactions.c.block_number, chain_transactions.c.block_hash)
        .where(chain_transactions.c.sender == sender, chain_transactions.c.block_hash.is_not(None))
        .where(chain_transactions.c.state.in_((TransactionState.SENT, TransactionState.FINAL)))
        .order_by(chain_transactions.c.nonce.desc())
        .limit(1)
    )
    async with database.connect() as connection:
        newest = (await connection.execute(query)).first()
    return newest is None or await finality.stands(newest.block_number, newest.block_hash)
