"""Transactions that are stuck: sent again, offered more for, and never lost."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger.client import Ledger
from contracts.relayer.attempts import call_of
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import ChainUnreachableError, LedgerError
from migrations.schema import chain_attempts
from tests.builders.anvil import ETHER, Anvil, needs_anvil
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import (
    ANVIL_SETTINGS,
    PATIENT,
    Community,
    begin_on_anvil,
    check_on_anvil,
    forget_lease,
    relay_on_anvil,
)

pytestmark = needs_anvil


@pytest.fixture
def ledger(anvil_ledger: Ledger) -> Ledger:
    return anvil_ledger


async def test_a_transaction_that_the_node_forgot_is_sent_again(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """Dropped from memory before it was mined: the same bytes go out once more."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, PATIENT)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    waiting = (await community.sent("votes"))[-1]
    await anvil.rpc("anvil_dropTransaction", waiting.hashes[-1])
    await anvil.mine()
    assert await ledger.node.receipt(waiting.hashes[-1]) is None
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
    assert (await community.sent("votes"))[-1].hashes == waiting.hashes


async def fees_of(engine: AsyncEngine, row: Any) -> list[tuple[int, int]]:
    query = select(chain_attempts.c.raw).where(chain_attempts.c.transaction_id == row.id)
    async with engine.connect() as connection:
        return sorted(tuple(call_of(bytes(raw))[1]) for raw in await connection.scalars(query))


async def test_a_base_fee_ten_times_as_high_is_paid(community: Community, ledger: Ledger, anvil: Anvil) -> None:
    """What is stuck offers at least an eighth more in both fields, and is mined once under one of its hashes."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, ANVIL_SETTINGS)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    offered = (await ledger.node.fees()).maximum  # more than the base fee, which falls with each empty block
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10 * offered))
    await anvil.mine()
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
    row = (await community.sent("votes"))[-1]
    offers = await fees_of(community.engine, row)
    assert len(offers) == len(row.hashes) > 1
    for before, after in itertools.pairwise(offers):
        assert after[0] * 8 >= before[0] * 9
        assert after[1] * 8 >= before[1] * 9


async def test_at_its_limit_it_waits_and_says_so(community: Community, ledger: Ledger, anvil: Anvil) -> None:
    """Neither a new nor a stuck transaction offers more than the operator allows; when the fee falls, all goes on."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, replace(ANVIL_SETTINGS, max_fee=4 * 10**9))
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(40 * 10**9))
    await anvil.mine()
    for _ in range(8):
        assert await relayer.tick()
    assert "waits at the highest fee that it may offer" in str((await relayer.status()).trouble)
    assert max(offer for offer, _ in await fees_of(community.engine, (await community.sent("votes"))[-1])) <= 4 * 10**9
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    await relay_on_anvil(relayer, anvil)
    assert (await relayer.status()).trouble is None
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(40 * 10**9))
    await anvil.mine()
    await community.vote(round_id, "a", (2, 2))
    with pytest.raises(ChainUnreachableError, match=r"asks \d+(\.\d+)? gwei for gas, over our limit of 4 \(FLOCK_MAX"):
        await relayer.tick()
    assert (await community.states("vote"))["pending"] == 1


async def test_without_a_mempool_the_same_bytes_are_sent_again(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """Where a higher fee buys nothing, none is offered, however long it takes."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, replace(ANVIL_SETTINGS, bumps=False))
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    for _ in range(5):
        assert await relayer.tick()
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
    assert len((await community.sent("votes"))[-1].hashes) == 1


async def test_the_first_offer_may_be_the_one_that_is_mined(community: Community, ledger: Ledger, anvil: Anvil) -> None:
    """The better one never reached the node: the older hash counts, and is the one that members are shown."""
    async with FaultProxy(anvil.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer, round_id = await begin_on_anvil(community, through, anvil, ANVIL_SETTINGS)
        await anvil.rpc("evm_setAutomine", False)
        await community.vote(round_id, "a", (1, 2))
        assert await relayer.tick()
        proxy.add("cut", method="eth_sendRawTransaction")
        with pytest.raises(ChainUnreachableError):
            await relayer.tick()
        waiting = (await community.sent("votes"))[-1]
        assert len(waiting.hashes) == 2
        await anvil.mine()
        await relay_on_anvil(relayer, anvil)
        await check_on_anvil(community, ledger, anvil, [2, 1, 2])
        assert (await community.sent("votes"))[-1].hashes == waiting.hashes[::-1]


async def test_a_better_offer_that_came_too_late_may_be_mined_after_all(
    community: Community,
    ledger: Ledger,
    anvil: Anvil,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first is mined while the second is made; a reorganisation then prefers the second: it is ours as well."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, ANVIL_SETTINGS)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    fees = ledger.node.fees

    async def meanwhile() -> Any:
        await anvil.mine()
        return await fees()

    monkeypatch.setattr(ledger.node, "fees", meanwhile)
    await relayer.tick()
    monkeypatch.undo()
    row = (await community.sent("votes"))[-1]
    assert (row.state, len(row.hashes)) == ("final", 2)
    await anvil.rpc("anvil_reorg", 1, [])
    assert await ledger.node.send(bytes(row.raw))
    await anvil.mine()
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
    assert "Another program" not in caplog.text


async def test_two_offers_made_at_once_are_both_kept(community: Community, ledger: Ledger, anvil: Anvil) -> None:
    """A better offer is refused, for the base fee has risen; the hash under which it could still be mined is kept."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, ANVIL_SETTINGS)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    offered = (await ledger.node.fees()).maximum
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10 * offered))
    with pytest.raises(LedgerError, match="less than block base fee"):
        await relayer.tick()
    row = (await community.sent("votes"))[-1]
    assert len(row.hashes) == len(await fees_of(community.engine, row)) == 3
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])


async def test_a_purse_that_empties_while_something_is_stuck(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """No more is offered than can be paid; a new transaction is not even signed; coin sets it going again."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, ANVIL_SETTINGS)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    await anvil.rpc("anvil_setBalance", anvil.account.address, hex(10**9))
    with pytest.raises(LedgerError, match="cannot pay for the transaction that is underway; send it some"):
        await relayer.tick()
    assert "too little to offer more" in str((await relayer.status()).trouble)
    assert len((await community.sent("votes"))[-1].hashes) == 1
    await anvil.rpc("anvil_setBalance", anvil.account.address, hex(ETHER))
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
    await anvil.rpc("anvil_setBalance", anvil.account.address, hex(10**9))
    await community.vote(round_id, "a", (2, 2))
    with pytest.raises(LedgerError, match=r"holds 0\.000000 ether, and the next transaction may cost"):
        await relayer.tick()
    assert (await community.states("vote"))["pending"] == 1


async def test_who_lost_the_lease_offers_no_more(
    community: Community, ledger: Ledger, anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one relayer makes up its mind to offer more, another takes over: only that one's offer is stored."""
    slow, round_id = await begin_on_anvil(community, ledger, anvil, ANVIL_SETTINGS)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await slow.tick()
    other = Relayer(community.engine, ledger, anvil.signer, PATIENT)
    fees = ledger.node.fees

    async def stall() -> Any:
        await forget_lease(community.engine)
        assert await other.tick()
        return await fees()

    monkeypatch.setattr(ledger.node, "fees", stall)
    with pytest.raises(LedgerError, match="lost its lease"):
        await slow.tick()
    monkeypatch.undo()
    assert len((await community.sent("votes"))[-1].hashes) == 1
    assert not await slow.tick()
    await relay_on_anvil(other, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
