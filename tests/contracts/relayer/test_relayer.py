"""The relayer over a real database and a real embedded chain, killed and cheated at every step."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.deploy import deploy
from contracts.ledger import batch_codec as stream
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger, Tally
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.rpc.node import (
    LedgerError,
    WrongLedgerError,
)
from migrations.schema import leases, videos
from tests.builders.relayed_community import (
    FIRST,
    PEPPER,
    QUICK,
    Community,
    forget_lease,
    relay_all,
    send_by_hand,
)

# ------------------------------------------------------------------ the story


async def test_a_round_travels_from_the_outbox_to_a_final_result(
    database: AsyncEngine, ledger: Ledger, chain: Any
) -> None:
    """Round, videos, voters, votes, close and result are on chain; the database knows their numbers and receipts."""
    community = Community(database)
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.video(round_id, "b")
    await community.vote(round_id, "a", (1, 1), (2, 1), (3, 2), (1, 2), (1, 1))
    await community.vote(round_id, "b", (1, 1), (2, 2), (3, 1), (3, 0))
    await community.close(round_id)
    assert not await receipts.drained(database, round_id)
    relayer = Relayer(database, ledger, chain.signer, QUICK)
    await relay_all(relayer)

    assert await receipts.drained(database, round_id)
    assert await community.states() == {"final": 10, "superseded": 3}
    progress = await receipts.round_progress(database, round_id)
    assert progress.chain_id == 1
    assert progress.underway == 0
    assert await ledger.finalized_tx(1) == progress.finalized_tx
    async with database.connect() as connection:
        numbers = {row.id: row.chain_id for row in await connection.execute(select(videos))}
    assert numbers == {"a": FIRST, "b": FIRST + 1}
    assert (await ledger.tally(FIRST), await ledger.tally(FIRST + 1)) == (Tally(2, 1), Tally(1, 1))
    assert (await ledger.round_info(1)).winner == FIRST
    assert len(await receipts.receipts(database, "a")) == 2
    receipt = (await receipts.voter_receipts(database, round_id, outbox.voter_id(PEPPER, 7, 1)))["a"]
    assert (receipt.choice, receipt.state, receipt.seq) == (1, "final", 0)
    assert await ledger.vote_of(receipt.video_number or 0, receipt.seat or 0) == 1
    assert receipt.voter_index == 1 + (receipt.seat or 0)
    status = await relayer.status()
    assert (status.backlog, status.in_flight, status.rejected, status.trouble) == (0, 0, 0, None)
    assert status.balance is not None
    report = await audit(chain.url, ledger.address, database=database, pepper=PEPPER)
    assert report.ok, report.problems
    assert (report.votes, report.ballots, report.batches) == (6, 5, 1)


# ------------------------------------------------------------- others at work


async def test_two_relayers_never_send_at_once(community: Community, ledger: Ledger, chain: Any) -> None:
    """The second does nothing while the first holds the lease, and takes over when it is gone."""
    first = Relayer(community.engine, ledger, chain.signer, QUICK)
    second = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(first)
    await community.round()
    assert await second.tick() is False
    assert await community.states() == {"pending": 1}
    assert (await second.status()).active is False
    await forget_lease(community.engine)
    await relay_all(second)
    assert await community.states() == {"final": 1}
    await community.round(2)
    with pytest.raises(LedgerError, match="lost its lease"):
        await first.tick()
    assert await first.tick() is False
    await relay_all(second)
    assert len(await community.sent("round")) == 2


async def test_a_relayer_that_lost_its_lease_while_drafting_stores_nothing(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction is neither stored nor sent; the entry waits for the one that took over."""
    await community.round()
    slow, other = (Relayer(community.engine, ledger, chain.signer, QUICK) for _ in range(2))
    fees = ledger.node.fees

    async def stall() -> Any:
        await forget_lease(community.engine)
        monkeypatch.undo()
        assert await other.tick() is False
        return await fees()

    monkeypatch.setattr(ledger.node, "fees", stall)
    with pytest.raises(LedgerError, match="lost its lease"):
        await slow.tick()
    assert len(await community.sent("round")) == 1
    assert await community.states() == {"final": 1}


async def test_a_foreign_writer_stops_the_sending_with_a_clear_sentence(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """A batch that we did not write is noticed before the next one of ours; votes wait, unharmed."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    await send_by_hand(ledger, chain, calls.batch(1, 1, [], stream.encode([stream.Ballot(FIRST, 0, 2)])))
    await community.vote(round_id, "a", (2, 1))
    with pytest.raises(WrongLedgerError, match="Somebody else writes to the ledger: it holds 2 batches where 1 are"):
        await relay_all(relayer)
    assert await community.states("vote") == {"final": 1, "pending": 1}
    assert await ledger.seq() == 2


# -------------------------------------------------------------------- the loop


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_an_unreachable_chain_costs_nothing_but_time(
    community: Community, start_chain: Callable[[], Any], tmp_path: Any
) -> None:
    """While the chain is dead (SIGKILL) the operator reads why; when it is back, the relayer goes on by itself."""
    chain = start_chain()
    deployment = await deploy(chain.url, chain.signer, tmp_path / "ledger.json")
    async with Ledger(chain.url, deployment.address) as ledger:
        relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
        task = asyncio.create_task(relayer.run())
        try:
            round_id = await community.round()
            await until(lambda: all_final(community, 1))
            chain.stop(signal.SIGKILL)
            await community.video(round_id, "a")
            await community.vote(round_id, "a", (1, 1))
            relayer.nudge()

            async def troubled() -> bool:
                return (await relayer.status()).trouble is not None

            await until(troubled)
            assert "127.0.0.1 does not answer" in str((await relayer.status()).trouble)
            assert not task.done()
            chain.start()
            await until(lambda: all_final(community, 3))

            async def well() -> bool:
                return (await relayer.status()).trouble is None

            await until(well)
            assert await ledger.tally(FIRST) == Tally(1, 0)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    async with community.engine.connect() as connection:
        assert (await connection.execute(select(leases))).first() is None, "the lease is given back"


async def all_final(community: Community, count: int) -> bool:
    return await community.states() == {"final": count}


async def test_a_relayer_refuses_a_ledger_that_is_not_ours(community: Community, chain: Any) -> None:
    """An address without our code, or the wrong chain, is refused with a sentence before anything is sent."""
    await community.round()
    async with Ledger(chain.url, "0x" + "12" * 20) as nothing:
        with pytest.raises(WrongLedgerError, match="no contract at"):
            await Relayer(community.engine, nothing, chain.signer, QUICK).tick()
    assert await community.states() == {"pending": 1}


async def test_the_wrong_chain_is_refused(community: Community, ledger: Ledger, chain: Any) -> None:
    """The chain's id is checked before anything is signed."""
    await community.round()
    with pytest.raises(WrongLedgerError, match="serves chain 31431, but chain 1 is expected"):
        await Relayer(community.engine, ledger, chain.signer, RelayerSettings(chain_id=1)).tick()
    assert await community.sent("round") == []
