"""The videos that were voted on, as tuning reads them: prompt, seed, thumbs, final latents. No torch here.

NumPy is imported where latents are read: the bot, which writes the list alone, has none.

A folder holds `examples.jsonl`, a line a video, and under `latents/` a safetensors file a video with the tensor
`latents`: the final ones as the denoiser meets them, before any decoding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from generation.feedback.whole_files import write_whole

LIST, LATENTS, VIDEOS = "examples.jsonl", "latents", "videos"


class ExamplesError(Exception):
    """The folder holds no examples that can be read; the message is a sentence that names the place."""


@dataclass(frozen=True)
class Example:
    """A video. `up` and `down` are thumbs, which may be weighted by their voters' reliability."""

    video: str  # an id, which is also a file's name: letters, digits, "-" and "_"
    prompt: str
    seed: int
    up: float
    down: float
    latents_sha256: str | None = None  # of its numbers; None: they were not kept, and are rendered again
    prompt_id: str | None = None  # that near duplicates of a prompt share; None: the prompt itself
    release: str | None = None  # SHA-256 of the adapter that it was rendered with; None: the model by itself
    release_number: int | None = None

    def __post_init__(self) -> None:
        """Raise ExamplesError where the id is none, or a number makes no sense."""
        if not self.video or not all(c.isalnum() or c in "-_" for c in self.video) or not self.video.isascii():
            raise ExamplesError(f"{self.video!r} is no id of a video.")
        if not (0 <= self.up < float("inf") and 0 <= self.down < float("inf")):
            raise ExamplesError(f"The votes of video {self.video} are no numbers of votes.")


def read_examples(folder: Path) -> list[Example]:
    """Return the examples of a folder, in their order there. Raises ExamplesError, OSError."""
    path = folder / LIST
    if not path.is_file():
        raise ExamplesError(f"{folder} holds no data set for tuning: it has no {LIST}. Run: flock export")
    examples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            examples.append(Example(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ExamplesError(f"Line {number} of {path} is no example.") from error
    if not examples:
        raise ExamplesError(f"{path} holds no video.")
    if len({example.video for example in examples}) != len(examples):
        raise ExamplesError(f"{path} holds a video twice.")
    return examples


def read_latents(folder: Path, example: Example) -> Any | None:  # an array, of any number of axes
    """Return the kept latents of an example, or None where they are to be rendered again by the model itself.

    Raises ExamplesError where they are not those of the list, or only a release could render them again.
    """
    if example.latents_sha256 is None:
        if example.release is not None:
            raise ExamplesError(f"The latents of video {example.video}, which a release rendered, were not kept.")
        return None
    from generation.feedback.tensor_files import read_tensors

    path = path_of_latents(folder, example.video)
    latents = read_tensors(path)[0].get("latents") if path.is_file() else None
    if latents is None or hash_of_latents(latents) != example.latents_sha256:
        raise ExamplesError(f"{path} is missing, or holds other latents than {LIST} says. Export the data set again.")
    return latents


def write_examples(folder: Path, examples: Iterable[Example]) -> None:
    """Write the list of examples."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(example), sort_keys=True, ensure_ascii=False) for example in examples]
    write_whole(folder / LIST, "".join(f"{line}\n" for line in lines).encode())


def write_latents(folder: Path, video: str, latents: Any) -> str:  # a numpy array
    """Write the latents of a video; return their SHA-256."""
    from generation.feedback.tensor_files import write_tensors

    (folder / LATENTS).mkdir(parents=True, exist_ok=True)
    write_tensors(path_of_latents(folder, video), {"latents": latents})
    return hash_of_latents(latents)


def path_of_latents(folder: Path, video: str) -> Path:
    """Return the path of a video's latents, under the name that a worker gives them."""
    return folder / LATENTS / f"{video}.latents.safetensors"


def hash_of_latents(latents: Any) -> str:  # a numpy array
    """Return the SHA-256 of latents as a provenance card has it: dtype and shape in words, a newline, the numbers."""
    words = " ".join([str(latents.dtype), *map(str, latents.shape)])
    data = latents.astype(latents.dtype.newbyteorder("<"), order="C").tobytes()
    return hashlib.sha256(f"{words}\n".encode() + data).hexdigest()


def groups_of(examples: Iterable[Example]) -> list[int]:
    """Return the number of each example's prompt, in the order in which prompts come first."""
    keys = [example.prompt_id or example.prompt for example in examples]
    known = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [known[key] for key in keys]


def identity_of(examples: Iterable[Example]) -> str:
    """Return the SHA-256 over all that examples say: the same data, the same hash."""
    lines = [json.dumps(asdict(example), sort_keys=True, ensure_ascii=True) for example in examples]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
