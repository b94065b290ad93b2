"""The vocabulary that bot and worker share: the jobs and results that cross from one process to the other."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Literal, Self

from generation.strict_json import JsonObject, read_dataclass

BOT_QUEUE = "bot"  # workflows of videos and rounds; served by `flock run`

RENDER_WORKFLOW = "render_video"  # on gpu_queue(...): RenderJob in, RenderResult or JobEnd out, as JSON
UPLOAD_WORKFLOW = "upload_video"  # on upload_queue(...): UploadJob in, {"outcome": "done"} or JobEnd out
ORIGINAL_WORKFLOW = "send_original"  # on originals_queue(...): OriginalJob in, {"outcome": "done"} or JobEnd out

# A rendered file goes through the database in parts, to a bot on another machine.
PART_BYTES = 1 << 20
MOST_BYTES = 100 * PART_BYTES  # what Discord takes in its best servers; the table takes no more parts either

Phase = Literal["loading", "denoising", "encoding", "uploading"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def gpu_queue(model_class: str, model_id: str) -> str:
    """The queue of the workers of a class that render with a model: `gpu.tiny:tiny`, `gpu.large:wan-14b`."""
    if not _NAME.fullmatch(model_class):
        raise ValueError(f"A model class is a short lowercase word, not {model_class!r}.")
    if not _NAME.fullmatch(model_id):
        raise ValueError(f"A model's id is a short lowercase word, not {model_id!r}.")
    return f"gpu.{model_class}:{model_id}"


def is_of_earlier_release(queue: str) -> bool:
    """Tell the queues of a class alone, as earlier bots named them; no worker serves those any more."""
    return queue.startswith("gpu.") and ":" not in queue


def upload_queue(machine: str) -> str:
    """The queue of the machine that has a rendered file: only there can it be uploaded."""
    if not _NAME.fullmatch(machine):
        raise ValueError(f"A machine's name is a short lowercase word, not {machine!r}.")
    return f"upload.{machine}"


def originals_queue(machine: str) -> str:
    """The queue of the files that the machine sends to the bot itself: uploads that wait for a host delay none."""
    return f"{upload_queue(machine)}.originals"


def parts_of(size_bytes: int) -> int:
    """Return the number of parts in which a file of that size is sent."""
    return -(-size_bytes // PART_BYTES)


@dataclass(frozen=True)
class RenderJob:
    """One video to render, as the bot asks a worker for it."""

    video_id: str
    prompt: str
    seed: int
    model_id: str
    fit_bytes: int | None = None  # the most that the mp4 may have; None: as large as it comes, as older bots ask

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read the argument of a workflow. Raises ValueError when it is not a render job."""
        job = read_dataclass(cls, data)
        if not re.fullmatch(r"[0-9]{1,20}", job.video_id):
            raise ValueError("A video id is a Discord interaction id.")
        if job.fit_bytes is not None and job.fit_bytes < 1:
            raise ValueError("The limit of a file is a number of bytes.")
        return job


@dataclass(frozen=True)
class RenderResult:
    """A finished render: the file lies on `machine`, at `video_path`."""

    video_path: str
    poster_path: str
    sha256: str  # of the mp4, hex
    size_bytes: int
    width: int
    height: int
    fps: float
    frames: int
    seconds: float  # of the whole render, model load included
    model_id: str
    model_revision: str
    machine: str
    provenance: JsonObject | None = None  # its card, see docs/provenance.md; None from older workers
    findings: JsonObject | None = None  # of the operator's classifier, where there is one: see render/safety.py

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine; without card and findings it is as earlier bots know it."""
        facts = {"outcome": "done", **asdict(self)}
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True)
class UploadJob:
    """The place where the machine that has a file sends it: by TUS, or by signed addresses. Either is a credential."""

    video_id: str
    asset_id: str
    tus_endpoint: str
    video_path: str
    sha256: str
    presigned: JsonObject | None = None  # in place of a TUS endpoint, which is empty then
    shortest_s: float = 0.0  # seconds that the host wants; a copy of a shorter video is made for it

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read the argument of a workflow. Raises ValueError when it is not an upload job."""
        return read_dataclass(cls, data)

    def __repr__(self) -> str:
        return f"UploadJob(video_id={self.video_id!r}, asset_id={self.asset_id!r})"


@dataclass(frozen=True)
class OriginalJob:
    """A rendered file that the bot wants as it is: the machine that has it sends it through the database."""

    video_id: str
    video_path: str
    sha256: str
    size_bytes: int

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read the argument of a workflow. Raises ValueError when it is not a job of this kind."""
        return read_dataclass(cls, data)


@dataclass(frozen=True)
class JobEnd:
    """A job that ended without a result; the reason is a sentence that the member may read."""

    outcome: Literal["failed", "cancelled", "file_missing", "upload_gone"]
    reason: str

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine."""
        return asdict(self)


@dataclass(frozen=True)
class Progress:
    """The progress of a job; the worker writes it to `render_progress`, and the bot reads it there."""

    phase: Phase
    step: int
    steps: int
    eta_s: float | None
    words: JsonObject | None = None  # of the prompt, see prompt_words.py; None from older workers, and most models
