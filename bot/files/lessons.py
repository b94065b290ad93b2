"""The lessons of trainings on the bot's disk: the data set of closed rounds, and the list of examples made of it.

A worker gets the list alone: prompts, seeds and weighted counts of votes, and no member. Candidates come back here, and
are checked before anything may render with them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import uuid
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import OperatorError
from bot.files.dataset import Wish, tables_for
from generation.adapters.file import AdapterError, adapter_path
from generation.adapters.taste import check_taste, trained_taste_path
from generation.adapters.transfer import expect, fetch, fetch_file, forget_file, offer, offer_file
from generation.extras import MissingExtraError, require
from generation.feedback.dataset.files import MANIFEST, DatasetError, Manifest, write
from generation.feedback.dataset.tables import Tables
from generation.feedback.scoring.candidate import CandidateError, Shapes, check_candidate, shapes_of
from generation.feedback.tuning.examples import LIST, write_examples
from generation.feedback.tuning.from_votes import Lesson, TooFewVotesError, lesson_of
from generation.jobs import TrainingResult
from generation.models.registry import ModelError, load_models
from generation.models.weights import WeightsError
from generation.strict_json import JsonObject, read_dataclass
from migrations.files import sha256_file

log = logging.getLogger(__name__)

FOLDER, LISTS = "datasets", "lessons"  # in the data folder; each by the root of the data set
DRAFT = "draft-"  # begins the name of a data set that is being written


class NoLessonError(Exception):
    """There is nothing to learn from, or the bot cannot write it; str() is a sentence for moderators."""


@dataclass(frozen=True)
class PreparedLesson:
    """A data set and its list of examples, as they lie on the bot's disk."""

    root: str  # of the data set, 64 hex digits
    revision: str  # of the model that rendered the videos
    votes: int
    videos: int
    rounds: int
    held_out: int
    left_out: int
    examples_sha256: str  # of the list's file
    examples_bytes: int
    releases: list[str]  # SHA-256 of the adapters that rendered some of the videos

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Return the lesson of its JSON. Raises ValueError."""
        return read_dataclass(cls, data)


class Lessons:
    """Writes what trainings learn from, offers it to workers, and takes candidates in."""

    def __init__(self, *, database: AsyncEngine, data_dir: Path, models_file: Path | None, pepper: bytes) -> None:
        self._database = database
        self._data_dir = data_dir
        self._models_file = models_file
        self._pepper = pepper

    async def prepare(self, guild_id: int, model_id: str) -> PreparedLesson:
        """Write the data set of all closed rounds of a guild, and the list of examples; the same votes, the same files.

        Raises NoLessonError, whatever the database raises, and OSError.
        """
        try:
            require("export", "The bot's export of votes")
            models = load_models(self._data_dir.resolve(), self._models_file)
            folder = self._data_dir / FOLDER
            draft = folder / f"{DRAFT}{uuid.uuid4().hex[:12]}"
            tables = await tables_for(
                self._database,
                Wish(draft, server=guild_id),
                pepper=self._pepper,
                data_dir=self._data_dir,
                models=models,
            )
            return await asyncio.to_thread(_write, tables, draft, self._data_dir, model_id)
        except (OperatorError, MissingExtraError, TooFewVotesError, DatasetError, ValueError) as error:
            raise NoLessonError(str(error)) from error

    def manifest(self, root: str) -> bytes:
        """Return the manifest of a data set: its description on the ledger. Raises OSError."""
        return (self._data_dir / FOLDER / root / MANIFEST).read_bytes()

    async def offer(self, lesson: JsonObject, release: JsonObject | None) -> None:
        """Offer the list, and the adapters that a training may need, to all workers. Safe to repeat.

        An adapter that is not here is not offered: the worker may have it, and says so where it has not.
        """
        prepared = PreparedLesson.from_json(lesson)
        path = self._data_dir / LISTS / prepared.root / LIST
        await offer_file(self._database, path, prepared.examples_sha256)
        for sha256 in {*prepared.releases, *([] if release is None else [str(release["adapter_sha256"])])}:
            adapter = adapter_path(self._data_dir, sha256)
            if await asyncio.to_thread(adapter.is_file):
                await offer(self._database, adapter, sha256)

    async def withdraw(self, lesson: JsonObject) -> None:
        """Offer the list no more: the training is over. Safe to repeat."""
        async with self._database.begin() as connection:
            await forget_file(connection, PreparedLesson.from_json(lesson).examples_sha256)

    async def expect_files(self, connection: AsyncConnection, result: TrainingResult) -> None:
        """Expect the files of a training, in the caller's transaction. Raises AdapterError for sizes that none has."""
        await expect(connection, result.adapter_sha256, result.size_bytes)
        if result.taste_sha256 is not None:
            await expect(connection, result.taste_sha256, result.taste_bytes)

    async def take_in(self, adapter_sha256: str, model_id: str, taste_sha256: str | None = None) -> str | None:
        """Bring a candidate's files to this machine and check them. Return why it cannot be used, if so.

        Names, shapes, sizes and numbers are checked before it renders anywhere. Where this machine has no NumPy, the
        workers that render look at the numbers; where it lacks the model, nobody compares the shapes with its layers.
        A taste scorer that does not come, or is none, costs the candidate nothing.
        """
        if taste_sha256 is not None:
            await self._take_taste_in(adapter_sha256, taste_sha256)
        try:
            path = await fetch(self._database, self._data_dir, adapter_sha256, numbers=False)
            shapes = await asyncio.to_thread(self._shapes, model_id)
            with_numbers = find_spec("numpy") is not None
            await asyncio.to_thread(check_candidate, path, adapter_sha256, shapes, numbers=with_numbers)
        except (AdapterError, CandidateError) as error:
            return str(error)
        return None

    def _shapes(self, model_id: str) -> Shapes | None:
        """Return the weights of a model that an adapter may change; None where its files are not on this machine."""
        try:
            model = load_models(self._data_dir.resolve(), self._models_file)[model_id]
            return shapes_of(Path(model.source)) or None
        except (ModelError, CandidateError, WeightsError, OSError, KeyError) as error:
            log.info("The shapes of a candidate are not compared with %s (%s).", model_id, type(error).__name__)
            return None

    async def _take_taste_in(self, adapter_sha256: str, taste_sha256: str) -> None:
        path = trained_taste_path(self._data_dir, adapter_sha256)
        try:
            await fetch_file(self._database, path, taste_sha256)
            await asyncio.to_thread(check_taste, path, taste_sha256, numbers=find_spec("numpy") is not None)
        except (AdapterError, OSError) as error:
            log.warning("The taste scorer of a candidate cannot be used: %s", error)
            await asyncio.to_thread(path.unlink, missing_ok=True)


def _write(tables: Tables, draft: Path, data_dir: Path, model_id: str) -> PreparedLesson:
    draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        manifest = write(draft, tables)
        lesson = lesson_of(draft, model_id)
        target = draft.with_name(manifest.root)
        if target.is_dir():
            os.utime(target)  # it is wanted again: nobody cleans it up meanwhile
        else:
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _prepared(manifest, lesson, data_dir)


def _prepared(manifest: Manifest, lesson: Lesson, data_dir: Path) -> PreparedLesson:
    folder = data_dir / LISTS / manifest.root
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_examples(folder, lesson.examples)
    return PreparedLesson(
        root=manifest.root,
        revision=lesson.revision,
        votes=lesson.votes,
        videos=len(lesson.examples),
        rounds=lesson.rounds,
        held_out=lesson.held_out,
        left_out=lesson.left_out,
        examples_sha256=sha256_file(folder / LIST),
        examples_bytes=(folder / LIST).stat().st_size,
        releases=sorted({each.release for each in lesson.examples if each.release is not None}),
    )
