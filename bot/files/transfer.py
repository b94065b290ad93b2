"""Brings a rendered file to this machine, through the database, where only its worker has it.

Called within steps of a video's life, so all of it may run again: what is here is not brought twice. Without the
original a card shows what the host has, a copy without its manifest, and moderators cannot watch what is held.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.domain.videos import Video
from bot.files.attachments import brought_path, read_here
from bot.store import file_transfers as originals
from bot.store import videos
from generation.durable_files import publish
from generation.jobs import MOST_BYTES, ORIGINAL_WORKFLOW, PART_BYTES, OriginalJob, originals_queue, parts_of
from generation.queue.engine import WorkCancelledError

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

POLL_S = 0.5

Json = dict[str, Any]


class RefusedError(Exception):
    """What came is not the recorded file, or cannot be kept; the reason is a sentence for the operator."""


class Originals:
    """The bot's side of generation/worker/file_transfers.py."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def bring(self, video_id: str, attempt: int, machine: str) -> bool:
        """Whether the file is on this machine, once its worker was asked for it where that was necessary.

        Nothing is left in the database, however it ends. Raises what passes by itself: then it is called again.
        """
        video = await videos.known(self.app.database, video_id)
        here = await asyncio.to_thread(read_here, video, self.app.settings.data_dir) is not None
        if not here and self._may_come(video):
            try:
                await self._come(video, attempt, machine)
                here = True
            except RefusedError as error:
                log.warning("The original of video %s is not brought here: %s", video_id, error)
        await originals.forget(self.app.database, video_id)
        return here

    async def drop(self, video: Video) -> None:
        """Nobody needs it any more: the card stands, or there will be none. What was rendered here stays."""
        await originals.forget(self.app.database, video.id)
        await asyncio.to_thread(_delete, brought_path(video.id, self.app.settings.data_dir))

    def _may_come(self, video: Video) -> bool:
        """Whether the file is worth its way: Discord takes it, and the database does."""
        guild = self.app.client.get_guild(video.guild_id)
        limit = MOST_BYTES if guild is None else min(MOST_BYTES, int(guild.filesize_limit))
        size = video.size_bytes or 0
        if size > limit:
            log.warning(
                "Video %s (%.1f MiB) stays with its worker: more than %.0f MiB cannot be attached or brought here.",
                video.id,
                size / PART_BYTES,
                limit / PART_BYTES,
            )
        return 0 < size <= limit and video.sha256 is not None

    async def _come(self, video: Video, attempt: int, machine: str) -> None:
        job = OriginalJob(video.id, video.video_path or "", video.sha256 or "", video.size_bytes or 0)
        job_id = f"video-{video.id}-original-{attempt}"
        async with self.app.database.begin() as connection:
            await originals.want(connection, video.id, job.sha256)
            await self.app.engine.submit(
                connection, ORIGINAL_WORKFLOW, job_id, job.to_json(), queue=originals_queue(machine)
            )
        end = await self._end(job_id, video.id)
        if end.get("outcome") != "done":
            raise RefusedError(str(end.get("reason")))
        await self._keep(video)
        log.info("The original was brought here.")

    async def _end(self, job_id: str, video_id: str) -> Json:
        """How the sending ended; early where nobody wants the video any more."""
        while True:
            try:
                end: Json | None = await self.app.engine.result(job_id)
            except WorkCancelledError:
                return {"outcome": "failed", "reason": "Its worker's machine is gone, or of an older release."}
            if end is not None:
                return end
            if (await videos.known(self.app.database, video_id)).cancel_requested:
                return {"outcome": "cancelled", "reason": "Nobody wants it any more."}
            await asyncio.sleep(POLL_S)

    async def _keep(self, video: Video) -> None:
        """Writes the parts into one file, which gets its name once it is whole. Raises RefusedError."""
        path = brought_path(video.id, self.app.settings.data_dir)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        digest = hashlib.sha256()
        try:
            try:
                await asyncio.to_thread(_begin, draft)
                async for data in self._parts(video):
                    digest.update(data)
                    await asyncio.to_thread(_append, draft, data)
                if digest.hexdigest() != video.sha256:
                    raise RefusedError("its bytes are not those that were recorded.")
                await asyncio.to_thread(publish, draft, path)  # before the parts are deleted
            finally:
                await asyncio.to_thread(draft.unlink, missing_ok=True)
        except OSError as error:
            raise RefusedError(f"it could not be written ({error.strerror}).") from error

    async def _parts(self, video: Video) -> AsyncIterator[bytes]:
        """The parts in their order. Raises RefusedError at one that is missing, or not of its length."""
        size = video.size_bytes or 0
        for number in range(parts_of(size)):
            data = await originals.part(self.app.database, video.id, video.sha256 or "", number)
            if data is None or len(data) != min(PART_BYTES, size - number * PART_BYTES):
                raise RefusedError(f"part {number + 1} of {parts_of(size)} is missing or damaged.")
            if number == 0 and data[4:8] != b"ftyp":  # ISO 14496-12: the first box
                raise RefusedError("it is no mp4.")
            yield data


def _begin(draft: Path) -> None:
    draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))


def _append(draft: Path, data: bytes) -> None:
    with draft.open("ab") as file:
        file.write(data)


def _delete(path: Path) -> None:
    """With the drafts of bots that were killed."""
    for each in (path, *path.parent.glob(f".{path.name}.*")):
        each.unlink(missing_ok=True)
