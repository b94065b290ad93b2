"""A batch of ours that another transaction brought to the ledger is ours; a batch with another digest stops us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from eth_account import Account
from sqlalchemy import select

from contracts.audit.audit import audit
from contracts.ledger import batch_codec as stream
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger
from contracts.relayer.attempts import call_of
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import ChainUnreachableError, LedgerError, WrongLedgerError
from contracts.signers.keystore import KeySigner
from migrations.schema import outbox as entries
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import FIRST, PEPPER, QUICK, Community, ballots, relay_all, send_by_hand

SEND = "eth_sendRawTransaction"
NOBODY = "0x" + "99" * 20


async def a_batch_that_never_left(community: Community, through: Ledger, chain: Any, proxy: FaultProxy) -> Relayer:
    """Member 1's first vote is on the ledger; their second is signed, and its sending was cut."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    relayer = Relayer(community.engine, through, chain.signer, QUICK)
    await relay_all(relayer)
    await community.vote(round_id, "a", (1, 2))
    proxy.add("cut", method=SEND)
    with pytest.raises(ChainUnreachableError):
        await relayer.tick()
    return relayer


async def data_of(community: Community) -> bytes:
    """The calldata of the batch that was signed last."""
    return bytes(call_of(bytes((await community.sent("votes"))[-1].raw))[0]["data"])


async def check(community: Community, ledger: Ledger, chain: Any) -> None:
    assert set(await community.states("vote")) == {"final"}
    assert await ballots(ledger, 1, 1) == [2]
    assert [(row.state, row.seq) for row in await community.sent("votes") if row.state != "reverted"] == [
        ("final", seq) for seq in range(await ledger.seq())
    ]
    report = await audit(chain.url, ledger.address, database=community.engine, pepper=PEPPER)
    assert report.ok, report.problems


async def test_a_batch_that_another_transaction_brought_is_not_sent_again(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """The same call in somebody else's bytes, under our number: its entries are final by that transaction."""
    async with FaultProxy(chain.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer = await a_batch_that_never_left(community, through, chain, proxy)
        tx = await send_by_hand(ledger, chain, await data_of(community))
        await relay_all(relayer)
        await check(community, ledger, chain)
        batch = (await community.sent("votes"))[-1]
        assert (batch.seq, batch.hashes[-1], len(batch.hashes)) == (1, tx, 2)
        async with community.engine.connect() as connection:
            carried = select(entries.c.state).where(entries.c.transaction_id == batch.id)
            assert list(await connection.scalars(carried)) == ["final"]


@dataclass
class Hand:
    """Another account that may write to the ledger, for `by_hand`."""

    signer: KeySigner


async def another_writer(ledger: Ledger, chain: Any) -> Hand:
    node, signer, made = ledger.node, chain.signer, Hand(KeySigner(Account.create()))
    fees = await node.fees()
    coin = {
        "chainId": await node.chain_id(), "nonce": await node.nonce(signer.address), "to": made.signer.address,
        "data": b"", "value": 10**18, "gas": 21_000, "maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.tip,
    }  # fmt: skip
    await node.send((await signer.sign(coin)).raw)
    await send_by_hand(ledger, chain, calls._calldata("set_relayer", made.signer.address, True))
    return made


async def test_a_batch_that_came_twice_counts_by_the_one_that_did_something(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Ours is mined after the other and reverted: nothing is drafted anew for what the ledger has already."""
    hand = await another_writer(ledger, chain)
    async with FaultProxy(chain.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer = await a_batch_that_never_left(community, through, chain, proxy)
        tx = await send_by_hand(ledger, hand, await data_of(community))
        await relay_all(relayer)
        own = await ledger.node.receipt((await community.sent("votes"))[-1].hashes[0])
        assert own is not None
        assert not own.ok
        await check(community, ledger, chain)
        assert len(await community.sent("votes")) == 2
        assert (await community.sent("votes"))[-1].hashes[-1] == tx


async def given_up(community: Community, relayer: Relayer, ledger: Ledger, chain: Any) -> None:
    """Another program takes the number of the batch, which is then given up and not drafted anew yet."""
    await send_by_hand(ledger, chain, b"", to=NOBODY)
    for _ in range(10):
        await relayer.tick()
        if (await community.sent("votes"))[-1].state == "reverted":
            return
    raise AssertionError("it is not given up")


async def test_a_batch_that_was_given_up_and_brought_by_another_transaction_counts(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """By no hash that we know: the digest tells that it is ours, and the relayer goes on."""
    async with FaultProxy(chain.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer = await a_batch_that_never_left(community, through, chain, proxy)
        await given_up(community, relayer, ledger, chain)
        tx = await send_by_hand(ledger, chain, await data_of(community))
        await relay_all(relayer)
        await check(community, ledger, chain)
        adopted = (await community.sent("votes"))[1]
        assert (adopted.state, adopted.seq, adopted.hashes[-1]) == ("final", 1, tx)


@pytest.mark.parametrize("late", [False, True], ids=["while ours is underway", "after ours was given up"])
async def test_a_batch_of_another_content_in_our_place_stops_the_sending(
    community: Community, ledger: Ledger, chain: Any, late: bool
) -> None:
    """Same number, same voter, another choice: the digest differs, and nothing of it is taken for ours."""
    async with FaultProxy(chain.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer = await a_batch_that_never_left(community, through, chain, proxy)
        if late:
            await given_up(community, relayer, ledger, chain)
        await send_by_hand(ledger, chain, calls.batch(1, 1, [], stream.encode([stream.Ballot(FIRST, 0, 0)])))
        with pytest.raises(
            WrongLedgerError, match="Somebody else writes to the ledger: it holds 2 batches where 1 are"
        ):
            await relay_all(relayer)
        with pytest.raises(LedgerError, match="Somebody else"):
            await relayer.tick()
        assert await community.states("vote") == {"final": 1, "pending": 1}
        assert [row.state for row in await community.sent("votes")] == ["final", "reverted"]


@pytest.mark.parametrize("kind", ["batch", "something else"])
def test_only_the_calldata_of_a_batch_has_a_sequence_number(kind: str) -> None:
    """Whatever a row is called: what was signed says what it is."""
    data = calls.batch(7, 1, [], [1 << 246 | 1]) if kind == "batch" else calls.close_round(7)
    assert calls.batch_of(data) == (7 if kind == "batch" else None)
    assert calls.batch_of(b"") is None
