"""The reward model: what a community likes, learned from thumbs on numbers that describe latents. Numpy alone.

A ridge logistic regression on the main components of the features; how strong the ridge is, and whether the votes
teach anything at all, is found by cross-validation over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generation.feedback.scoring.scores import Floats, Groups

COMPONENTS = 48
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 5
# The gain over the mean, in nats a vote, from which on the model may label videos that nobody has seen.
ENOUGH = 0.02


@dataclass(frozen=True)
class RewardModel:
    """Weights over features. `gain` (nats a vote over the mean) and `hits` (a share) are cross-validated."""

    mean: Floats
    spread: Floats
    basis: Floats  # (features, components), whitened, louder components larger
    weights: Floats
    bias: float
    ridge: float
    gain: float
    hits: float
    votes: float

    def __call__(self, features: Floats) -> Floats:
        """Return the log-odds that each video is liked; features: (videos, features)."""
        return np.asarray(_project(self, features) @ self.weights + self.bias, np.float64)

    @property
    def has_learned(self) -> bool:
        """True where its word on videos that nobody has voted on is worth something."""
        return self.gain >= ENOUGH

    def arrays(self) -> dict[str, Floats]:
        """Return its arrays by name, as they are stored."""
        return {"mean": self.mean, "spread": self.spread, "basis": self.basis, "weights": self.weights}

    def numbers(self) -> dict[str, float]:
        """Return its single numbers by name, as they are stored."""
        names = ("bias", "ridge", "gain", "hits", "votes")
        return {name: float(getattr(self, name)) for name in names}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.floating]], numbers: Mapping[str, float]) -> RewardModel:
        """Return the model that was stored. Raises KeyError where a part is missing."""
        mean, spread, basis, weights = (
            np.asarray(arrays[name], np.float64) for name in ("mean", "spread", "basis", "weights")
        )
        bias, ridge, gain, hits, votes = (float(numbers[name]) for name in ("bias", "ridge", "gain", "hits", "votes"))
        return cls(mean, spread, basis, weights, bias, ridge, gain, hits, votes)


def fit(features: Floats, up: Floats, down: Floats, groups: Groups) -> RewardModel:
    """Learn from thumbs; features: (videos, features), `groups` the prompt of each. Deterministic.

    Raises ValueError where there is no vote.
    """
    if (up + down).sum() <= 0:
        raise ValueError("No video has a vote.")
    mean, spread = features.mean(0), features.std(0) + 1e-3
    scaled = (features - mean) / spread
    _, sizes, rows = np.linalg.svd(scaled, full_matrices=False)
    keep = min(COMPONENTS, int((sizes > 1e-6 * max(sizes[0], 1e-12)).sum()) or 1)
    sizes, rows = np.maximum(sizes[:keep], 1e-12), rows[:keep]
    rows *= np.sign(rows[np.arange(keep), np.abs(rows).argmax(1)])[:, None]  # a library may turn a component around
    basis = (rows / (sizes[:, None] / np.sqrt(len(scaled)))).T * np.sqrt(sizes / sizes[0])
    inputs = scaled @ basis
    ridge, gain, hits = _choose_ridge(inputs, up, down, groups)
    weights, bias = _regress(inputs, up, down, ridge)
    return RewardModel(mean, spread, basis, weights, bias, ridge, gain, hits, float((up + down).sum()))


def _project(model: RewardModel, features: Floats) -> Floats:
    return np.asarray((features - model.mean) / model.spread @ model.basis, np.float64)


def _choose_ridge(inputs: Floats, up: Floats, down: Floats, groups: Groups) -> tuple[float, float, float]:
    """Return the best ridge, its gain in nats a vote over the mean of the other prompts, and its share of hits."""
    order = {group: place for place, group in enumerate(np.unique(groups))}
    folds = np.array([order[group] % FOLDS for group in groups])
    best = (RIDGES[-1], -np.inf, 0.0)
    for ridge in RIDGES:
        gained = hits = votes = 0.0
        for fold in range(FOLDS):
            others, left_out = folds != fold, folds == fold
            if not left_out.any() or (up + down)[others].sum() <= 0:
                continue
            weights, bias = _regress(inputs[others], up[others], down[others], ridge)
            share = _logistic(inputs[left_out] @ weights + bias).clip(1e-6, 1 - 1e-6)
            usual = np.clip(up[others].sum() / (up + down)[others].sum(), 1e-6, 1 - 1e-6)
            ups, downs = up[left_out], down[left_out]
            gained += float((ups * np.log(share / usual) + downs * np.log((1 - share) / (1 - usual))).sum())
            hits += float((ups * (share > 0.5) + downs * (share <= 0.5)).sum())
            votes += float((ups + downs).sum())
        if votes and gained / votes > best[1]:
            best = (ridge, gained / votes, hits / votes)
    return best[0], (best[1] if np.isfinite(best[1]) else 0.0), best[2]


def _regress(inputs: Floats, up: Floats, down: Floats, ridge: float) -> tuple[Floats, float]:
    """Return weights and bias that make the votes likeliest, less the ridge: Newton's method."""
    count = inputs.shape[1]
    all_inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    penalty = np.append(np.full(count, ridge), 1e-6)
    weights = np.zeros(count + 1)
    for _ in range(30):
        share = _logistic(all_inputs @ weights)
        slope = all_inputs.T @ ((up + down) * share - up) + penalty * weights
        curve = (all_inputs * ((up + down) * share * (1 - share) + 1e-9)[:, None]).T @ all_inputs
        step = np.linalg.solve(curve + np.diag(penalty), slope)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights[:-1], float(weights[-1])


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -40, 40))), np.float64)
