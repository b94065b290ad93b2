"""Members' wallets: their links and unlinks, and the seats that only they may write.

The state of a wallet follows from its entries in the outbox.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import SigningOverError, WalletLinkedError
from bot.domain.wallets import SigningRequest, Wallet, WalletState, wallet_state
from bot.store import signing_requests
from contracts.outbox import entries
from contracts.outbox.rejections import ANSWER_CHANGED, SENTENCES
from migrations.database import one_of
from migrations.schema import outbox, seats, unsigned_choices, videos, wallets
from migrations.states.ledger import OutboxKind, OutboxState

LINK, UNLINK = outbox.alias("link"), outbox.alias("unlink")


def select_wallets() -> Select[*tuple[object, ...]]:
    """Return the query for wallets with the states of their entries, which `wallet_in` reads."""
    return (
        select(
            wallets,
            LINK.c.state.label("link"),
            func.coalesce(LINK.c.reason, UNLINK.c.reason).label("reason"),
            UNLINK.c.state.label("unlink"),
        )
        .join(LINK, LINK.c.id == wallets.c.link_entry)
        .outerjoin(UNLINK, UNLINK.c.id == wallets.c.unlink_entry)
    )


def wallet_in(row: Row[*tuple[object, ...]]) -> Wallet:
    """Return the wallet in a row of `select_wallets`."""
    state = wallet_state(row.link, row.unlink)
    return Wallet(row.guild_id, row.member_id, row.voter_id, row.address, state, row.reason)


async def of_members(
    connection: AsyncConnection, members: Collection[tuple[int, int]]
) -> dict[tuple[int, int], Wallet]:
    """Return the wallets of those of the members, as (guild, member), who ever linked one."""
    if not members:
        return {}
    rows = await connection.execute(select_wallets().where(one_of(members, wallets.c.guild_id, wallets.c.member_id)))
    return {(row.guild_id, row.member_id): wallet_in(row) for row in rows}


async def of_member_or_none(database: AsyncEngine, guild_id: int, member_id: int) -> Wallet | None:
    """Return a member's wallet, also a refused or unlinked one; None where the member never linked one."""
    async with database.connect() as connection:
        return (await of_members(connection, {(guild_id, member_id)})).get((guild_id, member_id))


async def wallet_only_seats(connection: AsyncConnection, pairs: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Return those of the pairs (round, voter id) whose seat only a wallet may write, also after it was unlinked."""
    if not pairs:
        return set()
    claimed = select(seats.c.round_id, seats.c.voter_id).where(
        seats.c.claimed, one_of(pairs, seats.c.round_id, seats.c.voter_id)
    )
    signed = select(outbox.c.round_id, outbox.c.voter_id).where(
        outbox.c.kind == OutboxKind.BALLOT,
        outbox.c.video_id.is_(None),  # as all ballots are; by it and the voter there is an index
        outbox.c.state != OutboxState.REJECTED,
        outbox.c.round_id.in_({round_id for round_id, _ in pairs}),
        outbox.c.voter_id.in_({voter_id for _, voter_id in pairs}),
    )
    rows = (await connection.execute(claimed.union(signed))).all()
    return {(row.round_id, row.voter_id) for row in rows} & set(pairs)


async def is_taken(database: AsyncEngine, address: str) -> bool:
    """Return True where an address votes for somebody by our own rows, whether on the ledger yet or not."""
    async with database.connect() as connection:
        rows = await connection.execute(select_wallets().where(wallets.c.address == address))
        active = (WalletState.LINKING, WalletState.LINKED, WalletState.UNLINKING)
        return any(wallet_in(row).state in active for row in rows)


async def any_exist(database: AsyncEngine) -> bool:
    """Return True where anybody ever linked a wallet."""
    async with database.connect() as connection:
        return (await connection.execute(select(wallets.c.member_id).limit(1))).first() is not None


async def link(connection: AsyncConnection, request: SigningRequest, signature: bytes) -> None:
    """Link a wallet in the caller's transaction. From its commit on, the member's choices wait for signatures.

    Raises WalletLinkedError where the member has linked one already.
    """
    member = (request.guild_id, request.member_id)
    before = (await of_members(connection, {member})).get(member)
    if before is not None and before.state not in (WalletState.REFUSED, WalletState.UNLINKED):
        raise WalletLinkedError(address=before.address)
    entry = await entries.record_link(
        connection,
        voter_id=request.voter_id,
        wallet=request.wallet,
        nonce=request.nonce,
        deadline=request.deadline,
        signature=signature,
    )
    if before is not None:
        mine = (wallets.c.guild_id == request.guild_id, wallets.c.member_id == request.member_id)
        await connection.execute(delete(wallets).where(*mine))
    await connection.execute(
        insert(wallets).values(
            guild_id=request.guild_id,
            member_id=request.member_id,
            voter_id=request.voter_id,
            address=request.wallet,
            link_entry=entry,
        )
    )
    await signing_requests.mark_signed(connection, request, entry)


async def unlink(connection: AsyncConnection, request: SigningRequest, signature: bytes) -> None:
    """Unlink a wallet in the caller's transaction, and drop the choices that it did not sign.

    Raises SigningOverError where that wallet is not linked.
    """
    member = (request.guild_id, request.member_id)
    before = (await of_members(connection, {member})).get(member)
    if before is None or not before.signs or before.address != request.wallet:
        raise SigningOverError
    entry = await entries.record_unlink(
        connection,
        voter_id=request.voter_id,
        wallet=request.wallet,
        nonce=request.nonce,
        deadline=request.deadline,
        signature=signature,
    )
    mine = (wallets.c.guild_id == request.guild_id, wallets.c.member_id == request.member_id)
    await connection.execute(update(wallets).where(*mine).values(unlink_entry=entry))
    here = select(videos.c.id).where(
        videos.c.id == unsigned_choices.c.video_id, videos.c.guild_id == request.guild_id
    )  # checked for each choice: a guild has many more videos than a member has choices to sign
    await connection.execute(
        delete(unsigned_choices).where(unsigned_choices.c.member_id == request.member_id, here.exists())
    )
    await signing_requests.mark_signed(connection, request, entry)


async def change_times(connection: AsyncConnection, voter_id: str, since_ms: int) -> list[int]:
    """Return the times, in order, at which a voter's links and unlinks were entered since then.

    Those that others sent to the ledger are left out.
    """
    query = (
        select(outbox.c.created_at_ms, outbox.c.payload)
        .where(outbox.c.voter_id == voter_id, outbox.c.video_id.is_(None))
        .where(outbox.c.kind.in_((OutboxKind.LINK, OutboxKind.UNLINK)), outbox.c.created_at_ms > since_ms)
        .order_by(outbox.c.created_at_ms)
    )
    return [int(row.created_at_ms) for row in await connection.execute(query) if not row.payload.get("tx")]


async def count_changed_answers(connection: AsyncConnection, voter_id: str, address: str, since_ms: int) -> int:
    """Return the number of entries since then that a voter's account approved when asked and denied in a block."""
    query = (
        select(outbox.c.payload)
        .where(outbox.c.voter_id == voter_id, outbox.c.video_id.is_(None), outbox.c.created_at_ms > since_ms)
        .where(outbox.c.state == OutboxState.REJECTED, outbox.c.reason == SENTENCES[ANSWER_CHANGED])
    )
    return sum(payload.get("wallet") == address for payload in await connection.scalars(query))
