"""Ballots that members' wallets signed, and choices that wait for a signature."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import SigningOverError
from bot.domain.votes import Choice
from bot.domain.wallets import SignedChoice, SigningRequest, Wallet
from bot.store import signing_requests as requests
from bot.store import wallets
from contracts.outbox import entries
from contracts.outbox.progress import CHOICES
from migrations.database import now_ms, upsert_into
from migrations.schema import outbox, signing_requests, unsigned_choices, videos, votes
from migrations.schema import wallets as wallet_table
from migrations.states.community import VideoStatus, VoteSource
from migrations.states.ledger import OutboxKind, OutboxState


async def cast(connection: AsyncConnection, request: SigningRequest, signature: bytes) -> None:
    """Record a signed ballot in the caller's transaction. Its choices count from the commit on.

    Raises SigningOverError where that wallet is not linked.
    """
    member = (request.guild_id, request.member_id)
    wallet = (await wallets.of_members(connection, {member})).get(member)
    if wallet is None or not wallet.signs or wallet.address != request.wallet or request.round_id is None:
        raise SigningOverError
    entry = await entries.record_ballot(
        connection,
        round_id=request.round_id,
        voter_id=request.voter_id,
        wallet=request.wallet,
        choices=[(choice.video_id, choice.number, int(choice.choice)) for choice in request.choices],
        nonce=request.nonce,
        deadline=request.deadline,
        signature=signature,
    )
    await record_choices(connection, request.member_id, request.choices)
    await requests.mark_signed(connection, request, entry)


async def record_choices(connection: AsyncConnection, member_id: int, choices: Sequence[SignedChoice]) -> None:
    """Record choices that a member's wallet signed as votes.

    A choice that the member has changed since still waits for a signature.
    """
    upsert = upsert_into(connection, votes)
    now = now_ms()
    await connection.execute(
        upsert.on_conflict_do_update(
            index_elements=["video_id", "member_id"],
            set_={name: upsert.excluded[name] for name in ("choice", "source", "cast_at_ms")},
        ),
        [
            {
                "video_id": choice.video_id,
                "member_id": member_id,
                "choice": int(choice.choice),
                "source": str(VoteSource.WALLET),
                "cast_at_ms": now,
            }
            for choice in choices
        ],
    )
    unchanged = [
        and_(unsigned_choices.c.video_id == choice.video_id, unsigned_choices.c.choice == int(choice.choice))
        for choice in choices
    ]
    await connection.execute(delete(unsigned_choices).where(unsigned_choices.c.member_id == member_id, or_(*unchanged)))


async def list_unsigned(database: AsyncEngine, round_id: int, member_id: int) -> list[tuple[str, int | None, Choice]]:
    """Return a member's unsigned choices in a round: the video, its number on the ledger or None, the choice."""
    query = (
        select(unsigned_choices.c.video_id, videos.c.chain_id, unsigned_choices.c.choice)
        .join(videos, videos.c.id == unsigned_choices.c.video_id)
        .where(videos.c.round_id == round_id, videos.c.status == VideoStatus.PUBLISHED)
        .where(unsigned_choices.c.member_id == member_id)
        .order_by(unsigned_choices.c.chosen_at_ms, videos.c.id)
    )
    async with database.connect() as connection:
        return [(row.video_id, row.chain_id, Choice(row.choice)) for row in await connection.execute(query)]


async def count_cast(connection: AsyncConnection, round_id: int, voter_id: str) -> int:
    """Return the number of signed ballots of a voter that we took in a round."""
    query = select(func.count()).where(
        outbox.c.kind == OutboxKind.BALLOT, outbox.c.round_id == round_id, outbox.c.voter_id == voter_id
    )
    return int(await connection.scalar(query) or 0)


async def unsigned_of_rejected_links(database: AsyncEngine) -> list[tuple[Wallet, str, Choice, VoteSource]]:
    """Return the unsigned choices of members whose link the ledger rejected: wallet, video, choice and source."""
    async with database.connect() as connection:
        # Thousands of entries of votes may have been rejected, so the query names the kind of entry.
        links = wallets.select_wallets().where(
            wallets.LINK.c.state == OutboxState.REJECTED,
            wallets.LINK.c.kind == OutboxKind.LINK,
            wallets.LINK.c.voter_id == wallet_table.c.voter_id,
        )
        rejected = [wallets.wallet_in(row) for row in await connection.execute(links)]
        choices = []
        for wallet in rejected:
            query = (
                select(unsigned_choices)
                .join(videos, videos.c.id == unsigned_choices.c.video_id)
                .where(videos.c.guild_id == wallet.guild_id, unsigned_choices.c.member_id == wallet.member_id)
                .order_by(unsigned_choices.c.chosen_at_ms)
            )
            rows = (await connection.execute(query)).all()
            choices += [(wallet, row.video_id, Choice(row.choice), VoteSource(row.source)) for row in rows]
        return choices


async def delete_unsigned(database: AsyncEngine, video_id: str, member_id: int) -> None:
    """Delete an unsigned choice that was cast in another way, or that can no longer be cast."""
    mine = (unsigned_choices.c.video_id == video_id, unsigned_choices.c.member_id == member_id)
    async with database.begin() as connection:
        await connection.execute(delete(unsigned_choices).where(*mine))


def _select_rejected() -> Select[*tuple[object, ...]]:
    """Return the query for requests of signed ballots that the ledger rejected and that were not taken back yet."""
    return (
        select(signing_requests)
        .join(outbox, outbox.c.id == signing_requests.c.entry)
        .where(outbox.c.kind == OutboxKind.BALLOT, outbox.c.state == OutboxState.REJECTED)
    )


async def any_rejected(database: AsyncEngine) -> bool:
    """Return True where the ledger rejected a ballot whose votes still count here."""
    async with database.connect() as connection:
        return (await connection.execute(_select_rejected().limit(1))).first() is not None


async def take_back_rejected(connection: AsyncConnection) -> int:
    """Restore the votes from before each ballot that the ledger rejected; return the number of such ballots."""
    # In the order in which `lock_member` locks them: a member may be signing again at this moment.
    locked = _select_rejected().order_by(signing_requests.c.token).with_for_update(of=signing_requests)
    rejected = (await connection.execute(locked)).all()
    for row in rejected:
        for video_id, _, choice in row.content["choices"]:
            previous = await connection.scalar(
                select(outbox.c.choice)
                .where(outbox.c.video_id == video_id, outbox.c.voter_id == row.content["voter_id"])
                .where(outbox.c.kind.in_(CHOICES), outbox.c.state != OutboxState.REJECTED)
                .order_by(outbox.c.id.desc())
                .limit(1)
            )
            mine = (votes.c.video_id == video_id, votes.c.member_id == row.member_id, votes.c.choice == choice)
            await connection.execute(
                update(votes).where(*mine, votes.c.source == VoteSource.WALLET).values(choice=previous or 0)
            )
        await connection.execute(delete(signing_requests).where(signing_requests.c.token == row.token))
    return len(rejected)
