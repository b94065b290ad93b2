"""What the ledger refused of what members signed: their votes are what they were, and no choice is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.votes import Choice
from bot.domain.wallets import SignedChoice
from bot.store import signed_ballots
from bot.store.vote_writer import VoteWriter, votes_of_member
from bot.sync.wallet_events import WalletEvents
from contracts.ledger.client import Ledger
from contracts.rpc.node import ChainUnreachableError
from migrations.schema import outbox, rounds
from tests.bot.store.test_vote_writer import MEMBER, PEPPER, add_round, add_video
from tests.bot.store.test_wallets import ask, link, on_ledger, press, sign

AWAY = "http://127.0.0.1:9"  # nobody listens there
UP, DOWN = Choice.UP, Choice.DOWN


@dataclass
class Desk:
    """The database, the vote writer, and what is tried."""

    database: AsyncEngine
    votes: VoteWriter
    events: WalletEvents


@pytest.fixture
async def desk(database: AsyncEngine) -> AsyncIterator[Desk]:
    await add_round(database, 1)
    for video in ("10", "11"):
        await add_video(database, video, 1)
    writer = VoteWriter(database, PEPPER)
    writer.start()
    async with Ledger(AWAY, "0x" + "11" * 20, timeout_s=1) as ledger:
        yield Desk(database, writer, WalletEvents(database=database, ledger=ledger, votes=writer))
    await writer.close()


async def look(desk: Desk) -> None:
    """The chain is away; what the database knows is done all the same."""
    with pytest.raises(ChainUnreachableError):
        await desk.events.look()


async def test_without_wallets_the_chain_is_not_asked(desk: Desk) -> None:
    """A community that has none costs its node nothing."""
    await desk.events.look()


async def test_a_refused_ballot_is_taken_back(desk: Desk) -> None:
    """To what was pressed before the link, or signed before this ballot; what stands is touched no second time."""
    await desk.votes.cast(press("10", UP))
    await link(desk.database)
    first = await ask(desk.database, "ballot", SignedChoice("11", 1026, UP))
    await sign(desk.database, first)
    await on_ledger(desk.database, "ballot", "final")
    await on_ledger(desk.database, "signed", "final")
    second = await ask(desk.database, "ballot", SignedChoice("10", 1025, DOWN), SignedChoice("11", 1026, DOWN))
    await sign(desk.database, second)
    assert await votes_of_member(desk.database, 1, MEMBER) == {"10": DOWN, "11": DOWN}
    async with desk.database.begin() as connection:
        pending = update(outbox).where(outbox.c.state == "pending", outbox.c.kind.in_(("ballot", "signed")))
        await connection.execute(pending.values(state="rejected", reason="late"))
    await look(desk)
    assert await votes_of_member(desk.database, 1, MEMBER) == {"10": UP, "11": UP}
    await sign(desk.database, await ask(desk.database, "ballot", SignedChoice("10", 1025, DOWN)))
    await look(desk)
    assert await votes_of_member(desk.database, 1, MEMBER) == {"10": DOWN, "11": UP}


async def test_what_was_signed_since_a_refused_ballot_stays(desk: Desk) -> None:
    """Only the choice that was refused is taken back."""
    await link(desk.database)
    await sign(desk.database, await ask(desk.database, "ballot", SignedChoice("10", 1025, UP)))
    await on_ledger(desk.database, "ballot", "rejected")
    await on_ledger(desk.database, "signed", "rejected")
    await sign(desk.database, await ask(desk.database, "ballot", SignedChoice("10", 1025, DOWN)))
    await look(desk)
    assert await votes_of_member(desk.database, 1, MEMBER) == {"10": DOWN}


async def test_what_was_chosen_under_a_link_that_was_refused_counts_by_the_button(desk: Desk) -> None:
    """The member pressed it; that the wallet could not be linked is no reason to lose it."""
    await link(desk.database, "pending")
    await desk.votes.cast(press("10", UP))
    await look(desk)
    assert await votes_of_member(desk.database, 1, MEMBER) == {}
    await on_ledger(desk.database, "link", "rejected")
    await look(desk)
    assert await votes_of_member(desk.database, 1, MEMBER) == {"10": UP}
    assert await signed_ballots.list_unsigned(desk.database, 1, MEMBER) == []


async def test_nor_is_anything_counted_after_the_round(desk: Desk) -> None:
    """A choice that nobody signed in time is dropped with its round."""
    await link(desk.database, "pending")
    await desk.votes.cast(press("10", UP))
    async with desk.database.begin() as connection:
        await connection.execute(update(rounds).values(status="closed"))
    await on_ledger(desk.database, "link", "rejected")
    await look(desk)
    assert await votes_of_member(desk.database, 1, MEMBER) == {}
    assert await signed_ballots.list_unsigned(desk.database, 1, MEMBER) == []
