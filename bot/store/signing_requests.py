"""Requests to members' wallets to sign: added, read once, taken by one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import SigningOverError
from bot.domain.votes import Choice
from bot.domain.wallets import Names, SignedChoice, SigningRequest, Wallet
from migrations.database import now_ms, take_turns
from migrations.schema import signing_requests
from migrations.states.community import SigningKind

REQUEST_S = 15 * 60  # seconds for which a request can be signed


async def add(
    database: AsyncEngine,
    wallet: Wallet,
    kind: SigningKind,
    *,
    nonce: int,
    deadline: int,
    round_id: int | None = None,
    round_number: int = 0,
    choices: Sequence[SignedChoice] = (),
    names: Names = Names(),  # noqa: B008  # frozen
) -> SigningRequest:
    """Add a request to sign, and return it. Expired requests of this member are deleted."""
    now = now_ms()
    token, expires = secrets.token_urlsafe(16), now + REQUEST_S * 1000
    content = {
        "voter_id": wallet.voter_id,
        "nonce": nonce,
        "deadline": deadline,
        "round": round_number,
        "choices": [[choice.video_id, choice.number, int(choice.choice)] for choice in choices],
        "names": {"server": names.server, "member": names.member},
    }
    mine = (signing_requests.c.guild_id == wallet.guild_id, signing_requests.c.member_id == wallet.member_id)
    async with database.begin() as connection:
        await connection.execute(
            delete(signing_requests).where(
                *mine, signing_requests.c.expires_at_ms < now, signing_requests.c.entry.is_(None)
            )
        )
        await connection.execute(
            insert(signing_requests).values(
                token=token,
                guild_id=wallet.guild_id,
                member_id=wallet.member_id,
                kind=str(kind),
                wallet=wallet.address,
                round_id=round_id,
                content=content,
                created_at_ms=now,
                expires_at_ms=expires,
            )
        )
    return SigningRequest(
        token=token,
        guild_id=wallet.guild_id,
        member_id=wallet.member_id,
        voter_id=wallet.voter_id,
        kind=kind,
        wallet=wallet.address,
        nonce=nonce,
        deadline=deadline,
        expires_at_ms=expires,
        round_id=round_id,
        round_number=round_number,
        choices=tuple(choices),
        names=names,
    )


async def get(database: AsyncEngine, token: str) -> SigningRequest:
    """Return a request that can still be signed. Raises SigningOverError where there is none."""
    async with database.connect() as connection:
        row = (await connection.execute(select(signing_requests).where(*_signable(token)))).first()
    if row is None:
        raise SigningOverError
    return SigningRequest(
        token=row.token,
        guild_id=row.guild_id,
        member_id=row.member_id,
        voter_id=row.content["voter_id"],
        kind=SigningKind(row.kind),
        wallet=row.wallet,
        nonce=row.content["nonce"],
        deadline=row.content["deadline"],
        expires_at_ms=row.expires_at_ms,
        round_id=row.round_id,
        round_number=row.content["round"],
        choices=tuple(SignedChoice(video, number, Choice(choice)) for video, number, choice in row.content["choices"]),
        names=Names(**row.content.get("names", {})),  # a request of an earlier version has none
    )


async def take(connection: AsyncConnection, token: str) -> None:
    """Take a request for the caller's transaction alone.

    Raises SigningOverError where another transaction has it, or where it expired while this one waited for its turn.
    """
    claimed = await connection.execute(update(signing_requests).where(*_signable(token)).values(entry=0))
    if claimed.rowcount != 1:
        raise SigningOverError


async def lock_member(connection: AsyncConnection, request: SigningRequest) -> None:
    """Lock a member until the transaction ends: nobody else signs for them, so what it counts stays true."""
    await take_turns(connection, "signing", request.guild_id, request.member_id)
    mine = (signing_requests.c.guild_id == request.guild_id, signing_requests.c.member_id == request.member_id)
    query = select(signing_requests.c.token).where(*mine).order_by(signing_requests.c.token)
    await connection.execute(query.with_for_update())  # SQLite has one writer at a time anyway


async def mark_signed(connection: AsyncConnection, request: SigningRequest, entry: int) -> None:
    """Record the outbox entry that a signed request became."""
    await connection.execute(
        update(signing_requests).where(signing_requests.c.token == request.token).values(entry=entry)
    )


def _signable(token: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which a request can be signed now."""
    return (
        signing_requests.c.token == token,
        signing_requests.c.entry.is_(None),
        signing_requests.c.expires_at_ms > now_ms(),
    )
