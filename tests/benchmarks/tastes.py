"""What only the benchmark has of hidden tastes: votes by their mere numbers, and the most that a model could win.

The tastes themselves are those of generation/feedback/community, as the demo's members have them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from generation.feedback.community.tastes import Facts, Taste, middle_of
from generation.feedback.community.voters import HOSTILE, NOISE, VOTERS

HALF = ("warm", "large", "dark", "upright")  # tastes that the base meets in about half of its videos
SLOW, RARE = "quick", "heart"


def vote(
    utilities: NDArray[np.float64], votes: int, seed: int, *, noise: float = NOISE, hostile: float = HOSTILE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Thumbs up and down of each video: up above the middle, flipped by `noise`, by hostile voters always."""
    dice = np.random.default_rng([seed, votes])
    is_coin = len(np.unique(utilities)) == 1
    middle = middle_of(utilities)
    up, down = np.zeros(len(utilities)), np.zeros(len(utilities))
    order = np.concatenate([dice.permutation(len(utilities)) for _ in range(-(-votes // len(utilities)))])[:votes]
    enemies = round(VOTERS * hostile)
    for place in order:
        likes = dice.random() < 0.5 if is_coin else utilities[place] > middle
        likes ^= dice.integers(VOTERS) < enemies
        likes ^= dice.random() < noise
        up[place] += likes
        down[place] += not likes
    return up, down


def ceiling(before: list[Facts], taste: Taste) -> float:
    """The most that any model could win: of a yes or no that the base meets with chance p, 1 - p / 2."""
    met = [taste.utility(facts) for facts in before]
    return 1 - float(np.mean(met)) / 2 if set(met) <= {0.0, 1.0} else 1.0
