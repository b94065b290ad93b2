"""The relayer over a real database and a real embedded chain, killed and cheated at every step."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.deploy import deploy
from contracts.ledger import batch_codec as stream
from contracts.ledger import calldata as calls
from contracts.ledger.batch_codec import number_of
from contracts.ledger.client import Ledger, Tally, from_hex
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.rpc.node import (
    ChainUnreachableError,
    LedgerError,
    LedgerRefusedError,
    NodeRefusedError,
    WrongLedgerError,
)
from migrations.database import now_ms
from migrations.schema import chain_transactions, leases, videos, voters
from migrations.schema import outbox as entries
from tests.builders.relayed_community import (
    FIRST,
    LAZY,
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
    assert (status.backlog, status.in_flight, status.refused, status.trouble) == (0, 0, 0, None)
    assert status.balance is not None
    report = await audit(chain.url, ledger.address, database=database, pepper=PEPPER)
    assert report.ok, report.problems
    assert (report.votes, report.ballots, report.batches) == (6, 5, 1)


async def test_votes_wait_to_be_gathered_and_go_when_the_round_closes(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Young votes stay in the outbox; closing sends them at once, before the round is closed on chain."""
    round_id = await community.round()
    await community.video(round_id, "a")
    relayer = Relayer(community.engine, ledger, chain.signer, LAZY)
    await community.vote(round_id, "a", (1, 1), (2, 2))
    await relay_all(relayer)
    assert await community.states("vote") == {"pending": 2}
    assert await ledger.seq() == 0
    await community.close(round_id)
    await relay_all(relayer)
    assert await community.states("vote") == {"final": 2}
    assert await ledger.tally(FIRST) == Tally(1, 1)


async def test_enough_votes_go_without_waiting(community: Community, ledger: Ledger, chain: Any) -> None:
    """From `flush_votes` on, age does not matter; one below, nothing is sent."""
    settings = RelayerSettings(drafts=DraftSettings(flush_votes=3, flush_age_s=3600.0))
    round_id = await community.round()
    await community.video(round_id, "a")
    relayer = Relayer(community.engine, ledger, chain.signer, settings)
    await community.vote(round_id, "a", (1, 1), (2, 1))
    await relay_all(relayer)
    assert await ledger.seq() == 0
    await community.vote(round_id, "a", (3, 1))
    await relay_all(relayer)
    assert await ledger.tally(FIRST) == Tally(3, 0)


async def test_a_batch_that_would_cost_too_much_is_split(community: Community, ledger: Ledger, chain: Any) -> None:
    """Over the gas limit, votes go in several batches; all of them arrive."""
    settings = RelayerSettings(drafts=DraftSettings(flush_age_s=0.0, max_gas=130_000))
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", *[(member, 1) for member in range(1, 101)])
    await relay_all(Relayer(community.engine, ledger, chain.signer, settings))
    assert await ledger.tally(FIRST) == Tally(100, 0)
    batches = await community.sent("votes")
    assert len(batches) > 1
    assert [row.seq for row in batches] == list(range(len(batches)))


async def test_a_round_that_closed_by_itself_is_only_finalized(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Past its time on chain no close is sent; the result is."""
    round_id = await community.round(seconds=5)  # time enough to enter it, also on a busy machine
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    async with asyncio.timeout(60):
        while (await ledger.round_info(1)).closes > now_ms() // 1000:
            await asyncio.sleep(0.1)
    await community.close(round_id)
    await relay_all(relayer)
    assert (await ledger.round_info(1)).final
    assert await community.sent("close") == []


async def test_a_result_that_somebody_else_asked_for_is_taken_over(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Anyone may finalize; the relayer then finds the transaction in the log instead of sending its own."""
    round_id = await community.round()
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    await send_by_hand(ledger, chain, calls.close_round(1))
    tx = await send_by_hand(ledger, chain, calls.finalize(1))
    await community.close(round_id)
    await relay_all(relayer)
    assert (await receipts.round_progress(community.engine, round_id)).finalized_tx == tx
    assert await community.sent("finalize") == []


# -------------------------------------------------------------------- crashes


def crash_after(calls_left: int, then: Callable[[bytes], Awaitable[bool]], *, sends: bool) -> Any:
    """A `send` at whose n-th call the process dies: before the bytes go out, or after they arrived."""

    async def send(raw: bytes) -> bool:
        nonlocal calls_left
        calls_left -= 1
        if calls_left == 0:
            if sends:
                await then(raw)
            raise KeyboardInterrupt
        return await then(raw)

    return send


@pytest.mark.parametrize(
    ("at", "sends"),
    [
        pytest.param(2, True, id="after the video was sent"),
        pytest.param(3, True, id="after the voters were sent"),
        pytest.param(4, False, id="before the votes are sent"),
        pytest.param(4, True, id="after the votes were sent"),
        pytest.param(6, True, id="after the result was sent"),
    ],
)
async def test_a_crash_around_any_sending_leaves_everything_recorded_once(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch, at: int, sends: bool
) -> None:
    """A new relayer sends the very same bytes again: each transaction is mined once, under its first hash."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1), (2, 2), (3, 1))
    await community.close(round_id)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.node, "send", crash_after(at, ledger.node.send, sends=sends))
        with pytest.raises(KeyboardInterrupt):
            await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    async with community.engine.connect() as connection:
        stored = {row.nonce: row.raw for row in await connection.execute(select(chain_transactions))}
    await forget_lease(community.engine)
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))

    assert await community.states() == {"final": 6}
    async with community.engine.connect() as connection:
        rows = (await connection.execute(select(chain_transactions).order_by(chain_transactions.c.nonce))).all()
    assert [row.kind for row in rows] == ["round", "video", "voters", "votes", "close", "finalize"]
    assert {row.nonce: row.raw for row in rows if row.nonce in stored} == stored
    assert all(row.state == "final" and len(row.hashes) == 1 for row in rows)
    assert await ledger.seq() == 1
    assert await ledger.tally(FIRST) == Tally(2, 1)
    assert (await audit(chain.url, ledger.address, database=community.engine, pepper=PEPPER)).ok


async def test_a_lost_answer_is_not_a_lost_transaction(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node took the bytes but its answer never came: nothing is signed anew, and it counts once."""
    await community.round()
    send = ledger.node.send

    async def lose(raw: bytes) -> bool:
        await send(raw)
        raise ChainUnreachableError("no answer")

    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.node, "send", lose)
        with pytest.raises(ChainUnreachableError):
            await relayer.tick()
    await relay_all(relayer)
    assert len(await community.sent("round")) == 1
    assert (await ledger.counts()).rounds == 1


async def test_what_the_database_forgot_is_learned_from_the_contract(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Rounds, videos and voters that are on chain already are not sent again: their numbers are read."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    await send_by_hand(ledger, chain, calls.open_round(from_hex(f"{1:064x}"), 1, now_ms() // 1000 + 3600, 0, bytes(32)))
    key = from_hex(outbox.text_hash("keya"))
    await send_by_hand(ledger, chain, calls.add_video(key, 1, bytes(32), bytes(32), bytes(32), "x"))
    await send_by_hand(ledger, chain, calls.register([b"x" * 32, from_hex(outbox.voter_id(PEPPER, 7, 1))]))
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    assert await community.states() == {"final": 3}
    assert [len(await community.sent(kind)) for kind in ("round", "video", "voters", "votes")] == [0, 0, 0, 1]
    async with community.engine.connect() as connection:
        assert await connection.scalar(select(voters.c.voter_index)) == 2
    assert await ledger.tally(FIRST) == Tally(1, 0)


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


async def test_a_nonce_that_another_program_took_is_noticed_and_the_entry_goes_again(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our dead transaction is given up after it looked dead repeatedly; its entry is sent under a new nonce."""
    await community.round()
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.node, "send", crash_after(1, ledger.node.send, sends=False))
        with pytest.raises(KeyboardInterrupt):
            await relayer.tick()
    await send_by_hand(ledger, chain, b"", to="0x" + "99" * 20)
    await relay_all(relayer)
    assert [row.state for row in await community.sent("round")] == ["reverted", "final"]
    assert (await ledger.counts()).rounds == 1


# -------------------------------------------------------------------- refusals


async def test_votes_for_a_round_that_is_closed_on_chain_are_refused_and_others_go_through(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """The late votes are marked with a sentence; the other round's votes are recorded in the same breath."""
    first, second = await community.round(1), await community.round(2)
    await community.video(first, "a")
    await community.video(second, "b")
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    await send_by_hand(ledger, chain, calls.close_round(1))
    await community.vote(first, "a", (1, 1), (2, 1), (3, 2))
    await community.vote(second, "b", (1, 1), (2, 1))
    await relay_all(relayer)
    assert await community.states("vote") == {"rejected": 3, "final": 2}
    assert await ledger.tally(number_of(2, 1)) == Tally(2, 0)
    receipt = (await receipts.voter_receipts(community.engine, first, outbox.voter_id(PEPPER, 7, 1)))["a"]
    assert receipt.reason == "The round had already closed on the ledger."
    assert (await relayer.status()).refused == 3


async def test_a_video_that_comes_too_late_takes_its_votes_with_it(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """The ledger refuses the video, so its votes can never count; the round still gets its result."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    await send_by_hand(ledger, chain, calls.close_round(1))
    await community.video(round_id, "b")
    await community.vote(round_id, "b", (1, 1), (2, 1))
    await community.close(round_id)
    await relay_all(relayer)
    assert await community.states("video") == {"final": 1, "rejected": 1}
    assert await community.states("vote") == {"final": 1, "rejected": 2}
    assert (await ledger.round_info(1)).winner == FIRST


async def test_a_vote_on_a_video_that_was_never_entered_does_not_hold_up_the_close(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """It is refused with a sentence when the round ends."""
    round_id = await community.round()
    voter = outbox.voter_id(PEPPER, 7, 1)
    async with community.engine.begin() as connection:
        rows = [outbox.vote_row(round_id=round_id, video_id="ghost", voter_id=voter, choice=1)]
        await outbox.record_votes(connection, rows)
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    assert await community.states("vote") == {"pending": 1}
    await community.close(round_id)
    await relay_all(relayer)
    assert await community.states() == {"final": 2, "rejected": 1}


async def test_a_round_that_was_over_before_the_ledger_was_reached_is_refused_with_all_that_is_in_it(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Nothing of it can be recorded any more: each entry says so, and nothing waits for ever."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1))
    await community.close(round_id)
    async with community.engine.begin() as connection:
        row = (await connection.execute(select(entries).where(entries.c.kind == "round"))).one()
        late = {**row.payload, "opens": 1, "closes": now_ms() // 1000 - 5}
        await connection.execute(update(entries).where(entries.c.id == row.id).values(payload=late))
    await relay_all(Relayer(community.engine, ledger, chain.signer, QUICK))
    assert await community.states() == {"rejected": 4}
    assert await receipts.drained(community.engine, round_id)


async def test_a_paused_ledger_refuses_nobody_for_good(community: Community, ledger: Ledger, chain: Any) -> None:
    """While paused, entries wait and the operator reads why; afterwards they go."""
    await community.round()
    await send_by_hand(ledger, chain, calls._calldata("pause"))
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    with pytest.raises(ChainUnreachableError, match="paused by its guardian"):
        await relayer.tick()
    assert await community.states() == {"pending": 1}
    await send_by_hand(ledger, chain, calls._calldata("unpause"))
    await relay_all(relayer)
    assert await community.states() == {"final": 1}


async def test_a_transaction_that_is_reverted_on_chain_is_drafted_anew(
    community: Community, ledger: Ledger, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused between estimate and mining: the reverted one is kept on record, its votes go under the same sequence."""
    round_id = await community.round()
    await community.video(round_id, "a")
    relayer = Relayer(community.engine, ledger, chain.signer, QUICK)
    await relay_all(relayer)
    await community.vote(round_id, "a", (1, 1))
    send = ledger.node.send
    async with community.engine.begin() as connection:
        await connection.execute(insert(voters).values(voter_id=outbox.voter_id(PEPPER, 7, 1), voter_index=1))
    # the voter was forgotten by the chain: the draft is made as if the estimate had been taken from a stale node
    real = ledger.node.estimate

    async def stale(*_: Any) -> int:
        return 200_000

    with monkeypatch.context() as patch:
        patch.setattr(ledger.node, "estimate", stale)
        with pytest.raises(LedgerRefusedError, match="votes was reverted"):
            await relay_all(relayer)
    assert (ledger.node.estimate, ledger.node.send) == (real, send)
    assert [row.state for row in await community.sent("votes")] == ["reverted"]
    assert await community.states("vote") == {"pending": 1}
    await send_by_hand(ledger, chain, calls.register([from_hex(outbox.voter_id(PEPPER, 7, 1))]))
    await relay_all(relayer)
    assert [(row.state, row.seq) for row in await community.sent("votes")] == [("reverted", None), ("final", 0)]
    assert await ledger.tally(FIRST) == Tally(1, 0)


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


async def test_an_empty_account_is_named_before_anything_is_signed(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """The operator reads which account needs ether; nothing is sent, nothing is lost."""
    from eth_account import Account

    from contracts.signers.keystore import KeySigner

    poor = KeySigner(Account.create())
    await send_by_hand(ledger, chain, calls._calldata("set_relayer", poor.address, True))
    await community.round()
    relayer = Relayer(community.engine, ledger, poor, QUICK)
    with pytest.raises(LedgerError, match=f"{poor.address} holds 0.000000 ether"):
        await relayer.tick()
    assert await community.sent("round") == []


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


async def test_a_node_that_refuses_to_be_paid_little_is_told_apart_from_silence(ledger: Ledger, chain: Any) -> None:
    """A refusal of the node carries its words, not a pretended outage."""
    signer = chain.signer
    signed = await signer.sign(
        {
            "chainId": 31431, "nonce": await ledger.node.nonce(signer.address), "to": ledger.address, "data": b"",
            "value": 0, "gas": 100_000, "maxFeePerGas": 1, "maxPriorityFeePerGas": 1,
        }
    )  # fmt: skip
    with pytest.raises(NodeRefusedError, match="max fee per gas less than block base fee"):
        await ledger.node.send(signed.raw)


async def test_a_transaction_is_final_only_so_many_blocks_deep(
    community: Community, ledger: Ledger, chain: Any
) -> None:
    """Mined but not deep enough, its number is known and nothing is called final yet; a few blocks later it is."""
    round_id = await community.round()
    relayer = Relayer(community.engine, ledger, chain.signer, RelayerSettings(confirmations=3))
    assert await relayer.tick() is True
    assert await community.states() == {"batched": 1}
    assert (await receipts.round_progress(community.engine, round_id)).chain_id == 1
    for _ in range(2):
        await ledger.node.web3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]  # the dev chain's own
    assert await relayer.tick() is False
    assert await community.states() == {"final": 1}
