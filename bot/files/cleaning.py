"""The files of what is over, deleted a day later: a disk does not grow with past battles and trainings.

Kept is whatever somebody may still need. Of battles: the blind videos until the round is over, its sides are entered
for the ledger and its verdict was handed on. Of trainings: the data set of each release, for `flock audit --dataset`
and `flock retrain`; those of candidates that may still battle or be released, for the prompts of battles; the newest
one; and each that is on its way to the ledger. What a data set was is known for good by its manifest, which stays among
the ledger's texts.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.files import lessons
from bot.files.attachments import delete_rendered
from bot.files.blind import FOLDER as BLIND
from bot.files.blind import delete_shown
from bot.store.battles import rounds as battles
from bot.store.learning.adapters import in_use
from generation.adapters.file import adapter_path
from migrations.database import now_ms
from migrations.schema import candidates, commitments, outbox
from migrations.states.learning import CandidateState
from migrations.states.ledger import CommitmentKind, OutboxState

log = logging.getLogger(__name__)

KEPT_S = 86_400  # after the end: whoever is in the middle of something is done by then
MOST_IDS = 500  # of videos that are looked up in one go
LEARNING = (CandidateState.TRAINING, CandidateState.CHECKING)
NEEDED = (*LEARNING, CandidateState.READY, CandidateState.BATTLING, CandidateState.WON, CandidateState.RELEASED)
_ROOT = re.compile(r"[0-9a-f]{64}")


class CleanUp:
    """Deletes the files of what is over, on this machine."""

    def __init__(self, *, database: AsyncEngine, data_dir: Path, kept_s: float = KEPT_S) -> None:
        self._database = database
        self._data_dir = data_dir
        self._kept_s = kept_s

    async def tick(self) -> None:
        """Look at everything once. What cannot be deleted now is tried again the next time."""
        try:
            videos = await self._clean_battles()
            folders = await self._clean_trainings()
        except (SQLAlchemyError, OSError) as error:
            log.warning("Files of what is over could not be deleted (%s).", type(error).__name__)
            return
        if videos or folders:
            log.info("Deleted of what is over: %d videos of battles, %d files of trainings.", videos, folders)

    async def _clean_battles(self) -> int:
        """Delete the blind videos of battle rounds that are over, and what was rendered for them on this machine."""
        here = await asyncio.to_thread(_ids_in, self._data_dir / BLIND)
        before_ms = now_ms() - int(1000 * self._kept_s)
        count = 0
        for start in range(0, len(here), MOST_IDS):
            ids = here[start : start + MOST_IDS]
            for video in await battles.videos_of_over(self._database, ids, before_ms):
                await asyncio.to_thread(delete_rendered, video, self._data_dir)
                await asyncio.to_thread(delete_shown, video.id, self._data_dir)  # last, as it leads to the others
                count += 1
        return count

    async def _clean_trainings(self) -> int:
        """Delete data sets, lists of examples and adapters that nobody needs any more."""
        async with self._database.connect() as connection:
            kept_sets, kept_lists = await _needed_roots(connection)
            spent = await _spent_adapters(connection)
        old_s = time.time() - self._kept_s
        return await asyncio.to_thread(self._delete_unneeded, kept_sets, kept_lists, spent, old_s)

    def _delete_unneeded(
        self, sets: Collection[str], lists: Collection[str], spent: Collection[str], old_s: float
    ) -> int:
        unneeded = [
            *_unneeded(self._data_dir / lessons.FOLDER, sets, old_s),
            *_unneeded(self._data_dir / lessons.LISTS, lists, old_s),
        ]
        for folder in unneeded:
            shutil.rmtree(folder)
        files = [path for path in (adapter_path(self._data_dir, sha256) for sha256 in spent) if _is_old(path, old_s)]
        for file in files:
            file.unlink()
        return len(unneeded) + len(files)


def _ids_in(folder: Path) -> Sequence[str]:
    """Return the ids of the videos in a folder."""
    return [path.stem for path in folder.glob("*.mp4") if path.stem.isdigit()] if folder.is_dir() else []


def _unneeded(folder: Path, kept: Collection[str], old_s: float) -> Iterable[Path]:
    """Yield the old folders named by a root that is not kept, and the drafts of bots that were killed."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        is_ours = _ROOT.fullmatch(path.name) is not None and path.name not in kept
        if (is_ours or path.name.startswith(lessons.DRAFT)) and path.is_dir() and _is_old(path, old_s):
            yield path


def _is_old(path: Path, old_s: float) -> bool:
    """Return True for a file or folder that is here, is no link, and was last written before that time."""
    return path.exists() and not path.is_symlink() and path.stat().st_mtime < old_s


async def _needed_roots(connection: AsyncConnection) -> tuple[set[str], set[str]]:
    """Return the roots of the data sets that are needed, and of the lists of examples."""
    table = candidates.c
    needed = {*await connection.scalars(select(table.data_root).where(table.state.in_(NEEDED)).distinct())}
    newest = select(func.max(table.id)).group_by(table.model_id)
    latest = {*await connection.scalars(select(table.data_root).where(table.id.in_(newest)))}
    under_way = (
        select(commitments.c.root)
        .join(outbox, outbox.c.id == commitments.c.entry)
        .where(commitments.c.kind == CommitmentKind.DATASET)
        .where(outbox.c.state.not_in((OutboxState.FINAL, OutboxState.REJECTED)))
    )
    learning = {*await connection.scalars(select(table.data_root).where(table.state.in_(LEARNING)))}
    return {*needed, *latest, *await connection.scalars(under_way)}, {*learning, *latest}


async def _spent_adapters(connection: AsyncConnection) -> set[str]:
    """Return the hashes of the adapters of candidates that came to nothing, and of nothing else."""
    table = candidates.c
    over = select(table.adapter_sha256).where(table.state.not_in(NEEDED), table.adapter_sha256.is_not(None))
    needed = select(table.adapter_sha256).where(table.state.in_(NEEDED), table.adapter_sha256.is_not(None))
    return {*await connection.scalars(over)} - {*await connection.scalars(needed)} - await in_use(connection)
