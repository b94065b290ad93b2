"""Wallet events on the ledger that we did not send: each is entered in the outbox as final, and counts."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.votes import Choice
from bot.domain.wallets import SignedChoice
from bot.store import signed_ballots
from contracts.ledger.wallet_events import Cast, Unlinked
from contracts.outbox import entries
from migrations.schema import chain_transactions, outbox, rounds, videos, voters, wallets
from migrations.states.ledger import OutboxKind, OutboxState, TransactionKind


async def first_block_to_read(database: AsyncEngine, latest: int) -> int:
    """Return the first block that may hold events for us: that of the oldest round that is not final, or `latest`."""
    query = select(func.min(chain_transactions.c.block_number)).where(
        chain_transactions.c.kind == TransactionKind.ROUND,
        chain_transactions.c.round_id.in_(select(rounds.c.id).where(rounds.c.finalized_tx.is_(None))),
    )
    async with database.connect() as connection:
        block = await connection.scalar(query)
    return latest if block is None else int(block)


async def record_ballot(connection: AsyncConnection, cast: Cast) -> bool:
    """Record a signed ballot that we did not send. Return False where we sent it, or where the voter is unknown.

    Choices that the same wallet signed later, and that we have still to send, are not overwritten.
    """
    query = (
        select(rounds.c.id, voters.c.voter_id, wallets.c.member_id)
        .join(wallets, wallets.c.guild_id == rounds.c.guild_id)
        .join(voters, voters.c.voter_id == wallets.c.voter_id)
        .where(rounds.c.chain_id == cast.round, voters.c.voter_index == cast.voter)
    )
    voter = (await connection.execute(query)).first()
    if voter is None:
        return False
    mine = (outbox.c.round_id == voter.id, outbox.c.voter_id == voter.voter_id)
    recorded = (
        await connection.execute(
            select(outbox.c.payload, outbox.c.state).where(outbox.c.kind == OutboxKind.BALLOT, *mine)
        )
    ).all()
    if any(row.payload["nonce"] == cast.nonce for row in recorded):
        return False
    in_ballot = select(videos.c.id, videos.c.chain_id).where(
        videos.c.round_id == voter.id, videos.c.chain_id.in_([number for number, _ in cast.choices])
    )
    by_number = {row.chain_id: row.id for row in await connection.execute(in_ballot)}
    choices = [
        SignedChoice(by_number[number], number, Choice(choice))
        for number, choice in cast.choices
        if number in by_number
    ]
    await entries.record_ballot(
        connection,
        round_id=voter.id,
        voter_id=voter.voter_id,
        wallet=cast.wallet,
        choices=[(choice.video_id, choice.number, int(choice.choice)) for choice in choices],
        nonce=cast.nonce,
        deadline=cast.deadline,
        signature=cast.signature,
        tx=cast.tx,
    )
    later = {
        number
        for row in recorded
        if row.payload["nonce"] > cast.nonce and row.state != OutboxState.REJECTED
        for number, _ in row.payload["choices"]
    }
    uncontested = [choice for choice in choices if choice.number not in later]
    if uncontested:
        await signed_ballots.record_choices(connection, voter.member_id, uncontested)
    return True


async def record_unlink(connection: AsyncConnection, event: Unlinked) -> bool:
    """Record that a wallet no longer votes for its member. Return False where we knew, or where we know no link."""
    query = (
        select(wallets)
        .join(voters, voters.c.voter_id == wallets.c.voter_id)
        .where(voters.c.voter_index == event.voter, wallets.c.address == event.wallet)
        .where(wallets.c.unlink_entry.is_(None))
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return False
    entry = await entries.record_unlink(
        connection, voter_id=row.voter_id, wallet=row.address, nonce=event.nonce, deadline=0, signature=b"", tx=event.tx
    )
    mine = (wallets.c.guild_id == row.guild_id, wallets.c.member_id == row.member_id)
    await connection.execute(update(wallets).where(*mine).values(unlink_entry=entry))
    return True
