"""What members are asked to sign, and what of it is taken: against a real ledger on the embedded chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards.wallets import wallet_words
from bot.domain.errors import (
    AccountChangesError,
    ChainAwayError,
    MemberError,
    NoRoundError,
    NothingToSignError,
    NotOnChainYetError,
    SignatureError,
    TooLateToSignError,
    TooManyBallotsError,
    TooManyChangesError,
    WalletLinkedError,
    WalletMissingError,
    WalletTakenError,
    WalletUnlinkingError,
)
from bot.domain.votes import Choice, Vote
from bot.signing import requests as signing
from bot.signing.requests import SigningRequests
from bot.store import signed_ballots, wallets
from bot.store.vote_writer import VoteWriter, votes_of_member
from contracts.deploy import deploy
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger
from contracts.ledger.typed_data import Domain, link_message, unlink_message
from contracts.outbox.entries import voter_id
from contracts.outbox.rejections import ANSWER_CHANGED, SENTENCES
from migrations.database import now_ms
from migrations.schema import outbox, rounds, videos
from tests.bot.store.test_vote_writer import GUILD, MEMBER, PEPPER, add_round, add_video
from tests.builders.accounts import YES, member, sign
from tests.builders.chain_process import ChainProcess

ANA, BEN = member(1), member(2)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainProcess]:
    process = ChainProcess(tmp_path_factory.mktemp("chain"))
    yield process
    process.stop()


@pytest.fixture
async def ledger(chain: ChainProcess, tmp_path: Path) -> AsyncIterator[Ledger]:
    deployed = await deploy(chain.url, chain.signer, tmp_path / "ledger.json")
    async with Ledger(chain.url, deployed.address) as ledger:
        yield ledger


@dataclass
class Desk:
    """The database and the vote writer."""

    database: AsyncEngine
    votes: VoteWriter


@pytest.fixture
async def desk(database: AsyncEngine) -> AsyncIterator[Desk]:
    """A round with two videos, the first of which is on the chain."""
    await add_round(database, 1)
    for video in ("10", "11"):
        await add_video(database, video, 1)
    async with database.begin() as connection:
        await connection.execute(update(rounds).values(chain_id=1))
        await connection.execute(update(videos).where(videos.c.id == "10").values(chain_id=1025))
    votes = VoteWriter(database, PEPPER)
    votes.start()
    yield Desk(database, votes)
    await votes.close()


@pytest.fixture
def signing_(desk: Desk, ledger: Ledger) -> SigningRequests:
    return requests_of(desk.database, ledger)


def requests_of(database: AsyncEngine, ledger: Ledger) -> SigningRequests:
    return SigningRequests(database=database, ledger=ledger, pepper=PEPPER, on_signed=lambda: None)


async def link(signing_: SigningRequests, account: Any = ANA, member_id: int = MEMBER) -> None:
    asked = await signing_.link(GUILD, member_id, account.address)
    await signing_.sign(asked.token, "0x" + sign(account, await signing_.message(asked)).hex())


async def choose(desk: Desk, video: str, choice: Choice) -> None:
    await desk.votes.cast(Vote(GUILD, video, MEMBER, choice, "button"))


async def send(chain: ChainProcess, ledger: Ledger, data: bytes) -> None:
    """As the relayer sends it."""
    signer, node = chain.signer, ledger.node
    call = {"chainId": await node.chain_id(), "nonce": await node.nonce(signer.address), "to": ledger.address}
    fees = {"gas": 5_000_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0, "value": 0}
    signed = await signer.sign({**call, **fees, "data": data})
    await node.send(signed.raw)
    assert (await node.wait(signed.tx)).ok


async def test_a_ballot_holds_what_can_be_signed_now(desk: Desk, signing_: SigningRequests) -> None:
    """A video that is not on the chain yet waits; the deadline is the round's, and each nonce above the last."""
    await link(signing_)
    await choose(desk, "10", Choice.UP)
    await choose(desk, "11", Choice.DOWN)
    first, second = await signing_.ballot(GUILD, MEMBER), await signing_.ballot(GUILD, MEMBER)
    assert [(one.video_id, one.number, one.choice) for one in first.choices] == [("10", 1025, Choice.UP)]
    assert first.nonce < second.nonce
    message = await signing_.message(second)
    assert message["message"]["deadline"] * 1000 >= now_ms()
    await signing_.sign(second.token, sign(ANA, message).hex())
    assert await votes_of_member(desk.database, 1, MEMBER) == {"10": Choice.UP}
    with pytest.raises(NotOnChainYetError):
        await signing_.ballot(GUILD, MEMBER)


async def refused(work: Any, error: type[MemberError]) -> str:
    with pytest.raises(error) as told:
        await work
    return str(told.value.sentence)


async def test_what_there_is_nothing_to_sign_for(desk: Desk, signing_: SigningRequests) -> None:
    """Each with a sentence that says what to do."""
    assert "/wallet link" in await refused(signing_.ballot(GUILD, MEMBER), WalletMissingError)
    await refused(signing_.unlink(GUILD, MEMBER), WalletMissingError)
    await link(signing_)
    await refused(signing_.ballot(GUILD, MEMBER), NothingToSignError)
    assert ANA.address in await refused(signing_.link(GUILD, MEMBER, BEN.address), WalletLinkedError)
    asked = await signing_.unlink(GUILD, MEMBER)
    await signing_.sign(asked.token, sign(ANA, await signing_.message(asked)).hex())
    for again in (signing_.ballot(GUILD, MEMBER), signing_.unlink(GUILD, MEMBER)):
        await refused(again, WalletUnlinkingError)
    await refused(signing_.link(GUILD, MEMBER, BEN.address), WalletUnlinkingError)
    await refused(signing_.link(GUILD, MEMBER + 1, ANA.address), WalletTakenError)


async def test_a_ballot_is_not_asked_for_or_taken_when_it_would_come_too_late(
    desk: Desk, signing_: SigningRequests
) -> None:
    """The ledger gives it no grace; the choice is kept. After the round there is nothing to sign."""
    await link(signing_)
    await choose(desk, "10", Choice.UP)
    asked = await signing_.ballot(GUILD, MEMBER)
    late = now_ms() + round(signing.LAST_S * 500)
    async with desk.database.begin() as connection:
        await connection.execute(update(rounds).values(closes_at_ms=late))
    await refused(signing_.ballot(GUILD, MEMBER), TooLateToSignError)
    signature = sign(ANA, await signing_.message(asked)).hex()
    await refused(signing_.sign(asked.token, signature), TooLateToSignError)
    assert await votes_of_member(desk.database, 1, MEMBER) == {}
    assert await signed_ballots.list_unsigned(desk.database, 1, MEMBER) == [("10", 1025, Choice.UP)]
    async with desk.database.begin() as connection:
        await connection.execute(update(rounds).values(status="closed"))
    await refused(signing_.ballot(GUILD, MEMBER), NothingToSignError)


async def test_we_do_not_pay_for_any_number_of_ballots(desk: Desk, signing_: SigningRequests) -> None:
    """At the limit the last choices stand; others are not concerned."""
    await link(signing_)
    await choose(desk, "10", Choice.UP)
    mine = voter_id(PEPPER, GUILD, MEMBER)
    row = {"kind": "ballot", "round_id": 1, "voter_id": mine, "payload": {}, "state": "final", "created_at_ms": 1}
    async with desk.database.begin() as connection:
        await connection.execute(insert(outbox), [row] * (signing.MOST_BALLOTS - 1))
    await signing_.ballot(GUILD, MEMBER)
    async with desk.database.begin() as connection:
        await connection.execute(insert(outbox), [row])
    assert str(signing.MOST_BALLOTS) in await refused(signing_.ballot(GUILD, MEMBER), TooManyBallotsError)


async def test_requests_that_were_kept_do_not_pass_the_limit_of_ballots(desk: Desk, signing_: SigningRequests) -> None:
    """What counts is what was signed when a ballot is entered: two requests for the last place are one ballot."""
    await link(signing_)
    await choose(desk, "10", Choice.UP)
    mine = voter_id(PEPPER, GUILD, MEMBER)
    row = {"kind": "ballot", "round_id": 1, "voter_id": mine, "payload": {}, "state": "final", "created_at_ms": 1}
    async with desk.database.begin() as connection:
        await connection.execute(insert(outbox), [row] * (signing.MOST_BALLOTS - 1))
    asked = [await signing_.ballot(GUILD, MEMBER) for _ in range(4)]
    signatures = [sign(ANA, await signing_.message(one)).hex() for one in asked]
    told = await asyncio.gather(
        *(signing_.sign(one.token, signature) for one, signature in zip(asked, signatures, strict=True)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in told) == ["SigningRequest"] + ["TooManyBallotsError"] * 3
    async with desk.database.connect() as connection:
        assert await signed_ballots.count_cast(connection, 1, mine) == signing.MOST_BALLOTS
    assert await votes_of_member(desk.database, 1, MEMBER) == {"10": Choice.UP}


async def changed(desk: Desk, count: int, *, created_at_ms: int, payload: dict[str, Any] | None = None) -> None:
    """The member has linked or unlinked so often."""
    mine = voter_id(PEPPER, GUILD, MEMBER)
    row = {"kind": "unlink", "voter_id": mine, "payload": payload or {}, "state": "final"}
    async with desk.database.begin() as connection:
        await connection.execute(insert(outbox), [{**row, "created_at_ms": created_at_ms}] * count)


async def test_a_member_changes_wallets_only_so_often_in_a_day(desk: Desk, signing_: SigningRequests) -> None:
    """At the limit neither a link nor an unlink is asked for or taken; the sentence says when there is room again."""
    await link(signing_)
    asked = await signing_.unlink(GUILD, MEMBER)
    await changed(desk, signing.MOST_CHANGES - 1, created_at_ms=now_ms() - 23 * 3_600_000)
    said = await refused(signing_.unlink(GUILD, MEMBER), TooManyChangesError)
    assert f"{signing.MOST_CHANGES} times within a day" in said
    assert "in 1 hour." in said
    signature = sign(ANA, await signing_.message(asked)).hex()
    await refused(signing_.sign(asked.token, signature), TooManyChangesError)
    linked = await wallets.of_member_or_none(desk.database, GUILD, MEMBER)
    assert linked is not None
    assert linked.state == "linking", "the unlink was not taken"
    assert (await signing_.link(GUILD, MEMBER + 1, BEN.address)).wallet == BEN.address, "others are not concerned"


async def test_what_is_long_past_or_cost_us_nothing_leaves_room_to_change(
    desk: Desk, signing_: SigningRequests
) -> None:
    """The twin: yesterday's changes, and unlinks that a wallet sent itself, count for nothing."""
    await link(signing_)
    await changed(desk, signing.MOST_CHANGES, created_at_ms=now_ms() - signing.DAY_MS - 1000)
    await changed(desk, signing.MOST_CHANGES, created_at_ms=now_ms(), payload={"tx": "0x1"})
    asked = await signing_.unlink(GUILD, MEMBER)
    assert await signing_.sign(asked.token, sign(ANA, await signing_.message(asked)).hex())


async def test_an_account_that_denied_in_blocks_what_it_had_agreed_to_is_not_asked_again_today(
    desk: Desk, signing_: SigningRequests
) -> None:
    """We paid for each of them in vain. Another account of the member is welcome, and so is this one once."""
    mine = voter_id(PEPPER, GUILD, MEMBER)
    row = {
        "kind": "link", "voter_id": mine, "payload": {"wallet": ANA.address}, "state": "rejected",
        "reason": SENTENCES[ANSWER_CHANGED], "created_at_ms": now_ms(),
    }  # fmt: skip
    async with desk.database.begin() as connection:
        await connection.execute(insert(outbox).values(**row))
    await signing_.link(GUILD, MEMBER, ANA.address)
    async with desk.database.begin() as connection:
        await connection.execute(insert(outbox).values(**row))
    assert ANA.address in await refused(signing_.link(GUILD, MEMBER, ANA.address), AccountChangesError)
    await link(signing_, BEN)
    await choose(desk, "10", Choice.UP)
    await signing_.ballot(GUILD, MEMBER)


async def test_an_unlink_that_was_refused_is_told_where_the_wallet_is_shown(
    desk: Desk, signing_: SigningRequests
) -> None:
    """The wallet votes on, and `/wallet show` says why it was not unlinked."""
    await link(signing_)
    asked = await signing_.unlink(GUILD, MEMBER)
    await signing_.sign(asked.token, sign(ANA, await signing_.message(asked)).hex())
    async with desk.database.begin() as connection:
        await connection.execute(update(outbox).where(outbox.c.kind == "link").values(state="final"))
        refusal = {"state": "rejected", "reason": SENTENCES[ANSWER_CHANGED]}
        await connection.execute(update(outbox).where(outbox.c.kind == "unlink").values(**refusal))
    found = await wallets.of_member_or_none(desk.database, GUILD, MEMBER)
    assert found is not None
    assert found.state == "linked"
    assert f"It could not be unlinked: {SENTENCES[ANSWER_CHANGED]}" in wallet_words(found)
    assert "unlinked" not in wallet_words(replace(found, reason=None))


async def test_the_ledger_is_asked_who_has_a_wallet_already(
    desk: Desk, signing_: SigningRequests, chain: ChainProcess, ledger: Ledger
) -> None:
    """Linked by another server's bot, or before our database began: the member reads it before they sign."""
    voter, nonce, deadline = b"v" * 32, now_ms() + 10**6, now_ms() // 1000 + 600
    await send(chain, ledger, calls.register([voter]))
    message = link_message(Domain(await ledger.node.chain_id(), ledger.address), ANA.address, voter, nonce, deadline)
    await send(chain, ledger, calls.link(voter, ANA.address, nonce, deadline, sign(ANA, message)))
    await refused(signing_.link(GUILD, MEMBER, ANA.address), WalletTakenError)
    assert (await signing_.link(GUILD, MEMBER, BEN.address)).wallet == BEN.address
    await send(chain, ledger, calls.unlink(voter, *await unlink_by(ledger, voter, nonce + 5, deadline)))
    assert (await signing_.link(GUILD, MEMBER, ANA.address)).nonce == nonce + 6  # above what the wallet has used


async def unlink_by(ledger: Ledger, voter: bytes, nonce: int, deadline: int) -> tuple[int, int, bytes]:
    domain = Domain(await ledger.node.chain_id(), ledger.address)
    return nonce, deadline, sign(ANA, unlink_message(domain, ANA.address, voter, nonce, deadline))


async def test_a_smart_account_says_itself_what_it_signed(
    desk: Desk, signing_: SigningRequests, chain: ChainProcess, ledger: Ledger
) -> None:
    """By EIP-1271; an account without code, or with code that says no, did not sign."""
    wallet = await put(chain, ledger, YES)
    asked = await signing_.link(GUILD, MEMBER, wallet)
    assert (await signing_.sign(asked.token, "0x" + "ab" * 80)).wallet == wallet
    no = await put(chain, ledger, bytes.fromhex("60006000fd"))
    for address in (no, BEN.address):
        asked = await signing_.link(GUILD, MEMBER + 1, address)
        await refused(signing_.sign(asked.token, "0x" + "ab" * 80), SignatureError)


async def put(chain: ChainProcess, ledger: Ledger, code: bytes) -> str:
    """An account with this code."""
    signer, node = chain.signer, ledger.node
    init = bytes.fromhex(f"61{len(code):04x}600e60003961{len(code):04x}6000f3") + code
    call = {"chainId": await node.chain_id(), "nonce": await node.nonce(signer.address), "data": init, "value": 0}
    signed = await signer.sign({**call, "gas": 500_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0})
    await node.send(signed.raw)
    address = (await node.wait(signed.tx)).contract
    assert address is not None
    assert await node.code(address) == code
    return address


async def test_without_the_chain_nothing_is_lost(desk: Desk, ledger: Ledger) -> None:
    """A sentence; and a server without any round says so."""
    signing_ = requests_of(desk.database, ledger)
    await link(signing_)
    await choose(desk, "10", Choice.UP)
    async with Ledger("http://127.0.0.1:9", ledger.address, timeout_s=1) as away:
        alone = requests_of(desk.database, away)
        await refused(alone.ballot(GUILD, MEMBER), ChainAwayError)
        await refused(alone.link(GUILD, MEMBER + 1, BEN.address), ChainAwayError)
    assert await signed_ballots.list_unsigned(desk.database, 1, MEMBER) == [("10", 1025, Choice.UP)]
    await link(signing_, BEN, MEMBER + 1)
    async with desk.database.begin() as connection:
        await connection.execute(update(rounds).values(guild_id=GUILD + 1))
    await refused(signing_.ballot(GUILD, MEMBER), NoRoundError)
