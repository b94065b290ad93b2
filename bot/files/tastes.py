"""The taste scorers that trainings left on the bot's disk, and the one by which workers choose among several videos.

A taste orders videos before anybody has seen them. It never counts as a vote, and battle rounds do without it.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.releases import Release
from bot.store.learning import candidates
from generation.adapters.file import AdapterError
from generation.adapters.taste import trained_taste_path
from generation.adapters.transfer import offer_file
from generation.jobs import BestOf
from migrations.files import sha256_file

log = logging.getLogger(__name__)

NONE_YET = "No training has left a taste scorer yet: videos are rendered once, though FLOCK_BEST_OF is %d."


class Tastes:
    """Finds the taste for a render, and offers its file to the workers."""

    def __init__(self, *, database: AsyncEngine, data_dir: Path, best_of: int) -> None:
        """`best_of` is the number of videos to choose from; 1: nothing is chosen."""
        self._database = database
        self._data_dir = data_dir
        self._best_of = best_of
        self._told = False

    async def choice_for(self, model_id: str, live: Release | None) -> BestOf | None:
        """Return the choice that a member's render is asked for; None where nothing is to choose, or by no taste.

        The taste is that of the live release, else the newest that a training left. Raises whatever the database does.
        """
        if self._best_of < 2:
            return None
        async with self._database.connect() as connection:
            newest = await candidates.adapters_that_passed(connection, model_id)
        adapters = [*([] if live is None else [live.adapter_sha256]), *newest]
        for path in (trained_taste_path(self._data_dir, sha256) for sha256 in adapters):
            try:
                taste_sha256 = await asyncio.to_thread(sha256_file, path)
                await offer_file(self._database, path, taste_sha256)
            except FileNotFoundError:
                continue
            except (OSError, AdapterError) as error:
                log.warning("A taste scorer cannot be offered to the workers: %s", error)
                continue
            return BestOf(self._best_of, taste_sha256)
        if not self._told:
            self._told = True
            log.warning(NONE_YET, self._best_of)
        return None
