"""Sends what this machine has rendered to the video host, by an address that the bot asked for: we hold no key."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.hosting import s3_upload as presigned
from generation.hosting import tus
from generation.hosting.host import AlreadyUploaded, HostBusy, HostError, HostUnreachable, UploadGone
from generation.hosting.min_duration import extend_to_min_duration
from generation.jobs import JobEnd, Phase, UploadJob
from generation.worker.files import sha256_of
from migrations.database import now_ms, upsert_into
from migrations.schema import upload_urls

log = logging.getLogger(__name__)

TELL_S = 0.5  # how often progress is written, at most
FIRST_PAUSE_S = 1.0  # while a host is away
LONGEST_PAUSE_S = 30.0
UNREADABLE = JobEnd("failed", "The worker cannot read this job; it may be of another release than the bot.")
FILE_MISSING = JobEnd("file_missing", "The rendered file is no longer on this machine.")
COMPLETE = ""  # in place of an upload's address that has served: it is a credential

Json = dict[str, Any]
Tell = Callable[[str, Phase, int, int, float | None], Awaitable[None]]
Watched = Callable[[str], AbstractAsyncContextManager[asyncio.Event]]


class HandOverError(Exception):
    """The job is not ours to end: another worker goes on with it."""


async def carried_out(
    sending: Coroutine[Any, Any, Json], video_id: str, *, watched: Watched, closing: asyncio.Event
) -> Json:
    """What the sending gives; a JobEnd once nobody wants the video. Raises HandOverError when the worker ends."""
    async with watched(video_id) as unwanted:
        task = asyncio.create_task(sending, name="sending")
        stops = [asyncio.create_task(event.wait()) for event in (unwanted, closing)]
        try:
            await asyncio.wait([task, *stops], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            for each in (task, *stops):
                each.cancel()
            await asyncio.gather(task, *stops, return_exceptions=True)
    if unwanted.is_set():
        return JobEnd("cancelled", "Cancelled.").to_json()
    raise HandOverError


async def holds(path: Path, sha256: str, data_dir: Path) -> bool:
    """Whether a file is one that we rendered, and unchanged: nothing else leaves this machine, whatever a job names."""
    return path.is_relative_to(data_dir / "videos") and await asyncio.to_thread(sha256_of, path) == sha256


class Uploads:
    """The upload step of a worker. `watched` gives an event that is set when a video is no longer wanted."""

    def __init__(
        self,
        database: AsyncEngine,
        data_dir: Path,
        client: httpx.AsyncClient,
        *,
        tell: Tell,
        watched: Watched,
        closing: asyncio.Event,
    ) -> None:
        self._database = database
        self._data_dir = data_dir
        self._client = client
        self._tell = tell
        self._watched = watched
        self._closing = closing

    async def upload(self, argument: Json) -> Json:
        """UploadJob in, {"outcome": "done"} or JobEnd out. Raises HandOverError when the worker ends."""
        try:
            job = UploadJob(**argument)
            path = Path(job.video_path).resolve()
        except (TypeError, ValueError):
            return UNREADABLE.to_json()
        if not await holds(path, job.sha256, self._data_dir):
            return FILE_MISSING.to_json()
        return await carried_out(self._send(job, path), job.video_id, watched=self._watched, closing=self._closing)

    async def _send(self, job: UploadJob, path: Path) -> Json:
        """Keeps trying while the host or the database is away: an outage is no failure."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                known = await self._known_url(_bytes_of(job))
                if known == COMPLETE:
                    return {"outcome": "done"}
                await self._send_once(job, path, known)
                await self._keep(_bytes_of(job), COMPLETE)
            except (HostUnreachable, HostBusy, SQLAlchemyError) as error:
                said = error if isinstance(error, HostError) else f"The database is away ({type(error).__name__})."
                log.warning("The upload of video %s waits: %s", job.video_id, said)
                await asyncio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311  # jitter
                pause = min(pause * 2, LONGEST_PAUSE_S)
            except UploadGone as error:
                return JobEnd("upload_gone", str(error)).to_json()
            except (HostError, ValueError) as error:
                return JobEnd("failed", f"The video could not be uploaded: {error}").to_json()
            except OSError:
                return JobEnd("file_missing", "The rendered file can no longer be read on this machine.").to_json()
            else:
                return {"outcome": "done"}

    async def _send_once(self, job: UploadJob, path: Path, known: str | None) -> None:
        told = -math.inf

        async def tell(sent: int, size: int) -> None:
            nonlocal told
            if time.monotonic() - told >= TELL_S or sent == size:
                told = time.monotonic()
                await self._tell(job.video_id, "uploading", sent // 1024, size // 1024 + 1, None)

        async def keep(url: str) -> None:
            await self._keep(_bytes_of(job), url)

        if job.presigned is not None:
            await presigned.upload(job.presigned, path, client=self._client, sha256=job.sha256, on_progress=tell)
            return
        with tempfile.TemporaryDirectory(prefix="flock-") as folder, contextlib.suppress(AlreadyUploaded):
            file, digest = await asyncio.to_thread(
                extend_to_min_duration, path, job.sha256, job.shortest_s, Path(folder)
            )
            await tus.upload(
                job.tus_endpoint,
                file,
                client=self._client,
                on_url=keep,
                resume_url=known,
                sha256=digest,  # a repeated render may have come to stand under the same name since
                on_progress=tell,
            )

    async def _keep(self, upload: str, url: str) -> None:
        async with self._database.begin() as connection:
            await connection.execute(
                upsert_into(connection, upload_urls)
                .values(asset_id=upload, url=url, created_at_ms=now_ms())
                .on_conflict_do_update(index_elements=["asset_id"], set_={"url": url})
            )

    async def _known_url(self, upload: str) -> str | None:
        async with self._database.connect() as connection:
            url: str | None = await connection.scalar(select(upload_urls.c.url).where(upload_urls.c.asset_id == upload))
        return url


def _bytes_of(job: UploadJob) -> str:
    """What an upload's address is kept under: the asset and the file.

    A repeated render has the same frames, but its signature makes it another file: it is never sent on the heels of
    the first one's bytes.
    """
    return f"{job.asset_id}:{job.sha256[:16]}"
