"""What a round has come to, while the ledger can be read and while it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import round_results as results
from bot.domain.ledger_links import PublicLedger
from bot.domain.rounds import Round
from bot.domain.votes import Choice, Tally, Vote
from bot.ledger_status import LedgerStatus
from bot.round_results import Results
from bot.store import rounds
from bot.store.vote_writer import VoteWriter
from contracts.ledger.client import Ledger, RoundInfo
from contracts.ledger.client import Tally as OnLedger
from contracts.rpc.node import ChainUnreachableError, WrongLedgerError
from migrations.schema import outbox, videos
from tests.bot.store.test_vote_writer import GUILD, PEPPER, add_round, add_video

TX = "0x" + "ab" * 32
FIRST = 1025


class Told(Ledger):
    """A ledger that answers what it is told to, or fails so."""

    def __init__(self, tallies: dict[int, tuple[int, int]], winner: int, error: Exception | None = None) -> None:
        self.tallies, self.winner, self.error, self.asked = tallies, winner, error, 0

    async def round_info(self, round_number: int, at: Any = "latest") -> RoundInfo:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return RoundInfo(1, 2, 0, 2, 3, True, self.winner)

    async def tally(self, video: int, at: Any = "latest") -> OnLedger:
        return OnLedger(*self.tallies[video])


class Slow(Told):
    """It answers in the end."""

    async def tally(self, video: int, at: Any = "latest") -> OnLedger:
        await asyncio.sleep(0.5)
        return await super().tally(video, at)


@pytest.fixture
async def round_(database: AsyncEngine) -> AsyncIterator[Round]:
    """A closed round, final on the ledger: one vote on the first video was taken, two on the second were refused."""
    await add_round(database, 1)
    for number, video in enumerate(("10", "11")):
        await add_video(database, video, 1)
        async with database.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == video).values(chain_id=FIRST + number))
    writer = VoteWriter(database, PEPPER)
    writer.start()
    for video, member in (("10", 1), ("11", 2), ("11", 3)):
        await writer.cast(Vote(GUILD, video, member, Choice.UP, "button"))
    await writer.close()
    async with database.begin() as connection:
        for video, state in (("10", "final"), ("11", "rejected")):
            await connection.execute(update(outbox).where(outbox.c.video_id == video).values(state=state))
    await rounds.change(database, 1, status="closed", chain_id=1, finalized_tx=TX)
    yield await rounds.get(database, 1)


async def test_a_round_that_is_not_final_stands_as_counted_here(database: AsyncEngine, round_: Round) -> None:
    """The ledger is not asked."""
    await rounds.change(database, 1, finalized_tx=None)
    ledger = Told({}, 0)
    outcome = await Results(database, ledger).of(await rounds.get(database, 1))
    assert (outcome.source, outcome.best and outcome.best.video.id) == ("here", "11")
    assert ledger.asked == 0


async def test_a_final_round_is_the_ledgers_and_is_read_once(database: AsyncEngine, round_: Round) -> None:
    """Its tallies and its winner, whatever is in the votes."""
    ledger = Told({FIRST: (7, 2), FIRST + 1: (0, 0)}, FIRST)
    read = Results(database, ledger)
    for _ in range(2):
        outcome = await read.of(round_, patient=True)
        assert outcome.source == "ledger"
        assert {e.video.id: e.tally for e in outcome.entries} == {"10": Tally(7, 2), "11": Tally(0, 0)}
        assert outcome.best is not None
        assert outcome.winner_here is not None
        assert (outcome.best.video.id, outcome.winner_here.video.id, outcome.rejected) == ("10", "11", 2)
    assert ledger.asked == 1


@pytest.mark.parametrize("error", [ChainUnreachableError("It is away."), WrongLedgerError("It is another.")])
async def test_while_the_ledger_cannot_be_read_our_record_stands_in(
    database: AsyncEngine, round_: Round, error: Exception
) -> None:
    """It counts nothing that was refused; who waits for the ledger itself is told to wait."""
    ledger = Told({FIRST: (1, 0), FIRST + 1: (0, 0)}, FIRST, error)
    read = Results(database, ledger)
    outcome = await read.of(round_)
    assert outcome.source == "record"
    assert {e.video.id: e.tally for e in outcome.entries} == {"10": Tally(1, 0), "11": Tally(0, 0)}
    assert (outcome.best and outcome.best.video.id, outcome.rejected) == ("10", 2)
    with pytest.raises(ChainUnreachableError, match=str(error)):
        await read.of(round_, patient=True)
    ledger.error = None
    assert (await read.of(round_)).source == "ledger"


async def test_a_member_does_not_wait_for_a_slow_node(
    database: AsyncEngine, round_: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that takes its time is one that cannot be read; who posts the result has that time."""
    monkeypatch.setattr(results, "PATIENCE_S", 0.1)
    read = Results(database, Slow({FIRST: (1, 0), FIRST + 1: (0, 0)}, FIRST))
    assert (await read.of(round_)).source == "record"
    assert (await read.of(round_, patient=True)).source == "ledger"


async def test_the_sentence_about_the_ledger(database: AsyncEngine, round_: Round) -> None:
    """Under way it counts, final it names transaction and audit, refused it says why: and none says two of these.

    For everybody it is one plain sentence, without hash, address or command.
    """

    async def trouble() -> str:
        return "The account is empty."

    public = PublicLedger("0x" + "12" * 20, "https://node.example", "https://scan.example/tx/{tx}")
    status = LedgerStatus(database=database, links=public, relayer_trouble=trouble)
    final = await status.sentence(round_)
    assert f"round 1, transaction [`{TX[:10]}…`](https://scan.example/tx/{TX})" in final
    assert "`flock audit --rpc https://node.example --ledger 0x" in final
    assert final.endswith("--round 1`")
    assert await status.summary(round_) == "✅ On the ledger for good: anyone can recount the votes."
    await rounds.change(database, 1, finalized_tx=None)
    under_way = await status.sentence(round_)
    assert under_way == "On the ledger: 1 entry recorded, 0 on the way, 2 rejected. The account is empty."
    assert (await status.summary(round_)).startswith("The votes are on their way to the ledger")
    async with database.begin() as connection:
        about = {"round_id": 1, "payload": {}, "created_at_ms": 1, "kind": "round"}
        reason = f"It was over. {TX}"
        await connection.execute(outbox.insert().values(**about, state="rejected", reason=reason))
    refused = await status.sentence(round_)
    assert refused.startswith(f"Not on the ledger: It was over. {TX} The votes stand as they were counted here")
    assert "on the way" not in refused
    summary = await status.summary(round_)
    assert summary == "Not on the ledger: It was over. … The votes stand as they were counted here."
