"""Transactions that the ledger agreed to and a block reverted: they end, and hold up nobody else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from contracts.audit.audit import audit
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger, Tally, from_hex
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.outbox.rejections import ANSWER_CHANGED, SENTENCES, UNEXPLAINED
from contracts.relayer import reverts
from contracts.relayer.attempts import call_of
from contracts.relayer.planning.draft import Draft
from contracts.relayer.relayer import Relayer
from contracts.relayer.reverts import Record, Revert, Reverts
from contracts.rpc.node import LedgerError, LedgerRefusedError
from migrations.schema import chain_transactions, voters
from migrations.schema import reverts as noted
from tests.builders.accounts import CHEAP_ONLY, YES, changing, member
from tests.builders.relayed_community import (
    FIRST,
    PEPPER,
    QUICK,
    Community,
    begin_round,
    forget_lease,
    nonce_and_deadline,
    rejection_reasons,
    relay_all,
    send_by_hand,
)

ETHER = 10**18
NO, BURN = 1, 2  # what an account that changes its mind is told by its owner
SAID = SENTENCES[ANSWER_CHANGED]


class Attacker:
    """An account of the chain with smart accounts, which it turns around just before a block has our transaction."""

    def __init__(self, ledger: Ledger, chain: Any) -> None:
        self.ledger = ledger
        self.node = ledger.node
        self.chain = chain
        self.key: LocalAccount = Account.create()
        self.lies: dict[str, tuple[str, int]] = {}  # account -> the function for which it turns around, and to what
        self.turned = 0
        self._send = self.node.send

    async def begin(self) -> None:
        """Has some coin, and looks at what the relayer sends."""
        fees = await self.node.fees()
        signed = await self.chain.signer.sign(
            {
                "chainId": await self.node.chain_id(), "nonce": await self.node.nonce(self.chain.signer.address),
                "to": self.key.address, "data": b"", "value": ETHER, "gas": 21_000,
                "maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.tip,
            }
        )  # fmt: skip
        await self._send(signed.raw)
        assert (await self.node.wait(signed.tx)).ok
        self.node.send = self.send  # type: ignore[method-assign]  # they see the mempool, and pay for their place

    async def do(self, to: str, data: bytes) -> str | None:
        """Sends a transaction of their own; gives the address of a contract that it made."""
        fees = await self.node.fees()
        call = {
            "chainId": await self.node.chain_id(), "nonce": await self.node.nonce(self.key.address), "to": to,
            "data": data, "value": 0, "gas": 500_000, "maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.tip,
        }  # fmt: skip
        signed = self.key.sign_transaction(call)
        await self._send(bytes(signed.raw_transaction))
        receipt = await self.node.wait("0x" + bytes(signed.hash).hex())
        assert receipt.ok
        return receipt.contract

    async def account(self, code: bytes, function: str = "", to: int = NO) -> str:
        """A smart account of this code; it turns around where the relayer calls this function for it."""
        address = await self.do("", bytes.fromhex(f"61{len(code):04x}80600d6000396000f300") + code)
        assert address is not None
        assert await self.node.code(address) == code
        if function:
            self.lies[address] = (function, to)
        return address

    async def send(self, raw: bytes) -> bool:
        data = call_of(raw)[0]["data"]
        called = calls._encoder().decode_function_input(data)[0].fn_name
        lying = [
            (address, to)
            for address, (function, to) in self.lies.items()
            if called == function and (bytes.fromhex(address[2:]) in data or function == "unlink")
        ]
        for address, to in lying:
            self.turned += 1
            await self.do(address, bytes([to]))
        try:
            return await self._send(raw)
        finally:
            for address, _ in lying:
                await self.do(address, bytes([0]))


@pytest.fixture
def relayer(community: Community, ledger: Ledger, chain: Any) -> Relayer:
    return Relayer(community.engine, ledger, chain.signer, QUICK)


@pytest.fixture
async def attacker(ledger: Ledger, chain: Any) -> Attacker:
    made = Attacker(ledger, chain)
    await made.begin()
    return made


async def link(community: Community, number: int, wallet: str) -> str:
    """The member pastes any bytes as the signature of a smart account."""
    voter, about = outbox.voter_id(PEPPER, 7, number), nonce_and_deadline()
    async with community.engine.begin() as connection:
        await outbox.record_link(
            connection, voter_id=voter, wallet=wallet, nonce=about[0], deadline=about[1], signature=b"\1" * 64
        )
    return voter


async def unlink(community: Community, number: int, wallet: str) -> None:
    voter, about = outbox.voter_id(PEPPER, 7, number), nonce_and_deadline()
    async with community.engine.begin() as connection:
        await outbox.record_unlink(
            connection, voter_id=voter, wallet=wallet, nonce=about[0], deadline=about[1], signature=b"\1" * 64
        )


async def cast(community: Community, round_id: int, number: int, wallet: str, choice: int) -> None:
    voter, about = outbox.voter_id(PEPPER, 7, number), nonce_and_deadline()
    async with community.engine.begin() as connection:
        await outbox.record_ballot(
            connection, round_id=round_id, voter_id=voter, wallet=wallet, choices=[("a", FIRST, choice)],
            nonce=about[0], deadline=about[1], signature=b"\1" * 64,
        )  # fmt: skip


async def work(relayer: Relayer, community: Community) -> None:
    """Ticks as the loop does, until nothing waits any more: a revert is told, and it goes on."""
    for _ in range(200):
        try:
            await relay_all(relayer)
        except LedgerRefusedError:
            continue
        if "pending" not in await community.states():
            return
    raise AssertionError(f"it does not end: {await community.states()}")


async def reverted(community: Community, kind: str) -> list[str]:
    return [row.state for row in await community.sent(kind)]


# ------------------------------------------------------------ accounts that lie


@pytest.mark.parametrize("to", [NO, BURN])
async def test_an_account_that_says_no_in_the_block_is_tried_twice_and_holds_up_nobody(
    community: Community, ledger: Ledger, relayer: Relayer, attacker: Attacker, chain: Any, to: int
) -> None:
    """Votes that came later are recorded meanwhile; the member reads why, and nothing more is sent for them."""
    round_id = await begin_round(community, relayer)
    await link(community, 66, await attacker.account(changing(), "link", to))
    await community.vote(round_id, "a", *[(one, 1) for one in range(1, 6)])
    await work(relayer, community)
    assert await reverted(community, "link") == ["reverted", "reverted"]
    assert await rejection_reasons(community, "link") == [SAID]
    assert await community.states("vote") == {"final": 5}
    [first, second] = await community.sent("link")
    [batch] = await community.sent("votes")
    assert first.nonce < batch.nonce < second.nonce, "not even its second try came before the votes"
    assert await ledger.tally(FIRST) == Tally(5, 0)
    assert attacker.turned == 2
    assert await relayer.tick() is False
    async with community.engine.connect() as connection:
        assert (await connection.execute(select(noted))).all() == [], "what is over is forgotten"
    assert (await audit(chain.url, ledger.address, database=community.engine, pepper=PEPPER)).ok


async def test_an_honest_smart_account_links_votes_and_unlinks(
    community: Community, ledger: Ledger, relayer: Relayer, attacker: Attacker
) -> None:
    """The twin: nothing of it is tried twice."""
    round_id = await begin_round(community, relayer)
    honest = await attacker.account(YES)
    await link(community, 66, honest)
    await cast(community, round_id, 66, honest, 1)
    await unlink(community, 66, honest)
    await work(relayer, community)
    assert set(await community.states()) == {"final"}
    assert await ledger.tally(FIRST) == Tally(1, 0)
    assert [await reverted(community, kind) for kind in ("link", "ballot", "unlink")] == [["final"]] * 3


async def test_an_account_that_looks_at_the_price_is_found_out_before_it_costs_anything(
    community: Community, ledger: Ledger, relayer: Relayer, attacker: Attacker
) -> None:
    """What is sent is simulated with the price that is sent: yes for nothing and no for money is no."""
    round_id = await begin_round(community, relayer)
    await link(community, 66, await attacker.account(CHEAP_ONLY))
    await community.vote(round_id, "a", (1, 1))
    await relay_all(relayer)
    assert await community.sent("link") == []
    assert await rejection_reasons(community, "link") == ["The ledger does not accept the signature as the wallet's."]
    assert await ledger.tally(FIRST) == Tally(1, 0)


@pytest.mark.parametrize("to", [NO, BURN])
async def test_an_account_that_lies_only_about_its_ballot_holds_up_nobody(
    community: Community, ledger: Ledger, relayer: Relayer, attacker: Attacker, to: int
) -> None:
    """The link stands, the ballot is given up with its choices, and the round ends without it."""
    round_id = await begin_round(community, relayer)
    liar = await attacker.account(changing(), "cast_signed", to)
    voter = await link(community, 66, liar)
    await work(relayer, community)
    await cast(community, round_id, 66, liar, 2)
    await community.vote(round_id, "a", (1, 1))
    await community.link(ledger, 2, member(2))
    await community.ballot(ledger, round_id, 2, member(2), {"a": 1})
    await community.close(round_id)
    await work(relayer, community)
    assert await reverted(community, "link") == ["final", "final"]
    assert sorted(await reverted(community, "ballot")) == ["final", "reverted", "reverted"]
    assert await rejection_reasons(community, "ballot") == [SAID, None]
    told = (await receipts.voter_receipts(community.engine, round_id, voter))["a"]
    assert (told.state, told.reason, told.standing) == ("rejected", SAID, 0)
    assert await ledger.tally(FIRST) == Tally(2, 0)
    assert (await ledger.round_info(1)).final


async def test_an_account_that_lies_about_its_unlink_stays_linked(
    community: Community, ledger: Ledger, relayer: Relayer, attacker: Attacker
) -> None:
    """Two transactions, a sentence, and the account votes on."""
    round_id = await begin_round(community, relayer)
    liar = await attacker.account(changing(), "unlink")
    voter = await link(community, 66, liar)
    await work(relayer, community)
    await unlink(community, 66, liar)
    await community.vote(round_id, "a", (1, 1))
    await work(relayer, community)
    assert await reverted(community, "unlink") == ["reverted", "reverted"]
    assert await rejection_reasons(community, "unlink") == [SAID]
    assert await ledger.wallet_of(await ledger.voter_index(from_hex(voter))) == liar
    assert await ledger.tally(FIRST) == Tally(1, 0)
    await cast(community, round_id, 66, liar, 1)
    await work(relayer, community)
    assert await ledger.tally(FIRST) == Tally(2, 0)


async def test_many_liars_at_once_are_one_kind_among_others(
    community: Community, ledger: Ledger, relayer: Relayer, attacker: Attacker
) -> None:
    """Each is tried twice; second tries share one turn, and what others do goes on between all of them."""
    round_id = await begin_round(community, relayer)
    honest = await attacker.account(YES)
    for number in range(60, 64):
        await link(community, number, await attacker.account(changing(), "link"))
    await link(community, 70, honest)
    await community.vote(round_id, "a", (1, 1))
    await community.video(round_id, "b")
    await work(relayer, community)
    assert sorted(await reverted(community, "link")) == ["final"] + ["reverted"] * 8
    assert await rejection_reasons(community, "link") == [SAID] * 4 + [None]
    links = [row.nonce for row in await community.sent("link") if row.state == "reverted"]
    others = [row.nonce for kind in ("votes", "video") for row in await community.sent(kind)][-2:]
    assert max(others) < links[2], "video and vote came after at most two of the liars"


async def test_a_restart_forgets_no_revert(
    community: Community, ledger: Ledger, relayer: Relayer, attacker: Attacker, chain: Any
) -> None:
    """A relayer that is started anew after each transaction sends two of them as well."""
    await begin_round(community, relayer)
    await link(community, 66, await attacker.account(changing(), "link"))
    for _ in range(8):
        await forget_lease(community.engine)
        try:
            await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
        except LedgerError:
            continue
    assert await reverted(community, "link") == ["reverted", "reverted"]
    assert await rejection_reasons(community, "link") == [SAID]


async def test_a_revert_counts_only_once_its_block_is_final(
    community: Community, ledger: Ledger, attacker: Attacker, chain: Any
) -> None:
    """Until then nothing is said, and nothing more is sent for it; others' things go on."""
    relayer = Relayer(community.engine, ledger, chain.signer, replace(QUICK, confirmations=12))
    await community.round()
    await link(community, 66, await attacker.account(changing(), "link"))
    for _ in range(6):
        try:
            await relayer.tick()
        except LedgerRefusedError:
            continue
    assert await reverted(community, "link") == ["reverted", "reverted"]
    assert await community.states("link") == {"pending": 1}
    assert await relayer.tick() is True
    await community.round(2)
    await relayer.tick()
    assert (await ledger.counts()).rounds == 2
    for _ in range(12):
        await ledger.node.web3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]  # the dev chain's own
    await relay_all(relayer)
    assert await rejection_reasons(community, "link") == [SAID]


async def test_what_was_reverted_once_and_taken_the_second_time_is_recorded(
    community: Community, ledger: Ledger, relayer: Relayer, attacker: Attacker
) -> None:
    """The twin: one revert is no reason to give up, and it is forgotten."""
    await begin_round(community, relayer)
    liar = await attacker.account(changing(), "link")
    await link(community, 66, liar)
    with pytest.raises(LedgerRefusedError, match="of kind link was reverted"):
        await relay_all(relayer)
    attacker.lies.clear()
    await work(relayer, community)
    assert await reverted(community, "link") == ["reverted", "final"]
    async with community.engine.connect() as connection:
        assert (await connection.execute(select(noted))).all() == []


# ------------------------------------------------------------------ what is ours


async def agree(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that agrees to everything, as one does that is behind."""
    real = ledger.node.estimate

    async def estimate(*about: Any) -> int:
        try:
            return await real(*about)
        except LedgerRefusedError:
            return 400_000

    monkeypatch.setattr(ledger.node, "estimate", estimate)


async def test_of_a_batch_that_is_reverted_only_the_vote_to_blame_is_given_up(
    community: Community, ledger: Ledger, relayer: Relayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried whole once more, then by halves; votes that come meanwhile are not in the same batch."""
    round_id = await begin_round(community, relayer)
    await community.vote(round_id, "a", *[(one, 1) for one in range(1, 8)])
    await relay_all(relayer)
    async with community.engine.begin() as connection:  # the chain knows no such voter
        await connection.execute(insert(voters).values(voter_id=outbox.voter_id(PEPPER, 7, 8), voter_index=999))
    await agree(ledger, monkeypatch)
    await community.vote(round_id, "a", *[(one, 2) for one in range(1, 9)])
    with pytest.raises(LedgerRefusedError, match="votes was reverted"):
        await relay_all(relayer)
    await community.vote(round_id, "a", (20, 1))
    await work(relayer, community)
    assert await community.states("vote") == {"final": 15, "rejected": 1}
    assert [reason for reason in await rejection_reasons(community, "vote") if reason] == [SENTENCES[UNEXPLAINED]]
    assert await ledger.tally(FIRST) == Tally(1, 7)
    assert (await reverted(community, "votes")).count("reverted") <= 6
    mixed = [row for row in await community.sent("votes") if row.state == "final"]
    assert len(mixed) >= 3


async def test_a_video_that_blocks_revert_is_tried_ever_more_seldom_and_not_for_ever(
    community: Community, ledger: Ledger, relayer: Relayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the chain can be to blame: after two tries it rests, others go on, and at last it is given up."""
    round_id = await begin_round(community, relayer)
    await agree(ledger, monkeypatch)
    monkeypatch.setattr(calls, "add_video", lambda *_: calls._calldata("add_video", *_odd()))
    await community.video(round_id, "b")
    for _ in range(6):
        try:
            await relay_all(relayer)
        except LedgerRefusedError:
            await community.vote(round_id, "a", (1, 1))
    await relay_all(relayer)
    assert await reverted(community, "video") == ["final", "reverted", "reverted"]
    assert await community.states("video") == {"final": 1, "pending": 1}
    assert await ledger.tally(FIRST) == Tally(1, 0)
    monkeypatch.setattr(reverts, "PAUSE_MS", 0)
    monkeypatch.setattr(reverts, "MOST", 4)
    await work(relayer, community)
    assert (await reverted(community, "video")).count("reverted") == 4
    assert await rejection_reasons(community, "video") == [None, SENTENCES[UNEXPLAINED]]
    assert [call_of(bytes(row.raw))[0]["gas"] for row in (await community.sent("video"))[1:]] == [
        480_000, 880_000, 1_280_000, 1_680_000,
    ]  # fmt: skip  # it may have run out of gas: it gets more each time


def _odd() -> Sequence[Any]:
    """A video of a round that there is not: the ledger refuses it, and the node that agrees to all does not say so."""
    return (b"k" * 32, 4_000_000, bytes(32), bytes(32), bytes(32), "x")


async def test_a_revert_while_the_ledger_was_paused_is_nobodys_fault(
    community: Community, ledger: Ledger, relayer: Relayer, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often: it is sent again once the ledger takes it."""
    await community.round()
    await send_by_hand(ledger, chain, calls._calldata("pause"))
    with monkeypatch.context() as patch:
        await agree(ledger, patch)
        for _ in range(3):
            with pytest.raises(LedgerRefusedError, match="round was reverted"):
                await relay_all(relayer)
    async with community.engine.connect() as connection:
        assert (await connection.execute(select(noted))).all() == []
    await send_by_hand(ledger, chain, calls._calldata("unpause"))
    await relay_all(relayer)
    assert await community.states() == {"final": 1}


async def test_the_loop_slows_down_while_nothing_but_reverts_comes_of_it(
    community: Community, ledger: Ledger, relayer: Relayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each revert in a row makes the pause longer, to a limit, though transactions were stored; a success ends it."""
    await begin_round(community, relayer)
    await agree(ledger, monkeypatch)
    monkeypatch.setattr(reverts, "PAUSE_MS", 0)
    monkeypatch.setattr(reverts, "MOST", 100)
    monkeypatch.setattr(random, "uniform", lambda *_: 1.0)
    monkeypatch.setattr(calls, "open_round", lambda *_: calls._calldata("close_round", 77))
    await community.round(2)
    pauses = []
    for _ in range(8):
        with pytest.raises(LedgerRefusedError):
            await relay_all(relayer)
        pauses.append(relayer._in_trouble("It was reverted.", QUICK.poll_s))
    assert pauses == [QUICK.poll_s * 2 ** min(count, 5) for count in range(1, 9)]
    monkeypatch.undo()
    await community.round(3)
    await relay_all(relayer)
    assert relayer.transactions.reverted == 0
    relayer.transactions.note_trouble()
    assert relayer._in_trouble("The node is away.", QUICK.poll_s) < QUICK.poll_s * 2.5


# ---------------------------------------------------------------------- the rules


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=4), st.integers(0, 2**32))
def test_halving_finds_all_that_are_to_blame_and_nobody_else(count: int, bad: set[int], seed: int) -> None:
    """Whatever is bad among what was reverted together: the others get through, in few transactions."""
    bad = {one for one in bad if one < count}
    found = Reverts(None)  # type: ignore[arg-type]  # nothing is read here
    waiting = [reverts.vote(number) for number in range(count)]
    random.Random(seed).shuffle(waiting)  # noqa: S311  # an order to try, no secret
    through: set[str] = set()
    given_up: set[str] = set()
    found._records = dict.fromkeys(waiting, Record((Revert(count, True, 0),)))
    transactions = 0
    while waiting:
        ready, over = found.split(waiting, Record.judge_account)
        given_up |= set(over)
        waiting = [one for one in waiting if one not in given_up]
        if ready:
            transactions += 1
            if any(reverts.vote(number) in ready for number in bad):
                found._records |= {one: Record((*found.of(one).reverts, Revert(len(ready), True, 0))) for one in ready}
            else:
                through |= set(ready)
                waiting = [one for one in waiting if one not in ready]
        assert ready or over, "it goes on"
    assert given_up == {reverts.vote(number) for number in bad}
    assert len(through) == count - len(bad)
    assert transactions <= 2 + 20 * max(1, len(bad))


def test_what_may_be_done_with_what_was_reverted() -> None:
    """Two final ones are enough where somebody else has a say; one that is not final is not."""
    sure, unsure = Revert(1, True, 0), Revert(1, False, 0)
    assert [str(Record(tries).judge_account()) for tries in ((), (sure,), (sure, unsure), (sure, sure))] == [
        "go", "go", "wait", "no",
    ]  # fmt: skip
    assert Record((sure, sure)).judge_chain() == "go", "long ago"
    assert Record((sure, unsure)).judge_chain() == "wait"
    assert Record((sure,) * reverts.MOST).judge_chain() == "no"
    assert Record((sure, replace(sure, at_ms=2**50))).judge_chain() == "wait", "just now"


def test_what_ran_out_of_gas_gets_more_and_never_more_than_a_transaction_may_have() -> None:
    """The first time a fifth more than was estimated, as ever."""
    assert [Draft("votes", b"", 100_000, reverted=times).limit for times in range(3)] == [120_000, 220_000, 320_000]
    assert Draft("votes", b"", 8_000_000, reverted=9).limit == 16_000_000
    assert Draft("votes", b"", 15_000_000, reverted=1).limit == 18_000_000, "never less than before"


async def test_reverts_of_an_older_version_count_against_nobody(community: Community, ledger: Ledger) -> None:
    """A database from before they were noted has such transactions, and nothing about whom they were for."""
    async with community.engine.begin() as connection:
        row = {"kind": "link", "sender": "0x", "nonce": 1, "raw": b"", "hashes": ["0x1"], "state": "reverted"}
        place = {"block_number": 1, "block_hash": "0x2", "created_at_ms": 1}
        await connection.execute(insert(chain_transactions).values(**row, **place))
    known = Reverts(community.engine)
    await known.read()
    assert known.none
