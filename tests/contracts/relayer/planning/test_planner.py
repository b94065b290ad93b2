"""The choice of the next transaction: nobody starves another, and what the ledger holds already is not sent again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger import batch_codec as stream
from contracts.ledger import calldata as calls
from contracts.ledger.batch_codec import number_of
from contracts.ledger.client import Ledger, Tally, from_hex
from contracts.outbox import entries as outbox
from contracts.outbox import progress as receipts
from contracts.relayer.planning.draft import Draft
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import (
    ChainUnreachableError,
    LedgerError,
    NodeRefusedError,
    WrongLedgerError,
)
from migrations.database import now_ms
from migrations.schema import outbox as entries
from migrations.schema import rounds, videos, voters, wallets
from tests.builders.accounts import member
from tests.builders.relayed_community import (
    FIRST,
    PEPPER,
    QUICK,
    Community,
    forget_lease,
    relay_all,
    send_by_hand,
)


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


FLOODED, CALM, THIRD = 7, 8, 9  # servers
BOUND = 30  # transactions within which whatever waits has been sent, whatever is poured in meanwhile


class Town(Community):
    """A community of several servers."""

    async def round_of(self, guild: int, number: int, seconds: int = 36_000) -> int:
        round_id = await self.round(number, seconds)
        async with self.engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(guild_id=guild))
        return round_id

    async def video_by(self, member_id: int, round_id: int, video_id: str) -> None:
        await self.video(round_id, video_id)
        async with self.engine.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == video_id).values(member_id=member_id))

    async def wallet_of(self, guild: int, number: int) -> str:
        """Writes down of which server a member's link is; gives their voter id."""
        voter, address = outbox.voter_id(PEPPER, 7, number), member(number).address
        row = {"guild_id": guild, "member_id": number, "voter_id": voter, "address": address, "link_entry": 0}
        async with self.engine.begin() as connection:
            await connection.execute(insert(wallets).values(**row))
        return voter

    async def waiting(self, *ids: int) -> set[int]:
        query = select(entries.c.id).where(entries.c.id.in_(ids), entries.c.state == "pending")
        async with self.engine.connect() as connection:
            return set(await connection.scalars(query))

    async def latest(self) -> int:
        async with self.engine.connect() as connection:
            return int(await connection.scalar(select(entries.c.id).order_by(entries.c.id.desc()).limit(1)) or 0)


@pytest.fixture
def town(store: AsyncEngine) -> Town:
    return Town(store)


@pytest.fixture
def relayer(town: Town, ledger: Ledger, chain: Any) -> Relayer:
    return Relayer(town.engine, ledger, chain.signer, QUICK)


async def flood(
    relayer: Relayer, pour: Callable[[], Awaitable[None]], over: Callable[[], Awaitable[bool]]
) -> list[str]:
    """Works, with more poured in before each transaction, until it is over; gives the kinds that were sent."""
    sent: list[str] = []
    drafts = relayer.planner
    real = drafts.next

    async def following(**about: Any) -> Draft | None:
        if len(sent) >= BOUND or await over():
            return None
        await pour()
        draft = await real(**about)
        if draft is not None:
            sent.append(draft.kind)
        return draft

    drafts.next = following  # type: ignore[method-assign]  # as if others were quicker than the chain
    try:
        await relay_all(relayer)
    finally:
        drafts.next = real  # type: ignore[method-assign]
    return sent


async def test_videos_that_come_faster_than_blocks_keep_no_vote_waiting(
    town: Town, ledger: Ledger, relayer: Relayer
) -> None:
    """200 votes wait while more videos are entered than the chain takes: all of them are sent."""
    round_id = await town.round()
    await town.video(round_id, "a")
    await relay_all(relayer)
    await town.vote(round_id, "a", *[(one, 1) for one in range(1, 201)])
    numbers = itertools.count()

    async def pour() -> None:
        for _ in range(2):
            await town.video(round_id, f"flood{next(numbers)}")

    async def over() -> bool:
        return await town.states("vote") == {"final": 200}

    sent = await flood(relayer, pour, over)
    assert len(sent) < BOUND
    assert await ledger.tally(FIRST) == Tally(200, 0)
    assert "video" in sent, "and the videos go on"


@pytest.mark.parametrize(
    "kind", ["video", "new voters", "vote", "ballot", "rounds that are closed", "links that are taken back"]
)
async def test_a_flood_of_one_kind_holds_up_nothing_else(
    town: Town, ledger: Ledger, relayer: Relayer, kind: str
) -> None:
    """One entry of every other kind, in another server and entered later: each is sent within a few transactions.

    Closes come with as many rounds, and unlinks with as many links: those are floods of two kinds at once.
    """
    flooded, calm = await town.round_of(FLOODED, 1), await town.round_of(CALM, 2)
    over = await town.round_of(CALM + 10, 3)
    for round_id, video in ((flooded, "a"), (calm, "b"), (over, "c")):
        await town.video(round_id, video)
    await town.vote(flooded, "a", (1, 1), (2, 1))
    for one in (1, 2, 3, 4):
        await town.link(ledger, one, member(one))
    await relay_all(relayer)
    numbers = itertools.count(100)

    async def pour() -> None:
        for number in (next(numbers), next(numbers)):
            if kind == "video":
                await town.video(flooded, f"flood{number}")
            elif kind == "new voters":
                await town.vote(flooded, "a", (number, 1))
            elif kind == "vote":
                await town.vote(flooded, "a", (90, number % 3))
            elif kind == "ballot":
                await town.ballot(ledger, flooded, 1, member(1), {"a": number % 3})
            elif kind == "rounds that are closed":
                await town.close(await town.round_of(FLOODED, number))
            else:
                await town.link(ledger, number, member(number))
                await town.unlink(ledger, number, member(number))

    for _ in range(10):
        await pour()
    before = await town.latest()
    await town.round_of(THIRD, 50)
    await town.video_by(2, calm, "d")
    await town.vote(calm, "b", (60, 1))
    for one in (4, 61):
        await town.wallet_of(CALM, one)
    await town.link(ledger, 61, member(61))
    await town.ballot(ledger, calm, 3, member(3), {"b": 2}, number=2)
    await town.unlink(ledger, 4, member(4))
    await town.close(over)
    mine = range(before + 1, await town.latest() + 1)

    async def settled() -> bool:
        return not await town.waiting(*mine)

    sent = await flood(relayer, pour, settled)
    assert not await town.waiting(*mine), sent
    assert len(sent) < BOUND
    assert await ledger.tally(number_of(2, 1)) == Tally(1, 1)
    assert (await ledger.round_info(3)).final


@pytest.mark.parametrize("kind", ["video", "link", "vote"])
async def test_a_member_of_the_flooded_server_waits_for_no_more_than_its_turn(
    town: Town, ledger: Ledger, relayer: Relayer, kind: str
) -> None:
    """Within a server members take turns as well; the one who floods is served too."""
    round_id = await town.round()
    await town.video(round_id, "a")
    await relay_all(relayer)
    numbers = itertools.count(100)

    async def pour() -> None:
        for number in (next(numbers), next(numbers)):
            if kind == "video":
                await town.video_by(1, round_id, f"flood{number}")
            elif kind == "vote":
                await town.vote(round_id, "a", (1, number % 3))
            else:
                await town.link(ledger, 1, member(1))
                await town.unlink(ledger, 1, member(1))

    for _ in range(15):
        await pour()
    before = await town.latest()
    await town.video_by(2, round_id, "mine")
    await town.vote(round_id, "a", (2, 1))
    await town.link(ledger, 3, member(3))
    mine = range(before + 1, await town.latest() + 1)

    async def settled() -> bool:
        return not await town.waiting(*mine)

    sent = await flood(relayer, pour, settled)
    assert not await town.waiting(*mine), sent
    assert sent.count(kind if kind != "vote" else "votes") >= 1


async def test_one_servers_new_voters_do_not_fill_every_registration(
    town: Town, ledger: Ledger, relayer: Relayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registration is shared out among servers: also to those who link a wallet, whose server is known by it."""
    monkeypatch.setattr("contracts.ledger.calldata.MAX_VOTERS", 4)
    crowd, few = await town.round_of(FLOODED, 1), await town.round_of(CALM, 2)
    await town.video(crowd, "a")
    await town.video(few, "b")
    await relay_all(relayer)
    await town.vote(crowd, "a", *[(one, 1) for one in range(1, 31)])
    await town.vote(few, "b", (40, 1))
    await town.link(ledger, 41, member(41))
    linking = await town.wallet_of(THIRD, 41)
    first: list[int] = []
    real = relayer.transactions.store

    async def store(draft: Draft) -> None:
        if draft.kind == "votes" and not first:
            first.append(await ledger.voter_index(from_hex(outbox.voter_id(PEPPER, 7, 40))))
            first.append(await ledger.voter_index(from_hex(linking)))
        await real(draft)

    monkeypatch.setattr(relayer.transactions, "store", store)
    await relay_all(relayer)
    assert all(0 < index <= 4 for index in first), "both were in the first registration"
    assert len(first) == 2
    assert await ledger.tally(FIRST) == Tally(30, 0)


async def test_a_restart_does_not_begin_every_row_of_turns_anew(town: Town, ledger: Ledger, chain: Any) -> None:
    """A relayer that is restarted after each transaction serves every kind all the same."""
    round_id = await town.round()
    await town.video(round_id, "a")
    await relay_all(Relayer(town.engine, ledger, chain.signer, QUICK))
    await town.vote(round_id, "a", (1, 1))
    kinds = []
    for number in range(6):
        await town.round_of(FLOODED + 100 + number, 100 + number)
        await town.video(round_id, f"flood{number}")
        await forget_lease(town.engine)
        relayer = Relayer(town.engine, ledger, chain.signer, QUICK)
        kinds += await flood_once(relayer)
    assert {"round", "video", "voters", "votes"} <= set(kinds)


async def flood_once(relayer: Relayer) -> list[str]:
    """One transaction, and no more."""
    sent: list[str] = []
    real = relayer.planner.next

    async def only(**about: Any) -> Draft | None:
        draft = None if sent else await real(**about)
        sent.extend([draft.kind] if draft else [])
        return draft

    relayer.planner.next = only  # type: ignore[method-assign]  # it ends after one
    await relay_all(relayer)
    return sent


@pytest.mark.parametrize("seconds", [300, 36_000])
async def test_what_belongs_to_a_round_that_closes_soon_goes_first(
    town: Town, ledger: Ledger, relayer: Relayer, seconds: int
) -> None:
    """It was entered last and goes first; where its round has time, it waits for its turn."""
    calm = [await town.round_of(20 + number, number) for number in range(1, 6)]
    soon = await town.round_of(CALM, 6, seconds)
    await relay_all(relayer)
    for number, round_id in enumerate([*calm, soon]):
        await town.video(round_id, f"v{number}")
    await relay_all(relayer)
    order = [row.round_id for row in await town.sent("video")]
    assert order == ([soon, *calm] if seconds == 300 else [*calm, soon])


async def test_many_things_in_a_hurry_leave_every_second_transaction_to_others(
    town: Town, ledger: Ledger, relayer: Relayer
) -> None:
    """A flood of what is urgent is a flood as well."""
    calm, soon = await town.round_of(CALM, 1), await town.round_of(FLOODED, 2, 300)
    await relay_all(relayer)
    for number in range(6):
        await town.video(soon, f"s{number}")
    await town.video(calm, "c0")
    await town.video(calm, "c1")
    await relay_all(relayer)
    order = [row.round_id for row in await town.sent("video")]
    assert [place for place, one in enumerate(order) if one == calm] == [1, 3]


async def test_a_round_whose_time_has_not_come_holds_up_nobody(town: Town, ledger: Ledger, relayer: Relayer) -> None:
    """Votes that came before its opening on the ledger wait, and the operator reads why; other rounds' are recorded."""
    early, usual = await town.round(1), await town.round(2)
    async with town.engine.begin() as connection:
        row = (await connection.execute(select(entries).where(entries.c.round_id == early))).one()
        later = {**row.payload, "opens": now_ms() // 1000 + 3000}
        await connection.execute(update(entries).where(entries.c.id == row.id).values(payload=later))
    await town.video(early, "a")
    await town.video(usual, "b")
    await town.vote(early, "a", (1, 1))
    await town.vote(usual, "b", (2, 1))
    with pytest.raises(ChainUnreachableError, match="has not reached the round's opening"):
        await relay_all(relayer)
    assert await ledger.tally(number_of(2, 1)) == Tally(1, 0)
    assert await town.states("vote") == {"pending": 1, "final": 1}


@pytest.mark.parametrize(
    "trouble", [NodeRefusedError(-32005, "no logs of these blocks"), ChainUnreachableError("No node answers that.")]
)
@pytest.mark.parametrize("kind", ["claim", "end", "video"])
async def test_what_nodes_do_not_answer_for_one_kind_holds_up_no_other(
    town: Town, relayer: Relayer, trouble: LedgerError, kind: str
) -> None:
    """Such as logs that a provider does not keep: votes are sent all the same, and the trouble is told."""

    async def refused(_look: Any) -> Draft | None:
        raise trouble

    here = await town.round_of(CALM, 1)
    await town.video(here, "a")
    await relay_all(relayer)
    await town.vote(here, "a", (1, 1))
    relayer.planner._drafters[kind] = refused
    await town.video(here, "b")  # so that each kind has something to do
    for _ in range(12):
        try:
            await relayer.tick()
        except type(trouble) as error:
            assert str(error) == str(trouble)
    assert await town.states("vote") == {"final": 1}


async def test_a_foreign_writer_stops_batches_and_nothing_else(
    town: Town, ledger: Ledger, relayer: Relayer, chain: Any
) -> None:
    """Votes wait for a person to look; what a wallet signed goes, and so do videos: none of it builds upon batches."""
    round_id = await town.round()
    await town.video(round_id, "a")
    await town.vote(round_id, "a", (1, 1))
    await relay_all(relayer)
    await send_by_hand(ledger, chain, calls.batch(1, 1, [], stream.encode([stream.Ballot(FIRST, 0, 2)])))
    await town.vote(round_id, "a", (2, 1))
    await town.link(ledger, 3, member(3))
    await town.ballot(ledger, round_id, 3, member(3), {"a": 1})
    await town.video(round_id, "b")
    with pytest.raises(WrongLedgerError, match="No votes are sent any more"):
        await relay_all(relayer)
    assert await town.states("vote") == {"final": 1, "pending": 1}
    assert [await town.states(kind) for kind in ("link", "ballot", "video")] == [
        {"final": 1},
        {"final": 1},
        {"final": 2},
    ]
