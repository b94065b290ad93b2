"""The progress of a worker's jobs, as it stands in the database for the bot, and a member's wish to cancel one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.jobs import Phase
from generation.prompt_words import PromptWords
from generation.render_messages import LoadedModel, Tick
from generation.worker.eta import Estimate, History, kind_of
from migrations.database import now_ms, upsert_into
from migrations.schema import render_progress, render_timings, videos

log = logging.getLogger(__name__)

CANCEL_POLL_S = 0.5  # how often a running job looks for a cancellation
PROGRESS_S = 0.5  # how often progress is written, at most


class JobProgress:
    """The rows in which a worker writes how far its jobs are."""

    def __init__(self, database: AsyncEngine, *, worker_id: str) -> None:
        self._database = database
        self._worker_id = worker_id

    async def of_render(
        self, video_id: str, *, model_id: str, model: LoadedModel | None, history: History
    ) -> Callable[[Tick], Awaitable[None]]:
        """Return what writes a render's ticks, at most two a second, with an estimate of the remaining seconds.

        `model` is None where it is not loaded yet: the history is of the pipeline as it is loaded.
        """
        usual = history.usual(kind_of(model)) if model is not None else {}
        estimate = Estimate(usual, whole=await self._seconds_elsewhere(model_id))
        last_write, last_phase = -math.inf, ""

        async def on_tick(tick: Tick) -> None:
            nonlocal last_write, last_phase
            now = time.monotonic()
            eta = estimate.remaining(tick.phase, tick.step, tick.steps)
            if now - last_write < PROGRESS_S and tick.phase == last_phase and tick.words is None:
                return
            last_write, last_phase = now, tick.phase
            await self.write(video_id, tick.phase, tick.step, tick.steps, eta, tick.words)

        return on_tick

    async def write(
        self, video_id: str, phase: Phase, step: int, steps: int, eta_s: float | None, words: PromptWords | None = None
    ) -> None:
        """Write one row; a database that is away costs no more than a line of the log.

        The prompt's words stay in the row that has them.
        """
        values = {
            "phase": phase,
            "step": step,
            "steps": steps,
            "eta_s": eta_s,
            "worker_id": self._worker_id,
            "updated_at_ms": now_ms(),
            **({} if words is None else {"words": words.to_json()}),
        }
        try:
            async with self._database.begin() as connection:
                await connection.execute(
                    upsert_into(connection, render_progress)
                    .values(video_id=video_id, **values)
                    .on_conflict_do_update(index_elements=["video_id"], set_=values)
                )
        except SQLAlchemyError as error:  # progress is only for people; the video is what matters
            log.warning("Progress of video %s could not be written (%s).", video_id, type(error).__name__)

    async def _seconds_elsewhere(self, model_id: str) -> float | None:
        """Return the average of the model's last renders on all machines; None where there are none."""
        recent = (
            select(render_timings.c.seconds)
            .where(render_timings.c.model_id == model_id)
            .order_by(render_timings.c.finished_at_ms.desc())
            .limit(20)
            .subquery()
        )
        with contextlib.suppress(SQLAlchemyError):
            async with self._database.connect() as connection:
                average = await connection.scalar(select(func.avg(recent.c.seconds)))
                return None if average is None else float(average)
        return None


@contextlib.asynccontextmanager
async def watch_for_cancel(database: AsyncEngine, video_id: str) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set once the member has cancelled the video."""
    cancel = asyncio.Event()
    watcher = asyncio.create_task(_poll_cancel_request(database, video_id, cancel), name="cancel request")
    try:
        yield cancel
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _poll_cancel_request(database: AsyncEngine, video_id: str, cancel: asyncio.Event) -> None:
    query = select(videos.c.cancel_requested).where(videos.c.id == video_id)
    while True:
        try:
            async with database.connect() as connection:
                if await connection.scalar(query):
                    cancel.set()
                    return
        except SQLAlchemyError as error:
            log.warning("A cancellation of video %s could not be looked for (%s).", video_id, type(error).__name__)
        await asyncio.sleep(CANCEL_POLL_S)
