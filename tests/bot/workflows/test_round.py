"""A closed round waits for the ledger as long as it takes, and no longer than there is something to wait for."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.domain.ledger_links import PublicLedger
from bot.ledger_status import LedgerStatus
from bot.posts.progress import ProgressMessages
from bot.posts.rounds import RoundPosts
from bot.posts.videos import VideoPosts
from bot.posts.winners import WinnerVideos
from bot.round_results import Results
from bot.store import rounds
from bot.store.vote_writer import VoteWriter
from bot.sync.wallet_events import WalletEvents
from bot.workflows import round as round_life
from bot.workflows.closing import ClosingWorkflow
from bot.workflows.round import RoundWorkflow
from bot.workflows.video_queue import VideoQueue
from contracts.ledger.client import Ledger
from migrations.schema import outbox
from tests.bot.store.test_vote_writer import PEPPER, add_round
from tests.builders.engines import RecordingEngine


@pytest.fixture
async def workflow(database: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> RoundWorkflow:
    """A closed round with its entries under way, and a workflow that looks often."""
    monkeypatch.setattr(round_life, "LEDGER_POLL_S", 0.01)
    await add_round(database, 1, closes_in_s=-1, status="closed")
    async with database.begin() as connection:
        for kind in ("round", "vote", "close"):
            about = {"kind": kind, "round_id": 1, "payload": {}, "state": "pending", "created_at_ms": 1}
            await connection.execute(insert(outbox).values(**about))
    return round_workflow(database)


def round_workflow(database: AsyncEngine) -> RoundWorkflow:
    """The workflow of rounds, of a bot that is not connected to anything."""
    engine, ledger = RecordingEngine(), Ledger("http://127.0.0.1:9", "0x" + "11" * 20)

    async def no_trouble() -> None:
        return None

    status = LedgerStatus(database=database, links=PublicLedger("", None, None), relayer_trouble=no_trouble)
    client = Client()
    progress = ProgressMessages(database=database, client=client, progress_s=1.0, model_class="tiny")
    video_posts = VideoPosts(database=database, client=client, data_dir=Path(), host_name=None, progress=progress)
    posts = RoundPosts(
        database=database,
        client=client,
        results=Results(database, ledger),
        ledger_status=status,
        winners=WinnerVideos(client=client, posts=video_posts, data_dir=Path()),
    )
    return RoundWorkflow(
        database=database,
        engine=engine,
        queue=VideoQueue(database=database, engine=engine),
        posts=posts,
        closing=ClosingWorkflow(
            database=database, engine=engine, posts=posts, video_posts=video_posts, progress=progress
        ),
        wallet_events=WalletEvents(database=database, ledger=ledger, votes=VoteWriter(database, PEPPER)),
    )


async def waits(workflow: RoundWorkflow, seconds: float = 0.5) -> bool:
    """Whether the workflow still waits after a while."""
    waiting = asyncio.create_task(workflow._wait_for_ledger(1))
    done, _ = await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return not done


async def reject(database: AsyncEngine, kind: str) -> None:
    async with database.begin() as connection:
        await connection.execute(
            update(outbox).where(outbox.c.kind == kind).values(state="rejected", reason="It was over.")
        )


async def test_it_waits_while_the_result_is_on_its_way(database: AsyncEngine, workflow: RoundWorkflow) -> None:
    """A refused vote is no reason to stop; the result is."""
    await reject(database, "vote")
    assert await waits(workflow)
    await rounds.change(database, 1, finalized_tx="0x" + "ab" * 32)
    assert not await waits(workflow, 20)


@pytest.mark.parametrize("kind", ["round", "close"])
async def test_it_ends_when_the_ledger_refused_the_round_or_its_end(
    database: AsyncEngine, workflow: RoundWorkflow, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The operator reads which round it was, why, and what helps."""
    await reject(database, kind)
    with caplog.at_level(logging.ERROR):
        assert not await waits(workflow, 20)
    assert "Round 1 will never be on the ledger: It was over." in caplog.text
    assert "FLOCK_CHAIN_GRACE_S" in caplog.text
    assert (await rounds.get(database, 1)).status == "closed"
