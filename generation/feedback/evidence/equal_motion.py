"""The win rate at equal motion: what members would choose if both videos of a pair moved alike.

Tuning damps motion, and members like calm pictures or lively ones for reasons of their own. A logistic regression on
the difference in motion says how much of a win is explained by it. It is printed, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, sqrt

from .ballots import HALF_POINTS, Ballot

PRIOR = 0.16  # slopes of about 2.5 logits are thought possible, as in Gelman et al. 2008
STEPS = 25


def win_rate_at_equal_motion(ballots: Sequence[Ballot], motion: Mapping[str, float]) -> float | None:
    """Return the candidate's expected share of points in a pair without a difference; None where too little is known.

    `motion` is candidate minus live for each pair, in any unit. Each member weighs the same, as in the win rate.
    """
    rows = [
        (motion[vote.pair], HALF_POINTS[vote.outcome] / 2, 1 / len(ballot.votes))
        for ballot in ballots
        for vote in ballot.votes
        if vote.pair in motion
    ]
    scale = sqrt(sum(weight * gap * gap for gap, _, weight in rows) / max(len(rows), 1))
    if len(rows) < 2 or scale == 0:
        return None
    return _fit_intercept([(gap / scale, points, weight) for gap, points, weight in rows])


def _fit_intercept(rows: Sequence[tuple[float, float, float]]) -> float:
    """Fit points to sigmoid(a + b gap) by Newton's method; return sigmoid(a).

    One vote of a whole ballot's weight, half for each side at no gap, keeps a finite where all chose alike.
    """
    a = b = 0.0
    for _ in range(STEPS):
        gradient = [0.0, -PRIOR * b]
        curvature = [0.0, 0.0, PRIOR]
        for gap, points, weight in (*rows, (0.0, 0.5, 1.0)):
            chance = _sigmoid(a + b * gap)
            pull, spread = weight * (points - chance), weight * chance * (1 - chance)
            gradient = [gradient[0] + pull, gradient[1] + pull * gap]
            curvature = [curvature[0] + spread, curvature[1] + spread * gap, curvature[2] + spread * gap * gap]
        determinant = curvature[0] * curvature[2] - curvature[1] ** 2
        step_a = (curvature[2] * gradient[0] - curvature[1] * gradient[1]) / determinant
        step_b = (curvature[0] * gradient[1] - curvature[1] * gradient[0]) / determinant
        a, b = a + max(-2.0, min(2.0, step_a)), b + max(-2.0, min(2.0, step_b))
    return _sigmoid(a)


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-max(-40.0, min(40.0, x))))
