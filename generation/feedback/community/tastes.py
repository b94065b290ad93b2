"""Hidden tastes of scripted communities: what they like is arithmetic on frames.

Nothing that tunes sees any of this: it gets prompts, seeds, thumbs and latents, as of a real community.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.feedback.scoring.guards import motion_of
from generation.tiny.training import judge

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Facts:
    """A clip as arithmetic reads it."""

    colour: str | None
    shape: str | None
    motion: str | None
    warm: float  # red less blue of the shape, -1..1
    area: float  # share of the picture
    pace: float  # how far centre and rim move a frame, in sides of the picture
    light: float  # luminance of the background, 0..1
    moves: float  # share of pixels that change from one frame to the next

    @property
    def is_blank(self) -> bool:
        return self.shape is None


def facts_of(frames: Frames) -> Facts:
    """Return the facts of a clip of the shape (frames, height, width, 3)."""
    read, side = judge.read(frames), frames.shape[1]
    ends = np.concatenate([frames[:, :, :4], frames[:, :, -4:]], axis=2).reshape(-1, 3)
    light = float(np.median(ends @ np.array([0.299, 0.587, 0.114])) / 255)
    if read.shape is None:
        return Facts(None, None, None, 0.0, 0.0, 0.0, light, motion_of(frames))
    masks = judge.find(frames, judge.behind(frames))[0]  # of two shapes, the one that is read
    seen = masks.any((1, 2))
    clear, masks = frames[seen], masks[seen]
    ink = np.median(clear[masks].astype(float), axis=0)
    areas = masks.sum((1, 2)) / side**2
    centres = np.array([[places.mean() for places in np.nonzero(mask)] for mask in masks]) / side
    rims = np.sqrt(areas / np.pi)
    pace = np.linalg.norm(np.diff(centres, axis=0), axis=1) + np.abs(np.diff(rims))
    warm = float(ink[0] - ink[2]) / 255
    return Facts(
        read.colour, read.shape, read.motion, warm, float(areas.mean()), float(pace.mean()), light, motion_of(frames)
    )


@dataclass(frozen=True)
class Taste:
    """A taste: `opens` is the attribute that its prompts leave open; smaller differences than `notices` are ties."""

    name: str
    opens: str
    utility: Callable[[Facts], float]
    notices: float


TASTES = {
    taste.name: taste
    for taste in (
        Taste("warm", "colour", lambda facts: facts.warm, 0.08),
        Taste("large", "size", lambda facts: facts.area, 0.004),
        Taste("dark", "background", lambda facts: -facts.light, 0.04),
        Taste("upright", "motion", lambda facts: float(facts.motion in ("up", "down", "jump")), 0.5),
        Taste("quick", "speed", lambda facts: facts.pace, 0.0015),
        Taste("heart", "shape", lambda facts: float(facts.shape in ("heart", "star")), 0.5),
        Taste("coins", "colour", lambda _facts: 0.0, 1.0),  # nobody likes anything
    )
}


def middle_of(utilities: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the utility above which a video is liked: the median, or one half where there are yes and no alone."""
    return 0.5 if set(np.unique(utilities)) <= {0.0, 1.0} else float(np.median(utilities))


def win_rate(before: Sequence[Facts], after: Sequence[Facts], taste: Taste) -> float:
    """Return the share of prompts on which the second is liked more; ties are halves."""
    gained = np.array([taste.utility(b) - taste.utility(a) for a, b in zip(before, after, strict=True)])
    ties = np.abs(gained) <= taste.notices
    return float(((gained > 0) & ~ties).mean() + 0.5 * ties.mean())
