"""The guards on a candidate: drift, motion, adherence, blank videos, diversity, each against the model before it.

Numpy alone: the caller renders both models' videos of the same prompts and seeds, and reads their frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]  # (frames, height, width, 3)
Adherence = Callable[[str, Frames], float]  # 0..1: how much of a prompt the frames show

MOVED = 24  # of 255: a pixel that changes by more from one frame to the next has moved
FLAT = 3.0  # of 255: the spread of the pixels of a picture that shows nothing
SURE = 2.0  # standard errors by which a loss must be more than is allowed: a few videos differ by chance
SMALL = 8  # the side of the pictures that are compared for diversity


@dataclass(frozen=True)
class Limits:
    """The most that a candidate may lose.."""

    drift: float = 0.08
    motion: float = 0.05  # of the motion before
    adherence: float = 0.02
    blank: float = 0.02  # of all videos
    diversity: float = 0.10  # of the diversity before


@dataclass(frozen=True)
class Reading:
    """The numbers of one model's videos."""

    motion: float  # share of pixels that move from one frame to the next, in the mean of videos that are not blank
    blank: float  # share of videos
    diversity: float  # mean distance between videos, 0..255
    adherence: float | None
    motions: tuple[float | None, ...] = ()  # of each video; None where it is blank
    distances: tuple[float, ...] = ()  # between videos, as `_pairs` counts them


@dataclass(frozen=True)
class Report:
    """The guards' verdict: sentences for people, the numbers behind them, and which guards were set off."""

    before: Reading
    after: Reading
    drift: float
    vetoes: list[str] = field(default_factory=list)  # names of guards
    sentences: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True where no guard was set off."""
        return not self.vetoes

    def as_json(self) -> dict[str, object]:
        """Return all of it, as it is stored."""
        return asdict(self)


def motion_of(frames: Frames) -> float:
    """Return the share of pixels that change from one frame to the next: of colours and sizes it knows nothing."""
    if len(frames) < 2:
        return 0.0
    change = np.abs(frames[1:].astype(np.int16) - frames[:-1]).max(3)
    return float((change > MOVED).mean())


def is_blank(frames: Frames) -> bool:
    """Return True where no frame shows anything but one colour."""
    return float(frames.reshape(len(frames), -1, 3).std(1).max()) < FLAT


def diversity_of(videos: Sequence[Frames]) -> float:
    """Return the mean distance between the videos' pictures, made small: it falls when a model collapses."""
    return float(_distances(videos).mean()) if len(videos) > 1 else 0.0


def _distances(videos: Sequence[Frames]) -> NDArray[np.float32]:
    """Return the distance of each two videos, in the order of `np.triu_indices`."""
    rows = np.stack([_small(frames) for frames in videos])
    return np.concatenate([np.abs(rows[k + 1 :] - rows[k]).mean(1) for k in range(len(rows))])


def read(prompts: Sequence[str], videos: Sequence[Frames], adherence: Adherence | None = None) -> Reading:
    """Return the numbers of one model's videos. Raises ValueError without any."""
    if not videos or len(prompts) != len(videos):
        raise ValueError("Each prompt has one video, and there is at least one.")
    blank = [is_blank(frames) for frames in videos]
    motions = [None if is_flat else motion_of(frames) for frames, is_flat in zip(videos, blank, strict=True)]
    moving = [motion for motion in motions if motion is not None]
    shown = None
    if adherence is not None:
        shown = float(np.mean([adherence(prompt, frames) for prompt, frames in zip(prompts, videos, strict=True)]))
    return Reading(
        motion=float(np.mean(moving)) if moving else 0.0,
        blank=float(np.mean(blank)),
        diversity=diversity_of(videos),
        adherence=shown,
        motions=tuple(motions),
        distances=tuple(map(float, _distances(videos))),
    )


def compare(before: Reading, after: Reading, drift: float, limits: Limits | None = None) -> Report:
    """Return the verdict on a candidate against the model before it.

    A loss of motion or diversity counts where it is more than is allowed by more than chance makes of so few videos:
    the battle measures motion once more, on many.
    """
    limits = limits or Limits()
    vetoes, sentences = [], []

    def guard(name: str, *, holds: bool, sentence: str) -> None:
        sentences.append(f"{sentence} {'Within its limit.' if holds else 'More than is allowed.'}")
        if not holds:
            vetoes.append(name)

    guard("drift", holds=drift <= limits.drift * 1.001, sentence=f"Drift from the base: {drift:.3f}.")
    moved = _relative(before.motion, after.motion)
    doubt = SURE * _error(_without_each_motion(before, after))
    guard("motion", holds=moved >= -limits.motion - doubt, sentence=f"Motion: {moved:+.1%}{_give_or_take(doubt)}.")
    blank = after.blank - before.blank
    guard("blank", holds=blank <= limits.blank, sentence=f"Blank videos: {after.blank:.1%}, were {before.blank:.1%}.")
    spread = _relative(before.diversity, after.diversity)
    doubt = SURE * _error(_without_each_video(before, after))
    sentence = f"Diversity: {spread:+.1%}{_give_or_take(doubt)}."
    guard("diversity", holds=spread >= -limits.diversity - doubt, sentence=sentence)
    if before.adherence is None or after.adherence is None:
        sentences.append("Adherence to prompts was not measured: nothing here reads this model's videos.")
    else:
        gained = after.adherence - before.adherence
        guard("adherence", holds=gained >= -limits.adherence, sentence=f"Adherence to prompts: {gained:+.3f}.")
    return Report(before, after, drift, vetoes, sentences)


def _relative(before: float, after: float) -> float:
    return after / before - 1 if before > 0 else 0.0


def _without_each_motion(before: Reading, after: Reading) -> list[float]:
    """Return the change of motion as it would be without each video of both models."""
    both = list(zip(before.motions, after.motions, strict=True)) if len(before.motions) == len(after.motions) else []
    changes = []
    for left_out in range(len(both)):
        kept = both[:left_out] + both[left_out + 1 :]
        means = [[motion for motion in side if motion is not None] for side in zip(*kept, strict=True)]
        if len(means) == 2 and all(means):
            changes.append(_relative(float(np.mean(means[0])), float(np.mean(means[1]))))
    return changes


def _without_each_video(before: Reading, after: Reading) -> list[float]:
    """Return the change of diversity as it would be without each video of both models."""
    if len(before.distances) != len(after.distances) or not before.distances:
        return []
    videos = round((1 + (1 + 8 * len(before.distances)) ** 0.5) / 2)
    first, second = np.triu_indices(videos, 1)
    sides = [np.array(reading.distances) for reading in (before, after)]
    kept = [(first != left_out) & (second != left_out) for left_out in range(videos)]
    return [_relative(*(float(side[each].mean()) for side in sides)) for each in kept if each.any()]


def _error(changes: Sequence[float]) -> float:
    """Return the standard error of a change, by the jackknife; 0 where it cannot be told."""
    if len(changes) < 3:
        return 0.0
    return float(np.sqrt((len(changes) - 1) * np.var(changes)))


def _give_or_take(doubt: float) -> str:
    return f", give or take {doubt:.1%}" if doubt >= 0.0005 else ""


def _small(frames: Frames) -> NDArray[np.float32]:
    """Return the first, middle and last frame, shrunk to SMALL x SMALL by means of cells."""
    chosen = frames[[0, len(frames) // 2, len(frames) - 1]].astype(np.float32)
    rows = np.array_split(np.arange(chosen.shape[1]), min(SMALL, chosen.shape[1]))
    columns = np.array_split(np.arange(chosen.shape[2]), min(SMALL, chosen.shape[2]))
    cells = [chosen[:, r][:, :, c].mean((1, 2)) for r in rows for c in columns]
    return np.stack(cells).ravel()
