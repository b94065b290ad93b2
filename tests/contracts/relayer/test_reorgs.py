"""The relayer on a chain that takes back what it said: reorganisations, lost transactions, fees, foreign hands."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.deploy import deploy
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger
from contracts.relayer.relayer import Relayer
from contracts.relayer.reverts import Reverts
from contracts.rpc.node import ChainUnreachableError, LedgerError
from tests.builders.anvil import Anvil, needs_anvil
from tests.builders.fault_proxy import FaultProxy
from tests.builders.relayed_community import (
    PATIENT,
    Community,
    ballots,
    begin_on_anvil,
    check_on_anvil,
    forget_lease,
    relay_all,
    relay_on_anvil,
    send_by_hand,
)

pytestmark = needs_anvil


@pytest.fixture
def ledger(anvil_ledger: Ledger) -> Ledger:
    return anvil_ledger


# ------------------------------------------------------------------ reorganisations


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_batch_that_a_reorganisation_takes_before_it_is_final(
    community: Community, ledger: Ledger, anvil: Anvil, depth: int
) -> None:
    """The same bytes are sent again; nobody was told that it was final."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, replace(PATIENT, confirmations=4))
    await community.vote(round_id, "a", (1, 2), (2, 0))
    assert await relayer.tick()
    assert await ballots(ledger, 1, 3) == [2, 0, 2]
    await anvil.mine(depth - 1)
    await anvil.rpc("anvil_reorg", depth, [])
    assert await ballots(ledger, 1, 3) == [1, 1, 2]
    assert (await community.states("vote"))["batched"] == 2
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 0, 2])
    assert [len(row.hashes) for row in await community.sent("votes")] == [1, 1]


@pytest.mark.parametrize("depth", [1, 2, 6])
async def test_a_batch_that_a_reorganisation_takes_after_it_was_called_final(
    community: Community, ledger: Ledger, anvil: Anvil, depth: int
) -> None:
    """Depth was too little: it is found out, and all that is gone is sent again, as the same bytes."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, PATIENT)
    await community.vote(round_id, "a", (1, 2))
    await relay_all(relayer)
    await community.vote(round_id, "a", (2, 2), (1, 0))
    await relay_all(relayer)
    await check_on_anvil(community, ledger, anvil, [0, 2, 2])
    stored = [bytes(row.raw) for row in await community.sent("votes")]
    await anvil.rpc("anvil_reorg", depth, [])
    assert await ballots(ledger, 1, 3) != [0, 2, 2]
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [0, 2, 2])
    assert [bytes(row.raw) for row in await community.sent("votes")] == stored


async def test_a_relayer_that_died_half_way_through_a_reorganisation(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """It had written down where the first batch stands now, but not the second: receipts name the true blocks."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, replace(PATIENT, confirmations=4))
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
    await check_on_anvil(community, ledger, anvil, [0, 2, 2])
    for row in await community.sent("votes"):
        mined = await ledger.node.receipt(row.hashes[-1])
        assert mined is not None
        assert (row.block_number, row.block_hash) == (mined.block_number, mined.block_hash)


async def test_a_reorganisation_of_somebody_elses_blocks_changes_nothing(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    """Blocks that held nothing of ours may go: nothing is taken back, nothing is sent."""
    relayer, _ = await begin_on_anvil(community, ledger, anvil, PATIENT)
    await anvil.mine(3)
    await anvil.rpc("anvil_reorg", 2, [])
    await relay_all(relayer)
    assert "reorganisation" not in caplog.text
    await check_on_anvil(community, ledger, anvil, [1, 1, 2])


async def test_a_nonce_that_the_reorganisation_gave_to_another_program(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    """Our bytes can never be mined again: the votes are drafted anew, under the same sequence number."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, PATIENT)
    await community.vote(round_id, "a", (1, 2), (3, 0))
    await relay_all(relayer)
    await anvil.rpc("anvil_reorg", 1, [])
    await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 0])
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
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, PATIENT)
    await community.vote(round_id, "a", (4, 1), (5, 2), (1, 2))
    await relay_all(relayer)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2, 1, 2])
    await anvil.rpc("anvil_reorg", 2, [])
    await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2, 1, 2])
    assert [row.state for row in await community.sent("voters")] == ["final", "reverted", "final"]


async def test_a_registration_that_is_lost_while_later_ones_wait_is_missed_before_they_are_final(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """What is final stands upon what was final before: else two members would share a number, and one vote be lost."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, replace(PATIENT, confirmations=2))
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
    await check_on_anvil(community, ledger, anvil, [1, 1, 2, 1, 1])
    assert [row.state for row in await community.sent("voters")] == ["final", "reverted", "final", "final"]


async def test_a_nonce_that_a_reorganisation_freed_is_filled(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program's transaction left the chain before ours could stay: an empty one takes its number."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, PATIENT)
    await send_by_hand(ledger, anvil, b"", to="0x" + "99" * 20)
    await community.vote(round_id, "a", (1, 2))
    await relay_all(relayer)
    assert "give the relayer a key of its own" in caplog.text
    await anvil.rpc("anvil_reorg", 2, [])
    await relay_on_anvil(relayer, anvil)
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
    assert [row.state for row in await community.sent("noop")] == ["final"]


@pytest.mark.parametrize("alike", [False, True], ids=["and drafted with more", "and drafted alike"])
async def test_a_batch_that_was_given_up_and_is_mined_after_all(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture, alike: bool
) -> None:
    """Another program took its number, a reorganisation gave it back, and some node had kept our bytes: it counts."""
    async with FaultProxy(anvil.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer, round_id = await begin_on_anvil(community, through, anvil, PATIENT)
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
        await check_on_anvil(community, ledger, anvil, [2, 1 if alike else 0, 2])
        assert ("came to the ledger by another transaction" if alike else "was mined after all") in caplog.text
        assert len(await community.sent("votes")) == (3 if alike else 4)


async def test_a_batch_whose_number_an_empty_transaction_should_take_is_mined_after_all(
    community: Community, ledger: Ledger, anvil: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    """It was given up, and its freed number signed again for nothing; but its old bytes win: what they say counts."""
    async with FaultProxy(anvil.url) as proxy, Ledger(proxy.url, ledger.address) as through:
        relayer, round_id = await begin_on_anvil(community, through, anvil, PATIENT)
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
        await check_on_anvil(community, ledger, anvil, [2, 0, 2])
        assert await community.sent("noop") == []
        adopted = (await community.sent("votes"))[1]
        assert (adopted.id, adopted.hashes[-1], bytes(adopted.raw)) == (kept.id, kept.hashes[0], bytes(kept.raw))
        assert "was mined after all" in caplog.text


async def test_a_batch_whose_number_an_empty_transaction_took_stays_given_up(
    community: Community, ledger: Ledger, anvil: Anvil
) -> None:
    """Its bytes can never be mined: the empty one is final, and the votes went under the next number."""
    relayer, round_id = await begin_on_anvil(community, ledger, anvil, PATIENT)
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
    await check_on_anvil(community, ledger, anvil, [2, 1, 2])
    (freed,) = await community.sent("noop")
    assert (freed.id, freed.state) == (kept.id, "final")
    assert [(row.state, row.seq) for row in await community.sent("votes")] == [("final", 0), ("final", 1)]


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
            relayer, round_id = await begin_on_anvil(community, ledger, node, PATIENT)
            await node.rpc("evm_setAutomine", False)
            await community.vote(round_id, "a", (1, 2))
            assert await relayer.tick()
            await asyncio.to_thread(node.stop)
            with pytest.raises(ChainUnreachableError):
                await relayer.tick()
            await asyncio.to_thread(node.start)
            await relay_on_anvil(relayer, node)
            await check_on_anvil(community, ledger, node, [2, 1, 2])
    finally:
        await asyncio.to_thread(node.stop)


@pytest.mark.parametrize("check_reorg", [True, False])
async def test_a_revert_that_a_reorganisation_takes_back_counts_against_nobody(
    community: Community, ledger: Ledger, anvil: Anvil, monkeypatch: pytest.MonkeyPatch, check_reorg: bool
) -> None:
    """It is forgotten with its block; one whose block stays counts once that is final. What it was for is recorded."""
    relayer, _ = await begin_on_anvil(community, ledger, anvil, replace(PATIENT, confirmations=4))
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
