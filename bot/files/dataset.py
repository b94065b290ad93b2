"""The tables of a data set, from the votes of closed rounds and what this machine knows of their videos' files."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.files.attachments import brought_path, rendered_here
from bot.store.learning import rows as training_rows
from generation.extras import missing
from generation.feedback.dataset.rows import VideoRow
from generation.feedback.dataset.tables import Tables, pseudonym_key, tables_of
from generation.models.inventory import license_of
from generation.models.registry import Model
from generation.video.motion import motion_of_file
from migrations.files import sha256_file


@dataclass(frozen=True)
class Wish:
    """A wish for an export: the rounds of these numbers, or all, that closed since a day, of one server."""

    out: Path
    rounds: tuple[int, ...] = ()
    since: datetime.date | None = None
    server: int | None = None


async def tables_for(
    database: AsyncEngine, wish: Wish, *, pepper: bytes, data_dir: Path, models: Mapping[str, Model]
) -> Tables:
    """Return the tables of the rounds that are wished for.

    Raises OperatorError where there is nothing to export, whatever the database raises, and OSError.
    """
    guild_id = wish.server if wish.server is not None else await training_rows.only_guild(database)
    chosen = await training_rows.closed_rounds(
        database, guild_id, numbers=wish.rounds, since_ms=None if wish.since is None else _ms(wish.since)
    )
    exported = await training_rows.export_rows(database, guild_id, chosen, pepper=pepper)
    key = pseudonym_key(pepper, guild_id, [each.key for each in chosen])
    return await asyncio.to_thread(_tables, exported, key, data_dir, models)


def _tables(exported: training_rows.ExportRows, key: bytes, data_dir: Path, models: Mapping[str, Model]) -> Tables:
    videos = [_completed(video, exported.files[video.key], data_dir, models) for video in exported.community.videos]
    return tables_of(replace(exported.community, videos=videos), key)


def _ms(day: datetime.date) -> int:
    return round(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp() * 1000)


def _completed(video: VideoRow, file: training_rows.VideoFile, data_dir: Path, models: Mapping[str, Model]) -> VideoRow:
    """Return a video with the licence of its model, and its motion: from its card, or else from its file."""
    card = video.card or {}
    of_model = card.get("model")
    source = of_model.get("source") if isinstance(of_model, dict) else None
    model = models.get(video.model_id)
    if isinstance(source, str) and (model is None or (model.source != source and not model.embedded)):
        model = Model(video.model_id, source)  # the models file has another by now
    video = replace(video, model_license=license_of(model) if model is not None else None)
    motion = card.get("motion")
    if isinstance(motion, int | float):
        return replace(video, motion=float(motion), motion_source="frames")
    measured = None if video.exclusion is not None else _measured(video, file, data_dir)
    return video if measured is None else replace(video, motion=measured, motion_source="file")


def _measured(video: VideoRow, file: training_rows.VideoFile, data_dir: Path) -> float | None:
    """Return the motion of a video's file, if it lies on this machine unchanged and can be decoded here."""
    if "av" in missing("worker"):
        return None
    for path in (rendered_here(file.path, data_dir), brought_path(file.video_id, data_dir)):
        if path is not None and path.is_file() and sha256_file(path) == video.mp4_sha256:
            return motion_of_file(path)
    return None
