"""The progress of a job, as the bot reads it, and a member's wish to cancel it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.prompt_words import PromptWords
from generation.render_messages import Tick
from generation.worker.eta import History
from generation.worker.progress import JobProgress, watch_for_cancel
from migrations.database import open_database
from migrations.schema import render_progress, videos
from tests.generation.worker.test_worker import add_video

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_ticks_are_written_at_their_pace(database: AsyncEngine, tmp_path: Path) -> None:
    """A new phase at once, a step soon after another not at all; the row is one."""
    progress = JobProgress(database, worker_id="w")
    on_tick = await progress.of_render("42", model_id="m", model=None, history=History(tmp_path, "m"))
    for tick in (Tick(1, "loading", 0, 1), Tick(1, "denoising", 0, 9), Tick(1, "denoising", 1, 9)):
        await on_tick(tick)
    async with database.connect() as connection:
        row = (await connection.execute(select(render_progress))).one()
    assert (row.video_id, row.phase, row.step, row.steps, row.worker_id) == ("42", "denoising", 0, 9, "w")
    assert row.eta_s is None


async def test_words_stay_in_the_row_that_has_them(database: AsyncEngine, tmp_path: Path) -> None:
    """They come with one tick, at once; later ticks, and an upload, leave them."""
    progress = JobProgress(database, worker_id="w")
    on_tick = await progress.of_render("42", model_id="m", model=None, history=History(tmp_path, "m"))
    words = PromptWords([[0, 3]], [], "colours", "red")
    ticks = (Tick(1, "denoising", 0, 9), Tick(1, "denoising", 0, 9, words), Tick(1, "encoding", 0, 1))
    for tick in ticks:
        await on_tick(tick)
    await progress.write("42", "uploading", 1, 2, None)
    await progress.write("43", "uploading", 1, 2, None)
    async with database.connect() as connection:
        rows = (await connection.execute(select(render_progress).order_by(render_progress.c.video_id))).all()
    assert [(row.phase, row.words) for row in rows] == [("uploading", words.to_json()), ("uploading", None)]


async def test_a_database_that_is_away_costs_no_render(
    database: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The twin: it is a line in the log."""
    away = open_database(f"sqlite:///{tmp_path}/none/flock.db")
    await JobProgress(away, worker_id="w").write("42", "encoding", 0, 1, None)
    await away.dispose()
    assert "Progress of video 42 could not be written" in caplog.text


async def test_a_cancellation_is_noticed(database: AsyncEngine) -> None:
    """That of another video is not."""
    await add_video(database, "42")
    async with watch_for_cancel(database, "42") as cancel, watch_for_cancel(database, "43") as other:
        assert not cancel.is_set()
        async with database.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == "42").values(cancel_requested=True))
        await asyncio.wait_for(cancel.wait(), 60)
        assert not other.is_set()
