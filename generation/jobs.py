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
TRAINING_WORKFLOW = "train_candidate"  # on training_queue(...): TrainingJob in, TrainingResult or JobEnd out
CANDIDATE_WORKFLOW = "send_candidate"  # on candidates_queue(...): CandidateJob in, {"outcome": "done"} or JobEnd out

# A rendered file goes through the database in parts, to a bot on another machine.
PART_BYTES = 1 << 20
MOST_BYTES = 100 * PART_BYTES  # what Discord takes in its best servers; the table takes no more parts either

Phase = Literal["loading", "denoising", "encoding", "uploading"]
# The phases of a training: the voted videos are rendered again where they must be, prompts are encoded, videos are
# read, steps are taken, fresh videos are made, and the guards look at videos from before and after.
TrainingPhase = Literal["rendering", "prompts", "videos", "training", "fresh", "guards"]

MOST_CHOICES = 16  # videos of one prompt, of which the best one is kept

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # of a model, its class, or a machine
HASH = re.compile(r"[0-9a-f]{64}")  # a SHA-256


def gpu_queue(model_class: str, model_id: str) -> str:
    """The queue of the workers of a class that render with a model: `gpu.tiny:tiny`, `gpu.large:wan-14b`."""
    return f"gpu.{_checked(model_class, model_id)}"


def training_queue(model_class: str, model_id: str) -> str:
    """The queue of the workers of a class that train a model: `train.large:wan-14b`."""
    return f"train.{_checked(model_class, model_id)}"


def _checked(model_class: str, model_id: str) -> str:
    if not NAME.fullmatch(model_class):
        raise ValueError(f"A model class is a short lowercase word, not {model_class!r}.")
    if not NAME.fullmatch(model_id):
        raise ValueError(f"A model's id is a short lowercase word, not {model_id!r}.")
    return f"{model_class}:{model_id}"


def release_queue(model_class: str, model_id: str) -> str:
    """The queue of renders with a release or a choice by taste: earlier workers would render without it.

    They serve `gpu_queue` alone, so such a job waits for a worker that can.
    """
    return f"{gpu_queue(model_class, model_id)}+release"


def is_of_earlier_release(queue: str) -> bool:
    """Tell the queues of a class alone, as earlier bots named them; no worker serves those any more."""
    return queue.startswith("gpu.") and ":" not in queue


def upload_queue(machine: str) -> str:
    """The queue of the machine that has a rendered file: only there can it be uploaded."""
    if not NAME.fullmatch(machine):
        raise ValueError(f"A machine's name is a short lowercase word, not {machine!r}.")
    return f"upload.{machine}"


def originals_queue(machine: str) -> str:
    """The queue of the files that the machine sends to the bot itself: uploads that wait for a host delay none."""
    return f"{upload_queue(machine)}.originals"


def candidates_queue(machine: str) -> str:
    """The queue of the candidates' files that the machine which trained them sends to the bot."""
    return f"{upload_queue(machine)}.candidates"


def parts_of(size_bytes: int) -> int:
    """Return the number of parts in which a file of that size is sent."""
    return -(-size_bytes // PART_BYTES)


@dataclass(frozen=True)
class ReleaseName:
    """A release by its number, and by its adapter's SHA-256, which alone says what it is."""

    number: int | None  # None: the adapter of a candidate in a battle round, which is no release yet
    adapter_sha256: str

    def is_valid(self) -> bool:
        """Return True for a number from 1 on, or none, and a hash."""
        return (self.number is None or self.number >= 1) and HASH.fullmatch(self.adapter_sha256) is not None


@dataclass(frozen=True)
class BestOf:
    """So many videos of one prompt to choose from, and the SHA-256 of the taste scorer that chooses."""

    count: int
    taste_sha256: str

    def is_valid(self) -> bool:
        """Return True for two videos or more, though not more than a worker makes, and a hash."""
        return 2 <= self.count <= MOST_CHOICES and HASH.fullmatch(self.taste_sha256) is not None


@dataclass(frozen=True)
class RenderJob:
    """One video to render, as the bot asks a worker for it."""

    video_id: str
    prompt: str
    seed: int
    model_id: str
    fit_bytes: int | None = None  # the most that the mp4 may have; None: as large as it comes, as older bots ask
    release: ReleaseName | None = None  # None: the model by itself
    best_of: BestOf | None = None  # None: one video, from the seed itself

    def queue(self, model_class: str) -> str:
        """Return the queue of the workers of a class that can do this."""
        of_workers = gpu_queue if self.release is None and self.best_of is None else release_queue
        return of_workers(model_class, self.model_id)

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine; older workers know no release and no choice."""
        of_late = ("release", "best_of")
        return {name: value for name, value in asdict(self).items() if name not in of_late or value is not None}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read the argument of a workflow. Raises ValueError when it is not a render job."""
        job = read_dataclass(cls, data)
        if not re.fullmatch(r"[0-9]{1,20}", job.video_id):
            raise ValueError("A video id is a Discord interaction id.")
        if job.fit_bytes is not None and job.fit_bytes < 1:
            raise ValueError("The limit of a file is a number of bytes.")
        if job.release is not None and not job.release.is_valid():
            raise ValueError("A release has a number from 1 on, a candidate none, and both the SHA-256 of its adapter.")
        if job.best_of is not None and not job.best_of.is_valid():
            raise ValueError(f"A choice is among 2 to {MOST_CHOICES} videos, by a taste scorer named by its SHA-256.")
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
    release: JsonObject | None = None  # that rendered it, as ReleaseName has it; None: the model by itself

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
class TrainingJob:
    """A candidate to train, as the bot asks a training worker for it."""

    candidate_id: int
    model_id: str
    base_revision: str  # of the model without any release; an adapter of another one would be for other weights
    data_root: str  # of the data set that the list was made from
    examples_sha256: str  # of the list of examples, which waits in the database in parts
    examples_bytes: int
    recipe: JsonObject  # as generation/feedback/tuning/recipe.py has it
    release: ReleaseName | None = None  # that is gone on from; None: the model by itself
    guard_videos: int = 8  # of each model, for the guards

    @property
    def progress_id(self) -> str:
        """The name of the training's row in `render_progress`."""
        return f"training-{self.candidate_id}"

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read the argument of a workflow. Raises ValueError when it is not a training job."""
        job = read_dataclass(cls, data)
        if job.candidate_id < 1 or job.guard_videos < 0:
            raise ValueError("A candidate has a number from 1 on, and its guards no negative number of videos.")
        if not (HASH.fullmatch(job.data_root) and HASH.fullmatch(job.examples_sha256)):
            raise ValueError("Data sets and lists of examples are named by hashes.")
        if job.release is not None and not job.release.is_valid():
            raise ValueError("A release has a number from 1 on, and the SHA-256 of its adapter.")
        return job


@dataclass(frozen=True)
class TrainingResult:
    """A finished training: the adapter's file lies on `machine`, under its hash."""

    adapter_sha256: str
    size_bytes: int
    machine: str
    videos: int  # that were learned from
    drift: float  # from the base model
    seconds: float
    guards_passed: bool
    guards: list[str]  # sentences; none where no videos were made for the guards
    vetoes: list[str]  # names of the guards that were set off
    notes: list[str]  # sentences
    taste_sha256: str | None = None  # of the taste scorer that the training left on the machine; None: it left none
    taste_bytes: int = 0

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine."""
        return {"outcome": "done", **asdict(self)}

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the result of a workflow. Raises ValueError when it is not a training's."""
        result = read_dataclass(cls, {name: value for name, value in data.items() if name != "outcome"})
        if not all(HASH.fullmatch(each) for each in (result.adapter_sha256, result.taste_sha256 or "0" * 64)):
            raise ValueError("An adapter is named by its hash, and so is a taste scorer.")
        return result


@dataclass(frozen=True)
class CandidateJob:
    """The files of a candidate that the bot wants: the machine that trained it sends them through the database."""

    candidate_id: int
    adapter_sha256: str
    size_bytes: int
    taste_sha256: str | None = None  # None: no taste scorer is wanted

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read the argument of a workflow. Raises ValueError when it is not a job of this kind."""
        job = read_dataclass(cls, data)
        if not all(HASH.fullmatch(each) for each in (job.adapter_sha256, job.taste_sha256 or "0" * 64)):
            raise ValueError("An adapter is named by its hash, and so is a taste scorer.")
        return job


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


FILMSTRIP_WORKFLOW = "make_filmstrip"  # on release_queue(...): FilmstripJob in, a PNG or JobEnd out


@dataclass(frozen=True)
class FilmstripJob:
    """A picture of one prompt and seed, rendered by the base model and by each of these releases, in their order."""

    prompt: str
    seed: int
    model_id: str
    releases: list[ReleaseName]

    def to_json(self) -> JsonObject:
        """Return plain JSON types, for the durable engine."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read the argument of a workflow. Raises ValueError when it is no job of a filmstrip."""
        job = read_dataclass(cls, data)
        if not all(each.number and each.is_valid() for each in job.releases):
            raise ValueError("A release has a number from 1 on, and the SHA-256 of its adapter.")
        return job
