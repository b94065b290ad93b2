"""The answers of workers, as the bot takes them: of a known shape, within bounds, or none at all.

A worker is not trusted. Whatever stands in its answer, the bot gets a result whose fields are what they say, or the end
of the job with a sentence. Whether a file is what its hash says is looked at where the file comes in.
"""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass, fields
from typing import Literal, TypeVar

from generation.jobs import HASH, NAME, JobEnd, ReleaseName, RenderResult, TrainingResult
from generation.printable import one_line
from generation.strict_json import JsonObject, read_dataclass

log = logging.getLogger(__name__)

MOST_REASON = 500  # characters of a sentence that a worker ends a job with
MOST_PATH = 4096
MOST_FACTS = 64 * 1024  # characters of a provenance card or of findings, as JSON
MOST_SENTENCES, MOST_SENTENCE = 50, 2000  # guards and notes of a training, and characters of each
MOST_PIXELS, MOST_FRAMES, MOST_SECONDS = 1 << 15, 1 << 20, 10.0**7
MOST_FILE = 1 << 40  # bytes
UNREADABLE = "The worker's answer makes no sense. The operator finds more in the log."

_REVISION = re.compile(r"[\x21-\x7e]{1,200}")

R = TypeVar("R", RenderResult, TrainingResult, "FilmstripResult", "Done")


@dataclass(frozen=True)
class Done:
    """The answer of a job that has nothing to say but that it is done."""


@dataclass(frozen=True)
class FilmstripResult:
    """A picture that a worker drew: a PNG in base64, which is looked at where it is kept."""

    png: str


@dataclass(frozen=True)
class _End:
    outcome: Literal["failed", "cancelled", "file_missing", "upload_gone"]
    reason: str


def read_answer(kind: type[R], answer: object) -> R | JobEnd:
    """Return what a worker answered; an answer of no known shape is a job that failed, with a line in the log."""
    try:
        if not isinstance(answer, dict):
            raise ValueError("It is no JSON object.")  # noqa: TRY004  # of the answer, as the next ones are
        if answer.get("outcome") != "done":
            end = read_dataclass(_End, {name: answer.get(name) for name in ("outcome", "reason")})
            return JobEnd(end.outcome, one_line(end.reason)[:MOST_REASON])
        return _read_done(kind, {name: value for name, value in answer.items() if name != "outcome"})
    except (ValueError, TypeError, RecursionError) as error:
        log.error("A worker's answer was rejected: %s", one_line(error)[:MOST_REASON])
        return JobEnd("failed", UNREADABLE)


def _read_done(kind: type[R], facts: JsonObject) -> R:
    known = {field.name for field in fields(kind)}
    # A newer worker may say more.
    result = read_dataclass(kind, {name: value for name, value in facts.items() if name in known})
    if isinstance(result, RenderResult):
        _check_render(result)
    elif isinstance(result, TrainingResult):
        _check_training(result)
    return result


def _check_render(result: RenderResult) -> None:
    """Raise ValueError where a field is out of its bounds; the message names the field alone."""
    _require("video_path", _is_path(result.video_path))
    _require("poster_path", result.poster_path == "" or _is_path(result.poster_path))
    _require("sha256", HASH.fullmatch(result.sha256))
    _require("size_bytes", 0 < result.size_bytes <= MOST_FILE)
    _require("width", 0 < result.width <= MOST_PIXELS)
    _require("height", 0 < result.height <= MOST_PIXELS)
    _require("fps", _is_between(result.fps, 1000.0) and result.fps > 0)
    _require("frames", 0 < result.frames <= MOST_FRAMES)
    _require("seconds", _is_between(result.seconds, MOST_SECONDS))
    _require("model_id", NAME.fullmatch(result.model_id))
    _require("model_revision", _REVISION.fullmatch(result.model_revision))
    _require("machine", NAME.fullmatch(result.machine))
    for name in ("provenance", "findings"):
        facts = getattr(result, name)
        _require(name, facts is None or len(json.dumps(facts)) <= MOST_FACTS)
    if result.release is not None:
        _require("release", read_dataclass(ReleaseName, result.release).is_valid())


def _check_training(result: TrainingResult) -> None:
    """Raise ValueError where a field is out of its bounds; the message names the field alone."""
    hashes = (result.adapter_sha256, result.taste_sha256 or "0" * 64)
    _require("adapter_sha256", all(HASH.fullmatch(each) for each in hashes))
    _require("size_bytes", 0 < result.size_bytes <= MOST_FILE and 0 <= result.taste_bytes <= MOST_FILE)
    _require("machine", NAME.fullmatch(result.machine))
    _require("videos", 0 <= result.videos <= MOST_FILE)
    _require("drift", _is_between(result.drift, MOST_SECONDS))
    _require("seconds", _is_between(result.seconds, MOST_SECONDS))
    for name in ("guards", "vetoes", "notes"):
        sentences = getattr(result, name)
        _require(name, len(sentences) <= MOST_SENTENCES and all(len(each) <= MOST_SENTENCE for each in sentences))


def _require(name: str, holds: object) -> None:
    if not holds:
        raise ValueError(f"{name} is out of its bounds.")


def _is_between(value: float, most: float) -> bool:
    return math.isfinite(value) and 0 <= value <= most


def _is_path(path: str) -> bool:
    return 0 < len(path) <= MOST_PATH and path.isprintable()
