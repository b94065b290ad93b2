"""Requests to sign: read while they stand, taken by one transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import SigningOverError
from bot.domain.votes import Choice
from bot.domain.wallets import SignedChoice, Wallet, WalletState
from bot.store import signing_requests
from migrations.database import now_ms
from migrations.schema import signing_requests as table
from migrations.states.community import SigningKind

WALLET = Wallet(1, 2, "v", "0x" + "Ab" * 20, WalletState.LINKED)


async def test_a_request_is_read_as_it_was_added_and_taken_once(database: AsyncEngine) -> None:
    """Its choices included; once it is signed it is over."""
    request = await signing_requests.add(
        database, WALLET, SigningKind.BALLOT, nonce=3, deadline=99, choices=[SignedChoice("7", 1, Choice.UP)]
    )
    assert await signing_requests.get(database, request.token) == request
    async with database.begin() as connection:
        await signing_requests.lock_member(connection, request)
        await signing_requests.take(connection, request.token)
        with pytest.raises(SigningOverError):
            await signing_requests.take(connection, request.token)
        await signing_requests.mark_signed(connection, request, 5)
    with pytest.raises(SigningOverError):
        await signing_requests.get(database, request.token)


async def test_an_unknown_token_is_no_request(database: AsyncEngine) -> None:
    with pytest.raises(SigningOverError):
        await signing_requests.get(database, "x" * 22)


async def test_a_request_that_expires_while_it_waits_is_over(database: AsyncEngine) -> None:
    """It stood when it was read, and no more when its turn to be signed came."""
    request = await signing_requests.add(database, WALLET, SigningKind.LINK, nonce=3, deadline=99)
    assert await signing_requests.get(database, request.token) == request
    async with database.begin() as connection:
        await connection.execute(update(table).values(expires_at_ms=now_ms()))
        with pytest.raises(SigningOverError):
            await signing_requests.take(connection, request.token)
