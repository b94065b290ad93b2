"""Scores of videos from thumbs: shrunk, less the prompt's mean, and never at the cost of motion. Numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]  # the number of each video's prompt

PRIOR = 2.0  # votes' worth of shrinkage towards the share of all ups


def thumb_scores(up: Floats, down: Floats, prior: float = PRIOR) -> Floats:
    """Return a score in -1..1 for each video, shrunk towards the mean of all; votes may be weighted."""
    mean = up.sum() / max(1.0, float((up + down).sum()))
    share = (up + prior * mean) / (up + down + prior)
    return np.asarray(2 * (share - mean), np.float64)


def centred(scores: Floats, groups: Groups, *, unit: bool = False) -> Floats:
    """Return the scores less their prompt's mean; with `unit` in units of twice their own spread, within -1..1.

    A vote carries nothing on a prompt itself: where a prompt makes its videos slow, all of them are disliked.
    """
    out = np.array(scores, np.float64)
    for group in np.unique(groups):
        out[groups == group] -= out[groups == group].mean()
    out -= out.mean()
    return np.clip(out / (2 * out.std() + 1e-9), -1, 1) if unit else out


def with_motion_kept(scores: Floats, motion: Floats, groups: Groups, share: float = 1.0) -> tuple[Floats, float]:
    """Return the scores with what speaks against motion taken out, and how much that was (0: nothing).

    Within prompts, liked videos may happen to move less though nobody voted on that. Their scores then get as much
    reward for motion as makes the two unrelated; `share` above 1 asks for more. Likes of motion stay as they are.
    """
    moves = centred(motion, groups)
    variance = float(moves @ moves)
    if variance <= 1e-12 or share <= 0:
        return scores, 0.0
    against = max(0.0, -float(centred(scores, groups) @ moves) / variance) * share
    return scores + against * moves, against


@dataclass(frozen=True)
class Pairs:
    """Pairs of videos of one prompt by their places: the better, the worse, and how sure that is (0.5 to 1)."""

    better: NDArray[np.int64]
    worse: NDArray[np.int64]
    sure: Floats


def pairs_of(scores: Floats, groups: Groups) -> Pairs:
    """Return all pairs of one prompt whose scores differ, in a fixed order."""
    better, worse, sure = [], [], []
    for group in np.unique(groups):
        places = np.flatnonzero(groups == group)
        for a in places:
            for b in places:
                if scores[a] > scores[b] + 1e-9:
                    better.append(a)
                    worse.append(b)
                    sure.append(0.5 + 0.25 * min(2.0, float(scores[a] - scores[b])))
    return Pairs(np.array(better, np.int64), np.array(worse, np.int64), np.array(sure, np.float64))


def best_of(scores: Floats, share: float) -> NDArray[np.int64]:
    """Return the places of the best share of the videos, at least one; those below the mean are never among them."""
    count = max(1, round(share * len(scores)))
    order = np.argsort(-scores, stable=True)[:count]
    good = order[scores[order] > 0]
    return np.sort(good if len(good) else order[:1])
