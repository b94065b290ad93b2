"""The messages between a worker and its render process, one line of JSON each, and how a line is read.

The worker sends commands over the process's stdin: load, render, cancel. The process answers over its stdout; each
answer carries the number of the command that it is about. Both sides are always of one release, so that a line names
no version. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal, Self, TypeAlias, TypeVar

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.prompt_words import PromptWords
from generation.strict_json import JsonObject, JsonValue, ShapeError, read_dataclass

RenderPhase = Literal["loading", "denoising", "encoding"]


class FailureKind(StrEnum):
    """The kinds of failure of a render. The render process itself says the first five."""

    LOAD = "load"  # there is no model to render with
    CANCELLED = "cancelled"  # nobody wants the video any more
    BAD_INPUT = "bad_input"  # another process would fail in the same way
    OUT_OF_MEMORY = "out_of_memory"
    CRASH = "crash"  # the process has ended, or could not render this prompt or write its video
    HANG = "hang"  # the process gave no sign of life
    CLOSED = "closed"  # the worker ends; another one may go on


class MessageError(ValueError):
    """A line cannot be read; str() says why, without the values in it. `number` is its command's, where it has one."""

    def __init__(self, reason: str, number: int | None = None) -> None:
        super().__init__(reason)
        self.number = number


# --------------------------------------------------------------------------- what they consist of


@dataclass(frozen=True)
class Signing:
    """The certificate to sign with, by the worker's data folder and the operator's files where there are any."""

    data_dir: str
    chain: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class RenderRequest:
    """One video to render, and where its files go."""

    prompt: str
    seed: int
    video_path: str
    poster_path: str
    fit_bytes: int | None = None  # the most that the mp4 may have
    label_frames: bool = False
    signing: Signing | None = None  # None: the video is not signed

    def __repr__(self) -> str:
        return f"RenderRequest(video_path={self.video_path!r})"  # a prompt is its member's own


@dataclass(frozen=True)
class RenderSettings:
    """The settings of a model that make it quicker or slower, beside its preset, as they are in force."""

    dtype: str | dict[str, str] | None = None
    offload: str | None = None
    quantise: str | None = None
    compile: bool = False
    cache: str | None = None
    cache_threshold: float | None = None
    attention: str | None = None


@dataclass(frozen=True)
class PipelineOptions:
    """The options that a loaded pipeline offers, in use or not."""

    compile: bool = False
    caches: list[str] = field(default_factory=list)
    adapters: bool = False
    tiling: bool = False
    slicing: bool = False
    offload: bool = False
    parameters: dict[str, int] = field(default_factory=dict)  # their number, by component


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to render, and how it will."""

    model_id: str
    revision: str
    preset: Preset
    device: str  # "cpu", or the name of the GPU
    settings: RenderSettings
    can: PipelineOptions
    notes: list[str] = field(default_factory=list)  # sentences for the operator
    classifier: str | None = None  # the identity of the classifier that looks at each video
    gpus: int = 0
    gpu_mib: int | None = None
    seconds: float = 0.0

    def to_json(self) -> JsonObject:
        """Return plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Flag:
    """A label that the classifier gives a frame, with a score at or above the operator's threshold."""

    label: str
    score: float
    frame: int


@dataclass(frozen=True)
class Findings:
    """The classifier's findings in one video."""

    classifier: str  # its identity
    frames: int  # of which it looked at
    flagged: list[Flag]


@dataclass(frozen=True)
class PeakMemory:
    """The most memory in use, in MiB: of the process where the system tells it, and of the GPU where there is one."""

    process: int | None
    gpu: int | None


@dataclass(frozen=True)
class Measured:
    """The measures of one render. `seconds` are by phase: prompt, step, denoising, decoding, encoding."""

    seconds: dict[str, float]
    steps: int
    prompt_known: bool  # the text encoder was not asked: the prompt had been read before
    memory: PeakMemory

    def to_json(self) -> JsonObject:
        """Return plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class RenderedVideo:
    """A finished video: the facts of its file, its provenance card, and what the render took."""

    sha256: str  # of the mp4, hex
    size_bytes: int
    width: int
    height: int
    fps: float
    frames: int
    provenance: JsonObject
    seconds: float
    model_id: str
    model_revision: str
    findings: Findings | None
    measured: Measured


# --------------------------------------------------------------------------- the messages


@dataclass(frozen=True)
class Message:
    """One line. `number` is the command's own, or that of the command which an answer is about."""

    kind: ClassVar[str]
    number: int

    def to_json(self) -> JsonObject:
        """Return the JSON object that stands on the line."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, JsonValue]) -> Self:
        """Read the JSON object of a line of this kind. Raises ShapeError."""
        if data.get("kind") != cls.kind:
            raise ShapeError(f"This is no message of the kind {cls.kind!r}.")
        return read_dataclass(cls, {name: value for name, value in data.items() if name != "kind"})


@dataclass(frozen=True)
class LoadModel(Message):
    """Command: load this model."""

    kind = "load"
    model: Model


@dataclass(frozen=True)
class RenderVideo(Message):
    """Command: render this video."""

    kind = "render"
    request: RenderRequest


@dataclass(frozen=True)
class Cancel(Message):
    """Command: stop the render of this number within one step."""

    kind = "cancel"


@dataclass(frozen=True)
class ModelLoaded(Message):
    """Answer to `load`, the last one."""

    kind = "loaded"
    model: LoadedModel


@dataclass(frozen=True)
class Tick(Message):
    """Answer: a command has come so far."""

    kind = "tick"
    phase: RenderPhase
    step: int
    steps: int
    words: PromptWords | None = None  # of the prompt, once they are known: with the first step, of a model that tells


@dataclass(frozen=True)
class Denoised(Message):
    """Answer to `render`: from now on the next video may be denoised, while this one is encoded."""

    kind = "denoised"


@dataclass(frozen=True)
class VideoRendered(Message):
    """Answer to `render`, the last one."""

    kind = "done"
    video: RenderedVideo


@dataclass(frozen=True)
class CommandFailed(Message):
    """Answer to any command, the last one. A member may read the sentence."""

    kind = "failed"
    failure: FailureKind
    sentence: str


@dataclass(frozen=True)
class Alive(Message):
    """Answer: a sign of life between two ticks."""

    kind = "alive"


Command: TypeAlias = LoadModel | RenderVideo | Cancel
Answer: TypeAlias = ModelLoaded | Tick | Denoised | VideoRendered | CommandFailed | Alive

_COMMANDS: dict[str, type[Command]] = {kind.kind: kind for kind in (LoadModel, RenderVideo, Cancel)}
_ANSWERS: dict[str, type[Answer]] = {
    kind.kind: kind for kind in (ModelLoaded, Tick, Denoised, VideoRendered, CommandFailed, Alive)
}
M = TypeVar("M", bound=Message)


def line_of(message: Message) -> str:
    """Return the line of a message, its newline included."""
    return json.dumps(message.to_json()) + "\n"


def read_command(line: str | bytes) -> Command:
    """Read a line of the worker's. Raises MessageError."""
    return _read(line, _COMMANDS)


def read_answer(line: str | bytes) -> Answer:
    """Read a line of the render process's. Raises MessageError."""
    return _read(line, _ANSWERS)


def _read(line: str | bytes, kinds: Mapping[str, type[M]]) -> M:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise MessageError("The line is not JSON.") from None
    if not isinstance(data, dict):
        raise MessageError("The line is no JSON object.")
    number = data.get("number")
    number = number if isinstance(number, int) and not isinstance(number, bool) else None
    kind = kinds.get(str(data.get("kind")))
    if kind is None:
        raise MessageError("The line is of an unknown kind.", number)
    try:
        return kind.from_json(data)
    except ShapeError as error:
        raise MessageError(str(error), number) from None
