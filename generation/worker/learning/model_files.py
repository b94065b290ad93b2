"""The files of the learning loop that a job asks for, brought to this machine: a release's adapter, and a taste.

A job waits for its adapter, without which it would be another video; without its taste it is rendered once.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.adapters.file import AdapterError
from generation.adapters.taste import check_taste, taste_path
from generation.adapters.transfer import fetch, fetch_file
from generation.jobs import RenderJob
from generation.render_messages import ReleaseAdapter, TasteChoice
from generation.worker.uploads import FIRST_PAUSE_S, HandOverError

log = logging.getLogger(__name__)


class ModelFiles:
    """Brings adapters and tastes here, and checks them before anything loads them."""

    def __init__(self, database: AsyncEngine, data_dir: Path, *, closing: asyncio.Event) -> None:
        self._database = database
        self._data_dir = data_dir
        self._closing = closing
        self._told: set[str] = set()  # SHA-256 of tastes, each with its line in the log

    async def release_of(self, job: RenderJob) -> ReleaseAdapter | None:
        """Return the release that a job asks for, with its file on this machine; wait while the database is away.

        Raises AdapterError with a sentence where there is no such file, and HandOverError when the worker ends.
        """
        if job.release is None:
            return None
        sha256 = job.release.adapter_sha256
        while not self._closing.is_set():
            try:
                path = await fetch(self._database, self._data_dir, sha256)
                return ReleaseAdapter(job.release.number, sha256, str(path))
            except OSError as error:
                raise AdapterError(f"The release's adapter could not be written ({error.strerror}).") from error
            except SQLAlchemyError as error:
                log.warning("The adapter of a release waits: the database is away (%s).", type(error).__name__)
                await asyncio.sleep(FIRST_PAUSE_S)
        raise HandOverError

    async def taste_of(self, job: RenderJob) -> TasteChoice | None:
        """Return the choice by taste that a job asks for; None, once with a line in the log, where it cannot be had."""
        if job.best_of is None:
            return None
        sha256 = job.best_of.taste_sha256
        path = taste_path(self._data_dir, sha256)
        try:
            await fetch_file(self._database, path, sha256)
            await asyncio.to_thread(check_taste, path, sha256)
        except (AdapterError, SQLAlchemyError, OSError) as error:
            if sha256 not in self._told:
                self._told.add(sha256)
                sentence = str(error) if isinstance(error, AdapterError) else f"({type(error).__name__})"
                log.warning("A taste cannot be used here: videos are rendered once. %s", sentence)
            return None
        return TasteChoice(job.best_of.count, sha256, str(path))
