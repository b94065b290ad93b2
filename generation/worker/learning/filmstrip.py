"""The job of a filmstrip: one prompt and seed rendered with each release, and drawn as one picture.

The videos stay on this machine, so that a later release costs one video: what they were rendered with is their name.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from generation.adapters.file import AdapterError
from generation.jobs import FilmstripJob, JobEnd, ReleaseName, RenderJob
from generation.render_messages import FailureKind, LoadedModel, ReleaseAdapter, RenderRequest
from generation.strict_json import JsonObject
from generation.video.filmstrip import MOST_ROWS, FilmstripError, Row, draw
from generation.worker.render_process import RenderChild, RenderError
from generation.worker.uploads import UNREADABLE, HandOverError

log = logging.getLogger(__name__)

FOLDER = "filmstrips"  # in the data folder


class Filmstrips:
    """Makes filmstrips with the worker's own render process."""

    def __init__(
        self,
        child: RenderChild,
        *,
        data_dir: Path,
        model_id: str,
        adapter_of: Callable[[RenderJob], Awaitable[ReleaseAdapter | None]],
    ) -> None:
        """`adapter_of` brings the adapter of a job's release here; it raises AdapterError or HandOverError."""
        self._child = child
        self._folder = data_dir / FOLDER
        self._model_id = model_id
        self._adapter_of = adapter_of

    async def make(self, argument: JsonObject) -> JsonObject:
        """Make a filmstrip: FilmstripJob in, {"outcome": "done", "png": base64} or JobEnd out.

        A repetition renders only what is not there yet. Raises HandOverError when the worker ends.
        """
        try:
            job = FilmstripJob.from_json(argument)
        except (TypeError, ValueError):
            return UNREADABLE.to_json()
        if job.model_id != self._model_id:
            return JobEnd("failed", f"This worker renders with {self._model_id}, not with {job.model_id}.").to_json()
        try:
            model = await self._child.warm()
            rows = [await self._row(job, model, release) for release in (None, *job.releases[1 - MOST_ROWS :])]
            png = await asyncio.to_thread(draw, rows)
        except RenderError as error:
            if error.kind in {FailureKind.LOAD, FailureKind.CLOSED}:
                raise HandOverError from None
            return JobEnd("failed", str(error)).to_json()
        except (AdapterError, FilmstripError) as error:
            return JobEnd("failed", str(error)).to_json()
        return {"outcome": "done", "png": base64.b64encode(png).decode()}

    async def _row(self, job: FilmstripJob, model: LoadedModel, release: ReleaseName | None) -> Row:
        """Return the row of a release, None for the base model; its video is rendered unless it is here."""
        path = self._folder / f"{_name(job, model, release)}.mp4"
        if not path.is_file():
            asked = RenderJob("0", job.prompt, job.seed, job.model_id, release=release)
            request = RenderRequest(
                prompt=job.prompt,
                seed=job.seed,
                video_path=str(path),
                poster_path=str(path.with_suffix(".jpg")),
                release=await self._adapter_of(asked),
            )
            await self._child.render(request)
            log.info("A video of the filmstrip is rendered with %s.", _label(release))
        return Row(_label(release), path)


def _label(release: ReleaseName | None) -> str:
    return "base model" if release is None else f"release {release.number}"


def _name(job: FilmstripJob, model: LoadedModel, release: ReleaseName | None) -> str:
    """Return a hash over all that the frames depend on."""
    adapter = None if release is None else release.adapter_sha256
    facts = [job.prompt, job.seed, model.model_id, model.revision, asdict(model.preset), model.device, adapter]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
