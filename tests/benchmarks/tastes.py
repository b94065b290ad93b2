"""Hidden tastes of scripted communities: what they like is arithmetic on frames, and their votes are noisy.

Nothing that tunes sees any of this: it gets prompts, seeds, thumbs and latents, as of a real community.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.feedback.scoring.guards import motion_of
from generation.tiny.training import captions, judge, world

Frames = NDArray[np.uint8]
NOISE, HOSTILE, VOTERS = 0.2, 0.1, 40


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
    """Reads a clip: (frames, height, width, 3)."""
    read, side = judge.read(frames), frames.shape[1]
    ends = np.concatenate([frames[:, :, :4], frames[:, :, -4:]], axis=2).reshape(-1, 3)
    light = float(np.median(ends @ np.array([0.299, 0.587, 0.114])) / 255)
    if read.shape is None:
        return Facts(None, None, None, 0.0, 0.0, 0.0, light, motion_of(frames))
    masks = judge.find(frames)
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
HALF = ("warm", "large", "dark", "upright")  # tastes that the base meets in about half of its videos
SLOW, RARE = "quick", "heart"


def prompts_for(taste: Taste, count: int, seed: int, *, held_out: bool) -> list[str]:
    """Prompts as members write them, all different, that leave the taste's attribute open."""
    dice = np.random.default_rng([seed, held_out])
    out: dict[str, None] = {}
    while len(out) < count:
        caption = captions.write(world.random_scene(dice, unseen=held_out), dice, unseen=held_out)
        says = {name: getattr(caption, name) for name in ("colour", "shape", "motion", "background", "size", "speed")}
        if says[taste.opens] is None and any(says.values()):
            out.setdefault(caption.text)
    return list(out)


def vote(
    utilities: NDArray[np.float64], votes: int, seed: int, *, noise: float = NOISE, hostile: float = HOSTILE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Thumbs up and down of each video: up above the middle, flipped by `noise`, by hostile voters always."""
    dice = np.random.default_rng([seed, votes])
    values = set(np.unique(utilities))
    middle = 0.5 if values <= {0.0, 1.0} else float(np.median(utilities))
    up, down = np.zeros(len(utilities)), np.zeros(len(utilities))
    order = np.concatenate([dice.permutation(len(utilities)) for _ in range(-(-votes // len(utilities)))])[:votes]
    enemies = round(VOTERS * hostile)
    for place in order:
        likes = dice.random() < 0.5 if len(values) == 1 else utilities[place] > middle
        likes ^= dice.integers(VOTERS) < enemies
        likes ^= dice.random() < noise
        up[place] += likes
        down[place] += not likes
    return up, down


def win_rate(before: list[Facts], after: list[Facts], taste: Taste) -> float:
    """The share of prompts on which the second is liked more; ties are halves."""
    gained = np.array([taste.utility(b) - taste.utility(a) for a, b in zip(before, after, strict=True)])
    ties = np.abs(gained) <= taste.notices
    return float(((gained > 0) & ~ties).mean() + 0.5 * ties.mean())


def ceiling(before: list[Facts], taste: Taste) -> float:
    """The most that any model could win: of a yes or no that the base meets with chance p, 1 - p / 2."""
    met = [taste.utility(facts) for facts in before]
    return 1 - float(np.mean(met)) / 2 if set(met) <= {0.0, 1.0} else 1.0
