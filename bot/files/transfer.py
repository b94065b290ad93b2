"""The transfer of a rendered file to this machine, through the database, if only its worker has it.

It runs within steps of the video's workflow, so all of it may run again: a file that is here is not brought twice.
Without the original a card shows the host's copy, which has no manifest, and moderators cannot watch a held video.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.files.attachments import RenderedFile, brought_path, read_here
from bot.store import file_transfers, videos
from generation.answers import Done, read_answer
from generation.jobs import (
    MOST_BYTES,
    ORIGINAL_WORKFLOW,
    PART_BYTES,
    JobEnd,
    OriginalJob,
    originals_queue,
    parts_of,
)
from generation.queue.engine import Engine, WorkCancelledError
from migrations.files import commit_draft, create_draft, draft_path

log = logging.getLogger(__name__)

POLL_S = 0.5


class TransferError(Exception):
    """The bytes are not the recorded file, or cannot be kept. The reason is a sentence for the operator."""


class FileTransfer:
    """The bot's side of `generation/worker/file_transfers.py`."""

    def __init__(self, *, database: AsyncEngine, engine: Engine, client: Client, data_dir: Path) -> None:
        self._database = database
        self._engine = engine
        self._client = client
        self._data_dir = data_dir

    async def bring(self, video_id: str, attempt: int, machine: str) -> bool:
        """Ask the worker for the file if that is necessary. Return True if the file is then on this machine.

        Nothing is left in the database, however it ends. Raises what passes by itself; the caller tries again.
        """
        video = await videos.get(self._database, video_id)

        async def unwanted() -> bool:
            return (await videos.get(self._database, video_id)).cancel_requested

        return await self.bring_file(video, video.guild_id, attempt, machine, unwanted)

    async def bring_file(
        self,
        video: RenderedFile,
        guild_id: int,
        attempt: int,
        machine: str,
        unwanted: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Do the same for a file that is no member's video. `unwanted` returns True once nobody wants it any more."""
        here = await asyncio.to_thread(read_here, video, self._data_dir) is not None
        if not here and self._may_come(video, guild_id):
            try:
                await self._come(video, attempt, machine, unwanted)
                here = True
            except TransferError as error:
                log.warning("The original of video %s is not brought here: %s", video.id, error)
        await file_transfers.forget(self._database, video.id)
        return here

    async def drop(self, video: RenderedFile) -> None:
        """Delete the file that was brought: the card stands, or there will be none. What was rendered here stays."""
        await file_transfers.forget(self._database, video.id)
        await asyncio.to_thread(_delete, brought_path(video.id, self._data_dir))

    def _may_come(self, video: RenderedFile, guild_id: int) -> bool:
        """Return True if the file is worth the transfer: Discord takes it, and so does the database."""
        guild = self._client.get_guild(guild_id)
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

    async def _come(
        self, video: RenderedFile, attempt: int, machine: str, unwanted: Callable[[], Awaitable[bool]]
    ) -> None:
        job = OriginalJob(video.id, video.video_path or "", video.sha256 or "", video.size_bytes or 0)
        job_id = f"video-{video.id}-original-{attempt}"
        async with self._database.begin() as connection:
            await file_transfers.expect(connection, video.id, job.sha256)
            await self._engine.submit(
                connection, ORIGINAL_WORKFLOW, job_id, job.to_json(), queue=originals_queue(machine)
            )
        end = await self._end(job_id, unwanted)
        if isinstance(end, JobEnd):
            raise TransferError(end.reason)
        await self._keep(video)
        log.info("The original was brought here.")

    async def _end(self, job_id: str, unwanted: Callable[[], Awaitable[bool]]) -> Done | JobEnd:
        """Return how the transfer ended. It ends early when nobody wants the video any more."""
        while True:
            try:
                end = await self._engine.result(job_id)
            except WorkCancelledError:
                return JobEnd("failed", "Its worker's machine is gone, or of an older release.")
            if end is not None:
                return read_answer(Done, end)
            if await unwanted():
                return JobEnd("cancelled", "Nobody wants it any more.")
            await asyncio.sleep(POLL_S)

    async def _keep(self, video: RenderedFile) -> None:
        """Write the parts into one file, which gets its name once it is whole. Raises TransferError."""
        path = brought_path(video.id, self._data_dir)
        draft = draft_path(path)
        digest = hashlib.sha256()
        try:
            try:
                await asyncio.to_thread(_begin, draft)
                async for data in self._parts(video):
                    digest.update(data)
                    await asyncio.to_thread(_append, draft, data)
                if digest.hexdigest() != video.sha256:
                    raise TransferError("its bytes are not those that were recorded.")
                await asyncio.to_thread(commit_draft, draft, path)  # before the parts are deleted
            finally:
                await asyncio.to_thread(draft.unlink, missing_ok=True)
        except OSError as error:
            raise TransferError(f"it could not be written ({error.strerror}).") from error

    async def _parts(self, video: RenderedFile) -> AsyncIterator[bytes]:
        """Yield the parts in their order. Raises TransferError at one that is missing, or of the wrong length."""
        size = video.size_bytes or 0
        for number in range(parts_of(size)):
            data = await file_transfers.part_or_none(self._database, video.id, video.sha256 or "", number)
            if data is None or len(data) != min(PART_BYTES, size - number * PART_BYTES):
                raise TransferError(f"part {number + 1} of {parts_of(size)} is missing or damaged.")
            if number == 0 and data[4:8] != b"ftyp":  # ISO 14496-12: the first box
                raise TransferError("it is no mp4.")
            yield data


def _begin(draft: Path) -> None:
    draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    create_draft(draft)


def _append(draft: Path, data: bytes) -> None:
    with draft.open("ab") as file:
        file.write(data)


def _delete(path: Path) -> None:
    """Delete a file, with the drafts of bots that were killed."""
    for each in (path, *path.parent.glob(f".{path.name}.*")):
        each.unlink(missing_ok=True)
