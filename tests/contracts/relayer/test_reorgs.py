"""The relayer on a chain that takes back what it said: reorganisations, lost transactions, fees, foreign hands."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.deploy import deploy
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger
from contracts.relayer.attempts import call_of
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.relayer.reverts import Reverts
from contracts.rpc.node import ChainUnreachableError, LedgerError
from migrations.schema import chain_attempts
from tests.builders.anvil import ETHER, Anvil, needs_anvil
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import (
    ANVIL_SETTINGS,
    PEPPER,
    Community,
    ballots,
    forget_lease,
    relay_all,
    relay_on_anvil,
    send_by_hand,
)

pytestmark = needs_anvil

PATIENT = replace(ANVIL_SETTINGS, bump_s=3600.0)


@pytest.fixture(scope="module")
def node_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    made = Anvil(tmp_path_factory.mktemp("anvil") / "state.json")
    yield made
    made.stop()


@pytest.fixture
async def anvil(node_process: Anvil) -> AsyncIterator[Anvil]:
    """The chain in order, and an account that is only this test's."""
    await node_process.fresh()
    yield node_process
    await node_process.fresh()


@pytest.fixture
async def ledger(anvil: Anvil, tmp_path: Path) -> AsyncIterator[Ledger]:
    deployment = await deploy(anvil.url, anvil.signer, tmp_path / "ledger.json")
    await anvil.mine(8)  # no reorganisation of these tests reaches the deployment
    async with Ledger(anvil.url, deployment.address) as made:
        yield made


async def begin(community: Community, ledger: Ledger, anvil: Anvil, settings: RelayerSettings) -> tuple[Relayer, int]:
    """A round with a video whose first votes are on the chain for good."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1), (2, 1), (3, 2))
    relayer = Relayer(community.engine, ledger, anvil.signer, settings)
    await relay_on_anvil(relayer, anvil)
    assert await ballots(ledger, 1, 3) == [1, 1, 2]
    return relayer, round_id


async def check(community: Community, ledger: Ledger, anvil: Anvil, wanted: list[int]) -> None:
    """Everything is final, the ballots are as wanted, each batch stands once, and the audit agrees."""
    assert set(await community.states()) <= {"final", "superseded"}
    assert await ballots(ledger, 1, len(wanted)) == wanted
    report = await audit(anvil.url, ledger.address, database=community.engine, pepper=PEPPER)
    assert report.ok, report.problems
    final = [row.seq for row in await community.sent("votes") if row.state == "final"]
    assert final == list(range(await ledger.seq()))


# ------------------------------------------------------------------ reorganisations


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_batch_that_a_reorganisation_takes_before_it_is_final(
    community: Community, ledger: Ledger, anvil: Anvil, depth: int
) -> None:
    """The same bytes are sent again; nobody was told that it was final."""
    relayer, round_id = await begin(community, ledger, anvil, replace(PATIENT, confirmations=4))
    await community.vote(round_id, "a", (1, 2), (2, 0))
    assert await relayer.tick()
    assert await ballots(ledger, 1, 3) == [2, 0, 2]
    await anvil.mine(depth - 1)
    await anvil.rpc("anvil_reorg", depth, [])
    assert await ballots(ledger, 1, 3) == [1, 1, 2]
    assert (await community.states("vote"))["batched"] == 2
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [2, 0, 2])
    assert [len(row.hashes) for row in await community.sent("votes")] == [1, 1]


@pytest.mark.parametrize("depth", [1, 2, 6])
async def test_a_batch_that_a_reorganisation_takes_after_it_was_called_final(
    community: Community, ledger: Ledger, anvil: Anvil, depth: int
) -> None:
    """Depth was too little: it is found out, and all that is gone is sent again, as the same bytes."""
    relayer, round_id = await begin(community, ledger, anvil, PATIENT)
    await community.vote(round_id, "a", (1, 2))
    await relay_all(relayer)
    await community.vote(round_id, "a", (2, 2), (1, 0))
    await relay_all(relayer)
    await check(community, ledger, anvil, [0, 2, 2])
    stored = [bytes(row.raw) for row in await community.sent("votes")]
    await anvil.rpc("anvil_reorg", depth, [])
    assert await ballots(ledger, 1, 3) != [0, 2, 2]
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [0, 2, 2])
    assert [bytes(row.raw) for row in await community.sent("votes")] == stored


async def test_a_relayer_that_died_half_way_through_a_reorganisation(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """It had written down where the first batch stands now, but not the second: receipts name the true blocks."""
    relayer, round_id = await begin(community, ledger, anvil, replace(PATIENT, confirmations=4))
    for choice in (2, 0):
        await community.vote(round_id, "a", (1, choice))
        assert await relayer.tick()
    first, second = [row for row in await community.sent("votes") if row.state == "sent"]
    await anvil.rpc("evm_setAutomine", False)
    await anvil.rpc("anvil_reorg", 2, [])
    await anvil.mine(5)
    for row in (first, second):
        await ledger.node.send(bytes(row.raw))
    await anvil.mine()  # by hand: anvil's own miner answers before it has mined
    await anvil.rpc("evm_setAutomine", True)
    receipt = await ledger.node.receipt(first.hashes[-1])
    assert receipt is not None
    await relayer.transactions.settlement.record_inclusion(first, receipt)
    await forget_lease(community.engine)
    await community.vote(round_id, "a", (2, 2))
    await relay_on_anvil(Relayer(community.engine, ledger, anvil.signer, replace(PATIENT, confirmations=4)), anvil)
    await check(community, ledger, anvil, [0, 2, 2])
    for row in await community.sent("votes"):
        mined = await ledger.node.receipt(row.hashes[-1])
        assert mined is not None
        assert (row.block_number, row.block_hash) == (mined.block_number, mined.block_hash)


async def test_a_reorganisation_of_somebody_elses_blocks_changes_nothing(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    """Blocks that held nothing of ours may go: nothing is taken back, nothing is sent."""
    relayer, _ = await begin(community, ledger, anvil, PATIENT)
    await anvil.mine(3)
    await anvil.rpc("anvil_reorg", 2, [])
    await relay_all(relayer)
    assert "reorganisation" not in caplog.text
    await check(community, ledger, anvil, [1, 1, 2])


async def test_a_nonce_that_the_reorganisation_gave_to_another_program(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    """Our bytes can never be mined again: the votes are drafted anew, under the same sequence number."""
    relayer, round_id = await begin(community, ledger, anvil, PATIENT)
    await community.vote(round_id, "a", (1, 2), (3, 0))
    await relay_all(relayer)
    await anvil.rpc("anvil_reorg", 1, [])
    await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [2, 1, 0])
    assert [(row.state, row.seq) for row in await community.sent("votes")] == [
        ("final", 0),
        ("reverted", None),
        ("final", 1),
    ]
    assert "Another program used the relayer's account" in caplog.text


async def test_voters_whose_registration_is_lost_are_registered_anew(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """A reorganisation gave its number to another program: nobody's vote is refused for a number that is gone."""
    relayer, round_id = await begin(community, ledger, anvil, PATIENT)
    await community.vote(round_id, "a", (4, 1), (5, 2), (1, 2))
    await relay_all(relayer)
    await check(community, ledger, anvil, [2, 1, 2, 1, 2])
    await anvil.rpc("anvil_reorg", 2, [])
    await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [2, 1, 2, 1, 2])
    assert [row.state for row in await community.sent("voters")] == ["final", "reverted", "final"]


async def test_a_registration_that_is_lost_while_later_ones_wait_is_missed_before_they_are_final(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """What is final stands upon what was final before: else two members would share a number, and one vote be lost."""
    relayer, round_id = await begin(community, ledger, anvil, replace(PATIENT, confirmations=2))
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (4, 1))
    for _ in range(2):  # the registration, then the batch
        assert await relayer.tick()
        await anvil.mine()
    await community.vote(round_id, "a", (5, 1))
    assert await relayer.tick()
    assert [row.state for row in await community.sent("voters")] == ["final", "final", "sent"]
    await anvil.rpc("anvil_reorg", 2, [])
    await anvil.rpc("evm_setAutomine", True)
    await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
    await anvil.rpc("evm_setAutomine", False)
    for kind in ("votes", "voters"):  # some node had kept the two that are not final
        await ledger.node.send(bytes((await community.sent(kind))[-1].raw))
    await anvil.mine(3)
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [1, 1, 2, 1, 1])
    assert [row.state for row in await community.sent("voters")] == ["final", "reverted", "final", "final"]


async def test_a_nonce_that_a_reorganisation_freed_is_filled(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program's transaction left the chain before ours could stay: an empty one takes its number."""
    relayer, round_id = await begin(community, ledger, anvil, PATIENT)
    await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
    await community.vote(round_id, "a", (1, 2))
    await relay_all(relayer)
    assert "give the relayer a key of its own" in caplog.text
    await anvil.rpc("anvil_reorg", 2, [])
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [2, 1, 2])
    assert [row.state for row in await community.sent("noop")] == ["final"]


@pytest.mark.parametrize("alike", [False, True], ids=["and drafted with more", "and drafted alike"])
async def test_a_batch_that_was_given_up_and_is_mined_after_all(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture, alike: bool
) -> None:
    """Another program took its number, a reorganisation gave it back, and some node had kept our bytes: it counts."""
    async with FaultProxy(anvil.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer, round_id = await begin(community, through, anvil, PATIENT)
        await community.vote(round_id, "a", (1, 2))
        proxy.add("cut", method="eth_sendRawTransaction")
        with pytest.raises(ChainUnreachableError):
            await relayer.tick()
        await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
        if not alike:
            await community.vote(round_id, "a", (2, 0))
        await relay_on_anvil(relayer, anvil)
        assert [row.state for row in await community.sent("votes")] == ["final", "reverted", "final"]
        kept = (await community.sent("votes"))[1]
        depth = 1
        while await ledger.node.nonce(anvil.account.address) > kept.nonce:
            await anvil.rpc("anvil_reorg", depth, [])
            depth += 1
        assert await ledger.node.send(bytes(kept.raw))
        await relay_on_anvil(relayer, anvil)
        await check(community, ledger, anvil, [2, 1 if alike else 0, 2])
        assert ("came to the ledger by another transaction" if alike else "was mined after all") in caplog.text
        assert len(await community.sent("votes")) == (3 if alike else 4)


async def test_a_batch_whose_number_an_empty_transaction_should_take_is_mined_after_all(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    """It was given up, and its freed number signed again for nothing; but its old bytes win: what they say counts."""
    async with FaultProxy(anvil.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer, round_id = await begin(community, through, anvil, PATIENT)
        await community.vote(round_id, "a", (1, 2))
        proxy.add("cut", method="eth_sendRawTransaction")
        with pytest.raises(ChainUnreachableError):
            await relayer.tick()
        await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
        await community.vote(round_id, "a", (2, 0))  # so that what is drafted anew is another batch
        await relay_on_anvil(relayer, anvil)
        kept = (await community.sent("votes"))[1]
        assert kept.state == "reverted"
        depth = 1
        while await ledger.node.nonce(anvil.account.address) > kept.nonce:
            await anvil.rpc("anvil_reorg", depth, [])
            depth += 1
        proxy.add("cut", method="eth_sendRawTransaction")
        with pytest.raises(ChainUnreachableError):
            await relayer.tick()
        (freed,) = await community.sent("noop")
        assert (freed.id, freed.nonce) == (kept.id, kept.nonce)
        assert bytes(freed.raw) != bytes(kept.raw)
        assert await ledger.node.send(bytes(kept.raw))
        await relay_on_anvil(relayer, anvil)
        await check(community, ledger, anvil, [2, 0, 2])
        assert await community.sent("noop") == []
        adopted = (await community.sent("votes"))[1]
        assert (adopted.id, adopted.hashes[-1], bytes(adopted.raw)) == (kept.id, kept.hashes[0], bytes(kept.raw))
        assert "was mined after all" in caplog.text


async def test_a_batch_whose_number_an_empty_transaction_took_stays_given_up(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """Its bytes can never be mined: the empty one is final, and the votes went under the next number."""
    relayer, round_id = await begin(community, ledger, anvil, PATIENT)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    await anvil.rpc("anvil_dropAllTransactions")
    await anvil.rpc("evm_setAutomine", True)
    await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
    await relay_on_anvil(relayer, anvil)
    kept = (await community.sent("votes"))[1]
    depth = 1
    while await ledger.node.nonce(anvil.account.address) > kept.nonce:
        await anvil.rpc("anvil_reorg", depth, [])
        depth += 1
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [2, 1, 2])
    (freed,) = await community.sent("noop")
    assert (freed.id, freed.state) == (kept.id, "final")
    assert [(row.state, row.seq) for row in await community.sent("votes")] == [("final", 0), ("final", 1)]


# ------------------------------------------------------------------ what waits


async def test_a_transaction_that_the_node_forgot_is_sent_again(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """Dropped from memory before it was mined: the same bytes go out once more."""
    relayer, round_id = await begin(community, ledger, anvil, PATIENT)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    waiting = (await community.sent("votes"))[-1]
    await anvil.rpc("anvil_dropTransaction", waiting.hashes[-1])
    await anvil.mine()
    assert await ledger.node.receipt(waiting.hashes[-1]) is None
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [2, 1, 2])
    assert (await community.sent("votes"))[-1].hashes == waiting.hashes


async def fees_of(engine: AsyncEngine, row: Any) -> list[tuple[int, int]]:
    query = select(chain_attempts.c.raw).where(chain_attempts.c.transaction_id == row.id)
    async with engine.connect() as connection:
        return sorted(tuple(call_of(bytes(raw))[1]) for raw in await connection.scalars(query))


async def test_a_base_fee_ten_times_as_high_is_paid(community: Community, ledger: Ledger, anvil: Anvil) -> None:
    """What is stuck offers at least an eighth more in both fields, and is mined once under one of its hashes."""
    relayer, round_id = await begin(community, ledger, anvil, ANVIL_SETTINGS)
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    assert await relayer.tick()
    offered = (await ledger.node.fees()).maximum  # more than the base fee, which falls with each empty block
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10 * offered))
    await anvil.mine()
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [2, 1, 2])
    row = (await community.sent("votes"))[-1]
    offers = await fees_of(community.engine, row)
    assert len(offers) == len(row.hashes) > 1
    for before, after in itertools.pairwise(offers):
        assert after[0] * 8 >= before[0] * 9
        assert after[1] * 8 >= before[1] * 9


async def test_at_its_limit_it_waits_and_says_so(community: Community, ledger: Ledger, anvil: Anvil) -> None:
    """Neither a new nor a stuck transaction offers more than the operator allows; when the fee falls, all goes on."""
    relayer, round_id = await begin(community, ledger, anvil, replace(ANVIL_SETTINGS, max_fee=4 * 10**9))
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
    await check(community, ledger, anvil, [2, 1, 2])
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
    relayer, round_id = await begin(community, ledger, anvil, replace(ANVIL_SETTINGS, bumps=False))
    await anvil.rpc("evm_setAutomine", False)
    await community.vote(round_id, "a", (1, 2))
    for _ in range(5):
        assert await relayer.tick()
    await relay_on_anvil(relayer, anvil)
    await check(community, ledger, anvil, [2, 1, 2])
    assert len((await community.sent("votes"))[-1].hashes) == 1


async def test_the_first_offer_may_be_the_one_that_is_mined(community: Community, ledger: Ledger, anvil: Anvil) -> None:
    """The better one never reached the node: the older hash counts, and is the one that members are shown."""
    async with FaultProxy(anvil.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer, round_id = await begin(community, through, anvil, ANVIL_SETTINGS)
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
        await check(community, ledger, anvil, [2, 1, 2])
        assert (await community.sent("votes"))[-1].hashes == waiting.hashes[::-1]


async def test_a_better_offer_that_came_too_late_may_be_mined_after_all(
    community: Community,
    ledger: Ledger,
    anvil: Anvil,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first is mined while the second is made; a reorganisation then prefers the second: it is ours as well."""
    relayer, round_id = await begin(community, ledger, anvil, ANVIL_SETTINGS)
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
    await check(community, ledger, anvil, [2, 1, 2])
    assert "Another program" not in caplog.text


async def test_two_offers_made_at_once_are_both_kept(community: Community, ledger: Ledger, anvil: Anvil) -> None:
    """A better offer is refused, for the base fee has risen; the hash under which it could still be mined is kept."""
    relayer, round_id = await begin(community, ledger, anvil, ANVIL_SETTINGS)
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
    await check(community, ledger, anvil, [2, 1, 2])


async def test_a_purse_that_empties_while_something_is_stuck(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """No more is offered than can be paid; a new transaction is not even signed; coin sets it going again."""
    relayer, round_id = await begin(community, ledger, anvil, ANVIL_SETTINGS)
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
    await check(community, ledger, anvil, [2, 1, 2])
    await anvil.rpc("anvil_setBalance", anvil.account.address, hex(10**9))
    await community.vote(round_id, "a", (2, 2))
    with pytest.raises(LedgerError, match=r"holds 0\.000000 ether, and the next transaction may cost"):
        await relayer.tick()
    assert (await community.states("vote"))["pending"] == 1


async def test_who_lost_the_lease_offers_no_more(
    community: Community, ledger: Ledger, anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one relayer makes up its mind to offer more, another takes over: only that one's offer is stored."""
    slow, round_id = await begin(community, ledger, anvil, ANVIL_SETTINGS)
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
    await check(community, ledger, anvil, [2, 1, 2])


# ------------------------------------------------------------------ finality


async def test_the_chains_own_word_decides_where_it_gives_one(
    community: Community, ledger: Ledger, anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `safe` a batch is final 32 blocks later; a chain for development is not waited for, nor one that says 0."""
    monkeypatch.setattr("contracts.relayer.finality.DEV_CHAINS", set())
    await anvil.mine(40)
    relayer = Relayer(community.engine, ledger, anvil.signer, replace(PATIENT, final_tag="safe"))
    await community.round()
    for _ in range(3):
        assert await relayer.tick()
        await anvil.mine(8)
    assert await community.states() == {"batched": 1}
    await anvil.mine(16)
    assert not await relayer.tick()
    assert await community.states() == {"final": 1}
    monkeypatch.undo()
    await community.round(2)
    await relay_all(Relayer(community.engine, ledger, anvil.signer, replace(PATIENT, final_tag="safe")))


async def test_a_node_that_was_restarted(community: Community, tmp_path: Path) -> None:
    """What it knew it knows again; what it was told meanwhile is told to it once more."""
    node = await asyncio.to_thread(Anvil, tmp_path / "state.json")
    try:
        await node.fresh()
        deployment = await deploy(node.url, node.signer, tmp_path / "ledger.json")
        async with Ledger(node.url, deployment.address) as ledger:
            relayer, round_id = await begin(community, ledger, node, PATIENT)
            await node.rpc("evm_setAutomine", False)
            await community.vote(round_id, "a", (1, 2))
            assert await relayer.tick()
            await asyncio.to_thread(node.stop)
            with pytest.raises(ChainUnreachableError):
                await relayer.tick()
            await asyncio.to_thread(node.start)
            await relay_on_anvil(relayer, node)
            await check(community, ledger, node, [2, 1, 2])
    finally:
        await asyncio.to_thread(node.stop)


@pytest.mark.parametrize("check_reorg", [True, False])
async def test_a_revert_that_a_reorganisation_takes_back_counts_against_nobody(
    community: Community, ledger: Ledger, anvil: Anvil, monkeypatch: pytest.MonkeyPatch, check_reorg: bool
) -> None:
    """It is forgotten with its block; one whose block stays counts once that is final. What it was for is recorded."""
    relayer, _ = await begin(community, ledger, anvil, replace(PATIENT, confirmations=4))
    real = ledger.node.estimate
    monkeypatch.setattr(ledger.node, "estimate", lambda *_: _agreed())
    monkeypatch.setattr(calls, "open_round", lambda *_: calls._calldata("close_round", 77))
    await community.round(2)
    with pytest.raises(LedgerError, match="round was reverted"):
        await relay_all(relayer)
    monkeypatch.setattr(ledger.node, "estimate", real)
    known = Reverts(community.engine)
    await known.read()
    assert [(record.times, record.final) for record in known._records.values()] == [(1, 0)]
    if check_reorg:
        await anvil.rpc("anvil_reorg", 1, [])
    await anvil.mine(4)
    assert await relayer.transactions.count_reverts() is False
    await known.read()
    assert [(record.times, record.final) for record in known._records.values()] == ([] if check_reorg else [(1, 1)])
    monkeypatch.undo()
    await relay_on_anvil(relayer, anvil)
    assert await community.states("round") == {"final": 2}
    await known.read()
    assert known.none


async def _agreed() -> int:
    return 200_000
