"""The render jobs of a battle round: both models are one base model, with an adapter or without."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import Contender, PairPlan
from bot.workflows.battle_parts import LeftOutError, QueuedJob
from generation.adapters.file import AdapterError, adapter_path
from generation.adapters.transfer import offer
from generation.jobs import ReleaseName, RenderJob, gpu_queue, release_queue
from migrations.schema import releases


class JobsOfReleases:
    """Asks workers for a video of a contender, and offers them its adapter.

    A candidate's adapter goes by its hash, with no number: it is no release yet. The cards of battle videos stay in the
    database, and what members get is stripped of them.
    """

    def __init__(self, database: AsyncEngine, data_dir: Path, model_class: str) -> None:
        self._database = database
        self._data_dir = data_dir
        self._model_class = model_class

    async def __call__(self, contender: Contender, video_id: str, pair: PairPlan, fit_bytes: int | None) -> QueuedJob:
        """Return the job of a video. Raises LeftOutError where the contender's adapter is not here."""
        release = None
        if contender.adapter is not None:
            release = ReleaseName(await self._number_of(contender), contender.adapter)
            try:
                await offer(self._database, adapter_path(self._data_dir, contender.adapter), contender.adapter)
            except AdapterError as error:
                raise LeftOutError(f"A model's adapter could not be offered to the workers. {error}") from error
        job = RenderJob(
            video_id=video_id,
            prompt=pair.prompt,
            seed=pair.seed,
            model_id=contender.model_id,
            fit_bytes=fit_bytes,
            release=release,
        )
        queue = gpu_queue if release is None else release_queue
        return QueuedJob(job, queue(self._model_class, contender.model_id))

    async def _number_of(self, contender: Contender) -> int | None:
        """Return the number of the release that has the contender's adapter; None for a candidate."""
        query = select(releases.c.number).where(
            releases.c.model_id == contender.model_id, releases.c.adapter_sha256 == contender.adapter
        )
        async with self._database.connect() as connection:
            number = await connection.scalar(query.limit(1))
        return None if number is None else int(number)
