"""The taste scorer: what the reward model makes of a video's latents. It orders videos, and never counts as a vote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from generation.feedback.scoring.reward import RewardModel
from generation.feedback.scoring.scores import Floats
from generation.feedback.tensor_files import read_tensors, write_tensors
from generation.models.weights import WeightsError

KIND = "flock taste scorer 1"
MOST_NAMED = 6  # values in a sentence
SEEN = 3  # videos that must show a value before votes can teach anything about it

Video = TypeVar("Video")


class TasteError(Exception):
    """A file holds no taste scorer, or one for another model; the message is a sentence."""


@dataclass(frozen=True)
class Taste:
    """A scorer of videos of one model. Features come from `videos.describe`, latent channels as they were learned."""

    liking: RewardModel
    model: str  # with its revision: latents of another one mean other things
    channels: tuple[int, ...] | None = None  # that were looked at; None: all

    def score(self, features: Floats) -> Floats:
        """Return a score a video; higher is liked more. Only the order means anything."""
        return self.liking(features)

    @property
    def is_useful(self) -> bool:
        """True where it does better than chance on prompts that it has not seen."""
        return self.liking.has_learned


def save_taste(taste: Taste, path: Path) -> str:
    """Write a scorer as safetensors with JSON in its header; return the file's SHA-256."""
    said = {"kind": KIND, "model": taste.model, "channels": taste.channels, **taste.liking.numbers()}
    return write_tensors(path, taste.liking.arrays(), {"taste": json.dumps(said, sort_keys=True)})


def load_taste(path: Path, model: str) -> Taste:
    """Return the scorer of a file. Raises TasteError where there is none for this model, OSError."""
    try:
        arrays, metadata = read_tensors(path)
        said = json.loads(metadata["taste"])
        if said["kind"] != KIND:
            raise ValueError("The kind is another one.")
        numbers = {name: float(said[name]) for name in ("bias", "ridge", "gain", "hits", "votes")}
        liking = RewardModel.of(arrays, numbers)
        channels = None if said["channels"] is None else tuple(int(each) for each in said["channels"])
    except (WeightsError, ValueError, KeyError, TypeError) as error:
        raise TasteError(f"{path.name} is no taste scorer. Make it again by: flock train") from error
    if said["model"] != model:
        raise TasteError(f"{path.name} is the taste of {said['model']}, and not of {model}.")
    return Taste(liking, str(said["model"]), channels)


def best_of(
    seeds: Sequence[int], render: Callable[[int], Video], score: Callable[[Video], float], *, worth: bool = True
) -> tuple[int, Video]:
    """Return the seed and the video that scores best of several; the first one where scores are no better than chance.

    No more than two videos are kept at a time. Raises ValueError without a seed.
    """
    if not seeds:
        raise ValueError("There is no seed to render.")
    best_seed, best = seeds[0], render(seeds[0])
    if not worth or len(seeds) == 1:
        return best_seed, best
    highest = score(best)
    for seed in seeds[1:]:
        video = render(seed)
        value = score(video)
        if value > highest:  # of equal ones the first
            best_seed, best, highest = seed, video, value
    return best_seed, best


def seeds_of(seed: int, count: int) -> list[int]:
    """Return the seeds of a prompt's videos to choose from, the first its own; all as large as seeds may be."""
    return [(seed + 0x9E3779B1 * k) % (1 << 31) for k in range(count)]


def ordered(videos: Sequence[str], scores: Sequence[float], votes: Mapping[str, int]) -> list[str]:
    """Return videos of a pool in the order in which to show them: fewest votes first, among those the best liked."""
    rows = sorted(zip(videos, scores, strict=True), key=lambda row: (votes.get(row[0], 0), -row[1], row[0]))
    return [video for video, _ in rows]


@dataclass(frozen=True)
class Unseen:
    """A value that too few videos have shown for votes to teach it."""

    attribute: str
    value: str
    shown: int

    @property
    def sentence(self) -> str:
        """Return what members are told."""
        if self.shown == 0:
            return f"Nobody has seen {self.attribute} {self.value!r} yet: votes cannot teach what no video shows."
        times = "one video" if self.shown == 1 else f"{self.shown} videos"
        return f"Only {times} showed {self.attribute} {self.value!r} so far: too few for votes to teach it."


def unseen(
    readings: Iterable[Mapping[str, str | None]], known: Mapping[str, Iterable[str]], least: int = SEEN
) -> list[Unseen]:
    """Return the values that fewer than `least` videos have shown, in the order of `known`.

    `readings` say for each video which value of an attribute it shows, as some judge of frames reads it.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for reading in readings:
        counts.update((name, value) for name, value in reading.items() if value is not None)
    return [
        Unseen(name, value, counts[name, value])
        for name, values in known.items()
        for value in values
        if counts[name, value] < least
    ]


def nobody_asked_for(
    asked: Iterable[Sequence[tuple[str, str]]], known: Mapping[str, Iterable[str]], most: int = MOST_NAMED
) -> str | None:
    """Return a sentence with what the model knows and no prompt has asked for; None where there is nothing.

    `asked` are the attributes and values that each prompt names: what nobody asks for, hardly any video shows.
    """
    missing = unseen(({name: value} for prompt in asked for name, value in prompt), known, least=1)
    if not missing:
        return None
    named = ", ".join(f"{each.attribute} {each.value!r}" for each in missing[:most])
    more = f" and {len(missing) - most} more" if len(missing) > most else ""
    return f"Nobody has asked for {named}{more} yet: votes cannot teach what no video shows."


def share_above(scores: Floats, others: Floats) -> float:
    """Return how often a video of the first kind scores above one of the second; ties are halves."""
    differences = np.subtract.outer(scores, others)
    return float((differences > 0).mean() + 0.5 * (differences == 0).mean())
