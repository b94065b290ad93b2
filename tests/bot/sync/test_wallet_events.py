"""What the ledger refused of what members signed: their votes are what they were, and no choice is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.app import App
from bot.domain.votes import Choice
from bot.domain.wallets import SignedChoice
from bot.store import signed_ballots
from bot.store.vote_writer import VoteWriter, votes_of_member
from bot.sync.wallet_events import Following
from contracts.ledger.client import Ledger
from contracts.rpc.node import ChainUnreachableError
from migrations.schema import outbox, rounds
from tests.bot.store.test_vote_writer import MEMBER, PEPPER, add_round, add_video
from tests.bot.store.test_wallets import ask, link, on_ledger, press, sign

AWAY = "http://127.0.0.1:9"  # nobody listens there
UP, DOWN = Choice.UP, Choice.DOWN


@pytest.fixture
async def app(database: AsyncEngine) -> AsyncIterator[App]:
    await add_round(database, 1)
    for video in ("10", "11"):
        await add_video(database, video, 1)
    writer = VoteWriter(database, PEPPER)
    writer.start()
    async with Ledger(AWAY, "0x" + "11" * 20, timeout_s=1) as ledger:
        yield cast(App, SimpleNamespace(database=database, votes=writer, ledger=ledger))
    await writer.close()


async def look(app: App) -> None:
    """The chain is away; what the database knows is done all the same."""
    with pytest.raises(ChainUnreachableError):
        await Following(app).look()


async def test_without_wallets_the_chain_is_not_asked(app: App) -> None:
    """A community that has none costs its node nothing."""
    await Following(app).look()


async def test_a_refused_ballot_is_taken_back(app: App) -> None:
    """To what was pressed before the link, or signed before this ballot; what stands is touched no second time."""
    await app.votes.cast(press("10", UP))
    await link(app.database)
    first = await ask(app.database, "ballot", SignedChoice("11", 1026, UP))
    await sign(app.database, first)
    await on_ledger(app.database, "ballot", "final")
    await on_ledger(app.database, "signed", "final")
    second = await ask(app.database, "ballot", SignedChoice("10", 1025, DOWN), SignedChoice("11", 1026, DOWN))
    await sign(app.database, second)
    assert await votes_of_member(app.database, 1, MEMBER) == {"10": DOWN, "11": DOWN}
    async with app.database.begin() as connection:
        pending = update(outbox).where(outbox.c.state == "pending", outbox.c.kind.in_(("ballot", "signed")))
        await connection.execute(pending.values(state="rejected", reason="late"))
    await look(app)
    assert await votes_of_member(app.database, 1, MEMBER) == {"10": UP, "11": UP}
    await sign(app.database, await ask(app.database, "ballot", SignedChoice("10", 1025, DOWN)))
    await look(app)
    assert await votes_of_member(app.database, 1, MEMBER) == {"10": DOWN, "11": UP}


async def test_what_was_signed_since_a_refused_ballot_stays(app: App) -> None:
    """Only the choice that was refused is taken back."""
    await link(app.database)
    await sign(app.database, await ask(app.database, "ballot", SignedChoice("10", 1025, UP)))
    await on_ledger(app.database, "ballot", "rejected")
    await on_ledger(app.database, "signed", "rejected")
    await sign(app.database, await ask(app.database, "ballot", SignedChoice("10", 1025, DOWN)))
    await look(app)
    assert await votes_of_member(app.database, 1, MEMBER) == {"10": DOWN}


async def test_what_was_chosen_under_a_link_that_was_refused_counts_by_the_button(app: App) -> None:
    """The member pressed it; that the wallet could not be linked is no reason to lose it."""
    await link(app.database, "pending")
    await app.votes.cast(press("10", UP))
    await look(app)
    assert await votes_of_member(app.database, 1, MEMBER) == {}
    await on_ledger(app.database, "link", "rejected")
    await look(app)
    assert await votes_of_member(app.database, 1, MEMBER) == {"10": UP}
    assert await signed_ballots.list_unsigned(app.database, 1, MEMBER) == []


async def test_nor_is_anything_counted_after_the_round(app: App) -> None:
    """A choice that nobody signed in time is dropped with its round."""
    await link(app.database, "pending")
    await app.votes.cast(press("10", UP))
    async with app.database.begin() as connection:
        await connection.execute(update(rounds).values(status="closed"))
    await on_ledger(app.database, "link", "rejected")
    await look(app)
    assert await votes_of_member(app.database, 1, MEMBER) == {}
    assert await signed_ballots.list_unsigned(app.database, 1, MEMBER) == []
