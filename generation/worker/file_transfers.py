"""The transfer of rendered files to a bot on another machine, through the database: a worker has no other way to it.

The bot asks for a file that it does not find on its own disk. Parts of at most 1 MiB are written, each in its own
transaction, while the bot's wish stands in `originals`; the bot deletes them together with the wish.
"""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.jobs import MOST_BYTES, PART_BYTES, JobEnd, OriginalJob, parts_of
from generation.strict_json import JsonObject
from generation.worker.uploads import (
    FILE_MISSING,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    UNREADABLE,
    WatchForCancel,
    is_rendered_file,
    unless_stopped,
)
from migrations.database import upsert_into
from migrations.schema import original_parts

log = logging.getLogger(__name__)

REMEDY = "If the worker has a database role of its own, run docs/worker-role.sql again."


class Originals:
    """The worker's side: sends files that were rendered here, and only those."""

    def __init__(
        self, database: AsyncEngine, data_dir: Path, *, watch_for_cancel: WatchForCancel, closing: asyncio.Event
    ) -> None:
        self._database = database
        self._data_dir = data_dir
        self._watch_for_cancel = watch_for_cancel
        self._closing = closing

    async def send(self, argument: JsonObject) -> JsonObject:
        """Send one file: OriginalJob in, {"outcome": "done"} or JobEnd out; a repetition sends the parts not yet there.

        Raises HandOverError when the worker ends.
        """
        try:
            job = OriginalJob.from_json(argument)
            path = Path(job.video_path).resolve()
            fits = 0 < job.size_bytes <= MOST_BYTES
        except (TypeError, ValueError):
            return UNREADABLE.to_json()
        if not fits:
            return JobEnd("failed", "The file is too large to be sent through the database.").to_json()
        if not await is_rendered_file(path, job.sha256, self._data_dir):
            return FILE_MISSING.to_json()
        return await unless_stopped(
            self._send(job, path), job.video_id, watch_for_cancel=self._watch_for_cancel, closing=self._closing
        )

    async def _send(self, job: OriginalJob, path: Path) -> JsonObject:
        """Keep trying while the database is away: an outage is no failure."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                there = await self._parts_there(job)
                for part in range(parts_of(job.size_bytes)):
                    if part not in there:
                        await self._write(job, part, await asyncio.to_thread(_read, path, part))
            except IntegrityError:  # the wish is gone
                return JobEnd("cancelled", "The bot does not wait for this file any more.").to_json()
            except (ProgrammingError, DataError) as error:  # trying again would change nothing
                log.error("Video %s cannot be sent to the bot (%s). %s", job.video_id, type(error).__name__, REMEDY)
                return JobEnd("failed", "The worker may not send files to the bot.").to_json()
            except SQLAlchemyError as error:
                log.warning("Video %s waits: the database is away (%s).", job.video_id, type(error).__name__)
                await asyncio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311  # jitter
                pause = min(pause * 2, LONGEST_PAUSE_S)
            except OSError:
                return FILE_MISSING.to_json()
            else:
                return {"outcome": "done"}

    async def _parts_there(self, job: OriginalJob) -> set[int]:
        """Return the parts that an earlier attempt has sent. A worker may not read their bytes."""
        query = select(original_parts.c.part).where(
            original_parts.c.video_id == job.video_id, original_parts.c.sha256 == job.sha256
        )
        async with self._database.connect() as connection:
            return set((await connection.scalars(query)).all())

    async def _write(self, job: OriginalJob, part: int, data: bytes) -> None:
        async with self._database.begin() as connection:
            await connection.execute(
                upsert_into(connection, original_parts)
                .values(video_id=job.video_id, sha256=job.sha256, part=part, data=data)
                .on_conflict_do_nothing()  # another attempt, taken for dead, was quicker
            )


def _read(path: Path, part: int) -> bytes:
    with path.open("rb") as file:
        file.seek(part * PART_BYTES)
        return file.read(PART_BYTES)
