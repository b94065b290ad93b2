"""Members with a wallet: what they choose waits for a signature, and only what is signed counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import SigningOverError, WalletLinkedError, WalletSeatError, WalletUnlinkingError
from bot.domain.votes import Choice, Reaction, Vote
from bot.domain.wallets import SignedChoice, SigningRequest, Wallet
from bot.store import signed_ballots, signing_requests, wallets
from bot.store.vote_writer import VoteWriter, votes_of_member
from contracts.outbox import entries
from migrations.database import now_ms
from migrations.schema import outbox, unsigned_choices
from migrations.schema import signing_requests as request_table
from tests.bot.store.test_vote_writer import GUILD, MEMBER, PEPPER, add_round, add_video

ADDRESS = "0x" + "Ab" * 20
OTHER = MEMBER + 1


@pytest.fixture
async def writer(database: AsyncEngine) -> AsyncIterator[VoteWriter]:
    await add_round(database, 1)
    for video in ("10", "11"):
        await add_video(database, video, 1)
    writer = VoteWriter(database, PEPPER)
    writer.start()
    yield writer
    await writer.close()


def wallet_of(member: int = MEMBER) -> Wallet:
    return Wallet(GUILD, member, entries.voter_id(PEPPER, GUILD, member), ADDRESS, "linking")


async def ask(database: AsyncEngine, kind: str, *choices: SignedChoice, member: int = MEMBER) -> SigningRequest:
    return await signing_requests.add(
        database,
        wallet_of(member),
        kind,
        nonce=now_ms(),
        deadline=1,
        round_id=1,
        choices=choices,  # type: ignore[arg-type]  # a test's word
    )


async def sign(database: AsyncEngine, asked: SigningRequest) -> None:
    async with database.begin() as connection:
        await signing_requests.take(connection, asked.token)
        await {"link": wallets.link, "unlink": wallets.unlink, "ballot": signed_ballots.cast}[asked.kind](
            connection, asked, b"s" * 65
        )


async def on_ledger(database: AsyncEngine, kind: str, state: str) -> None:
    """What the relayer writes down once it knows."""
    async with database.begin() as connection:
        await connection.execute(update(outbox).where(outbox.c.kind == kind).values(state=state, reason="It said no."))


async def link(database: AsyncEngine, state: str = "final") -> None:
    await sign(database, await ask(database, "link"))
    await on_ledger(database, "link", state)


def press(video: str, choice: Choice, member: int = MEMBER) -> Vote:
    return Vote(GUILD, video, member, choice, "button")


async def kinds(database: AsyncEngine) -> list[str]:
    async with database.connect() as connection:
        return list(await connection.scalars(select(outbox.c.kind).order_by(outbox.c.id)))


@pytest.mark.parametrize("state", ["pending", "batched", "final"])
async def test_a_choice_of_a_wallet_waits_for_its_signature(
    writer: VoteWriter, database: AsyncEngine, state: str
) -> None:
    """From the moment of linking: nothing is counted or sent, and others vote as ever."""
    await link(database, state)
    standing = await writer.cast(press("10", Choice.UP))
    assert (standing.choice, standing.wallet, standing.changed) == (Choice.UP, ADDRESS, True)
    assert await signed_ballots.list_unsigned(database, 1, MEMBER) == [("10", None, Choice.UP)]
    assert await votes_of_member(database, 1, MEMBER) == {}
    other = await writer.cast(press("10", Choice.UP, OTHER))
    assert other.wallet is None
    assert await votes_of_member(database, 1, OTHER) == {"10": Choice.UP}
    assert await kinds(database) == ["link", "vote"]


async def test_the_last_choice_is_what_is_signed(writer: VoteWriter, database: AsyncEngine) -> None:
    """Changed, it replaces the former; back to what counts already, there is nothing to sign."""
    await writer.cast(press("10", Choice.UP))
    await link(database)
    await writer.cast(press("10", Choice.DOWN))
    await writer.cast(press("11", Choice.DOWN))
    await writer.cast(press("11", Choice.WITHDRAWN))
    assert await signed_ballots.list_unsigned(database, 1, MEMBER) == [("10", None, Choice.DOWN)]
    await writer.cast(press("10", Choice.UP))
    assert await signed_ballots.list_unsigned(database, 1, MEMBER) == []
    assert await votes_of_member(database, 1, MEMBER) == {"10": Choice.UP}


async def test_reactions_of_a_wallet_wait_too(writer: VoteWriter, database: AsyncEngine) -> None:
    """A reaction chooses; taken off, it takes back only the choice that it was."""
    await link(database)
    up = Reaction(GUILD, 5010, MEMBER, Choice.UP, "added")
    assert (await writer.react(up)).wallet == ADDRESS
    assert await signed_ballots.list_unsigned(database, 1, MEMBER) == [("10", None, Choice.UP)]
    await writer.react(Reaction(GUILD, 5010, MEMBER, Choice.UP, "removed"))
    assert await signed_ballots.list_unsigned(database, 1, MEMBER) == []
    await writer.cast(press("10", Choice.UP))
    await writer.react(Reaction(GUILD, 5010, MEMBER, Choice.DOWN, "removed"))
    assert await signed_ballots.list_unsigned(database, 1, MEMBER) == [("10", None, Choice.UP)]


async def test_what_was_signed_counts_and_what_was_chosen_since_waits(
    writer: VoteWriter, database: AsyncEngine
) -> None:
    """A second thought between asking and signing is not lost."""
    await link(database)
    await writer.cast(press("10", Choice.UP))
    await writer.cast(press("11", Choice.UP))
    asked = await ask(database, "ballot", SignedChoice("10", 1025, Choice.UP), SignedChoice("11", 1026, Choice.UP))
    await writer.cast(press("11", Choice.DOWN))
    await sign(database, asked)
    assert await votes_of_member(database, 1, MEMBER) == {"10": Choice.UP, "11": Choice.UP}
    assert await signed_ballots.list_unsigned(database, 1, MEMBER) == [("11", None, Choice.DOWN)]
    assert await kinds(database) == ["link", "ballot", "signed", "signed"]
    async with database.connect() as connection:
        assert await signed_ballots.count_cast(connection, 1, wallet_of().voter_id) == 1


async def test_a_request_is_signed_once(writer: VoteWriter, database: AsyncEngine) -> None:
    """Two windows, one press too many: the second is told, and nothing is doubled."""
    await link(database)
    asked = await ask(database, "ballot", SignedChoice("10", 1025, Choice.UP))
    told = await asyncio.gather(sign(database, asked), sign(database, asked), return_exceptions=True)
    assert sorted(type(one) for one in told if one) == [SigningOverError]
    assert (await kinds(database)).count("ballot") == 1
    with pytest.raises(SigningOverError):
        await signing_requests.get(database, asked.token)


async def test_an_old_request_is_over(database: AsyncEngine) -> None:
    """And so is one that never was; a new one forgets those that nobody signed."""
    asked = await ask(database, "link")
    assert (await signing_requests.get(database, asked.token)) == asked
    async with database.begin() as connection:
        await connection.execute(update(request_table).values(expires_at_ms=now_ms() - 1))
    for token in (asked.token, "x" * 22, ""):
        with pytest.raises(SigningOverError):
            await signing_requests.get(database, token)
    await ask(database, "link")
    async with database.connect() as connection:
        assert len((await connection.execute(select(request_table))).all()) == 1


async def test_one_wallet_at_a_time(writer: VoteWriter, database: AsyncEngine) -> None:
    """Two requests were open; the first that is signed wins. After a refusal or an unlink there may be another."""
    first, second = await ask(database, "link"), await ask(database, "link")
    await sign(database, first)
    with pytest.raises(WalletLinkedError):
        await sign(database, second)
    assert await wallets.is_taken(database, ADDRESS)
    await on_ledger(database, "link", "rejected")
    assert not await wallets.is_taken(database, ADDRESS)
    found = await wallets.of_member_or_none(database, GUILD, MEMBER)
    assert found is not None
    assert (found.state, found.reason) == ("refused", "It said no.")
    assert (await writer.cast(press("10", Choice.UP))).wallet is None
    await link(database)
    assert (await writer.cast(press("10", Choice.UP))).wallet == ADDRESS


async def test_unlinked_the_buttons_count_again_but_not_where_the_wallet_voted(
    writer: VoteWriter, database: AsyncEngine
) -> None:
    """While it is under way nothing is taken; a round in which the wallet sits stays the wallet's."""
    await add_round(database, 2)
    await add_video(database, "20", 2)
    await link(database)
    await writer.cast(press("10", Choice.UP))
    await sign(database, await ask(database, "ballot", SignedChoice("10", 1025, Choice.UP)))
    await writer.cast(press("11", Choice.UP))
    await sign(database, await ask(database, "unlink"))
    async with database.connect() as connection:
        assert (await connection.execute(select(unsigned_choices))).all() == []
    for video in ("10", "20"):
        with pytest.raises(WalletUnlinkingError):
            await writer.cast(press(video, Choice.DOWN))
    await on_ledger(database, "unlink", "final")
    with pytest.raises(WalletSeatError, match="round 1"):
        await writer.cast(press("10", Choice.DOWN))
    assert (await writer.cast(press("20", Choice.DOWN))).wallet is None
    assert await votes_of_member(database, 1, MEMBER) == {"10": Choice.UP}


async def test_a_ballot_of_a_wallet_that_is_no_longer_linked_is_refused(
    writer: VoteWriter, database: AsyncEngine
) -> None:
    """A request that was made before the unlink is not worth anything after it."""
    await link(database)
    asked = await ask(database, "ballot", SignedChoice("10", 1025, Choice.UP))
    await sign(database, await ask(database, "unlink"))
    for late in (asked, await ask(database, "unlink")):
        with pytest.raises(SigningOverError):
            await sign(database, late)
    assert await votes_of_member(database, 1, MEMBER) == {}
    assert (await signing_requests.get(database, asked.token)).kind == "ballot"  # rolled back with the rest
