"""The upload of this machine's videos to the host, by an address that the bot has asked for: a worker has no key."""

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
from typing import TypeVar

import httpx
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.hosting import s3_upload, tus
from generation.hosting.guarded import guarded_client
from generation.hosting.host import AlreadyUploaded, HostBusy, HostError, HostUnreachable, UploadGone
from generation.hosting.min_duration import extend_to_min_duration
from generation.hosting.reach import Reach
from generation.jobs import JobEnd, Phase, UploadJob
from generation.strict_json import JsonObject
from generation.worker.files import sha256_of
from migrations.database import now_ms, upsert_into
from migrations.schema import upload_urls

log = logging.getLogger(__name__)

PROGRESS_S = 0.5  # how often progress is written, at most
FIRST_PAUSE_S = 1.0  # while a host is away
LONGEST_PAUSE_S = 30.0
UNREADABLE = JobEnd("failed", "The worker cannot read this job; it may be of another release than the bot.")
FILE_MISSING = JobEnd("file_missing", "The rendered file is no longer on this machine.")
COMPLETE = ""  # in place of the address of an upload that is done: the address is a credential

T = TypeVar("T")
WriteProgress = Callable[[str, Phase, int, int, float | None], Awaitable[None]]
WatchForCancel = Callable[[str], AbstractAsyncContextManager[asyncio.Event]]


class HandOverError(Exception):
    """The worker ends before the job does; another worker goes on with it."""


async def unless_stopped(
    sending: Coroutine[None, None, JsonObject],
    video_id: str,
    *,
    watch_for_cancel: WatchForCancel,
    closing: asyncio.Event,
) -> JsonObject:
    """Return the result of the sending; a JobEnd once its member has cancelled the video.

    Raises HandOverError when the worker ends.
    """
    async with watch_for_cancel(video_id) as cancel:
        task = asyncio.create_task(sending, name="sending")
        stops = [asyncio.create_task(event.wait()) for event in (cancel, closing)]
        try:
            await asyncio.wait([task, *stops], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            for each in (task, *stops):
                each.cancel()
            await asyncio.gather(task, *stops, return_exceptions=True)
    if cancel.is_set():
        return JobEnd("cancelled", "Cancelled.").to_json()
    raise HandOverError


async def is_rendered_file(path: Path, sha256: str, data_dir: Path) -> bool:
    """Tell a file that was rendered here and is unchanged: nothing else leaves the machine, whatever a job names."""
    return path.is_relative_to(data_dir / "videos") and await asyncio.to_thread(sha256_of, path) == sha256


class Uploads:
    """The upload step of a worker. `watch_for_cancel` gives an event that is set when a member cancels the video."""

    def __init__(
        self,
        database: AsyncEngine,
        data_dir: Path,
        client: httpx.AsyncClient,
        *,
        write_progress: WriteProgress,
        watch_for_cancel: WatchForCancel,
        closing: asyncio.Event,
    ) -> None:
        self._database = database
        self._data_dir = data_dir
        self._client = client
        self._write_progress = write_progress
        self._watch_for_cancel = watch_for_cancel
        self._closing = closing

    async def upload(self, argument: JsonObject) -> JsonObject:
        """Upload one file: UploadJob in, {"outcome": "done"} or JobEnd out.

        Raises HandOverError when the worker ends.
        """
        try:
            job = UploadJob.from_json(argument)
            path = Path(job.video_path).resolve()
        except (TypeError, ValueError):
            return UNREADABLE.to_json()
        if not await is_rendered_file(path, job.sha256, self._data_dir):
            return FILE_MISSING.to_json()
        return await unless_stopped(
            self._send(job, path), job.video_id, watch_for_cancel=self._watch_for_cancel, closing=self._closing
        )

    async def _send(self, job: UploadJob, path: Path) -> JsonObject:
        """Keep trying while the host or the database is away: an outage is no failure."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                url = await self._stored_url(_upload_key(job))
                if url == COMPLETE:
                    return {"outcome": "done"}
                await self._send_once(job, path, url)
                await self._store_url(_upload_key(job), COMPLETE)
            except (HostUnreachable, HostBusy, SQLAlchemyError) as error:
                reason = error if isinstance(error, HostError) else f"The database is away ({type(error).__name__})."
                log.warning("The upload of video %s waits: %s", job.video_id, reason)
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

    async def _send_once(self, job: UploadJob, path: Path, known_url: str | None) -> None:
        last_write = -math.inf

        async def on_progress(sent_bytes: int, size: int) -> None:
            nonlocal last_write
            if time.monotonic() - last_write >= PROGRESS_S or sent_bytes == size:
                last_write = time.monotonic()
                await self._write_progress(job.video_id, "uploading", sent_bytes // 1024, size // 1024 + 1, None)

        async def on_url(url: str) -> None:
            await self._store_url(_upload_key(job), url)

        if job.presigned is not None:
            await s3_upload.upload(job.presigned, path, client=self._client, sha256=job.sha256, on_progress=on_progress)
            return
        with tempfile.TemporaryDirectory(prefix="flock-") as folder, contextlib.suppress(AlreadyUploaded):
            file, digest = await asyncio.to_thread(
                extend_to_min_duration, path, job.sha256, job.shortest_s, Path(folder)
            )
            # The bot has looked at the endpoint, which may be in our network; what it leads to is held to the same.
            async with guarded_client(Reach.of(job.tus_endpoint), tus.TIMEOUT) as client:
                await tus.upload(
                    job.tus_endpoint,
                    file,
                    client=client,
                    on_url=on_url,
                    resume_url=known_url,
                    sha256=digest,  # a repeated render may have replaced the file since
                    on_progress=on_progress,
                )

    async def _store_url(self, upload: str, url: str) -> None:
        async with self._database.begin() as connection:
            await connection.execute(
                upsert_into(connection, upload_urls)
                .values(asset_id=upload, url=url, created_at_ms=now_ms())
                .on_conflict_do_update(index_elements=["asset_id"], set_={"url": url})
            )

    async def _stored_url(self, upload: str) -> str | None:
        async with self._database.connect() as connection:
            url: str | None = await connection.scalar(select(upload_urls.c.url).where(upload_urls.c.asset_id == upload))
        return url


def _upload_key(job: UploadJob) -> str:
    """Return the key of an upload's address: the asset and the file.

    A repeated render has the same frames, but its signature makes it another file: its bytes are never appended to
    the first one's.
    """
    return f"{job.asset_id}:{job.sha256[:16]}"
