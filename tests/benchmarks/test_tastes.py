"""The votes of `make bench-learn` and its figures; the tastes are tried in tests/generation/feedback/community."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from generation.feedback.community.tastes import TASTES, Facts
from tests.benchmarks.learn import BESIDE, beside, figures_of, runs, table
from tests.benchmarks.tastes import ceiling, vote

BLANK = Facts(None, None, None, 0.0, 0.0, 0.0, 0.5, 0.0)


def test_three_of_four_thumbs_are_right() -> None:
    """With 20 % noise and 10 % hostile voters; without either all are."""
    utilities = np.arange(100.0)
    up, down = vote(utilities, 2000, 1)
    assert up.sum() + down.sum() == 2000
    right = up[50:].sum() + down[:50].sum()
    assert 0.7 < right / 2000 < 0.78
    up, down = vote(utilities, 200, 1, noise=0, hostile=0)
    assert up[51:].sum() + down[:50].sum() > 195
    coins, _ = vote(np.zeros(100), 2000, 1)
    assert 900 < coins.sum() < 1100


def test_a_yes_or_no_that_the_base_meets_has_a_ceiling() -> None:
    """Half of what it shows cannot be won; where there are degrees, all can."""
    shapes = [replace(BLANK, shape=shape) for shape in ("heart", "circle", "circle", "star")]
    assert ceiling(shapes, TASTES["heart"]) == pytest.approx(0.75)
    assert ceiling([replace(BLANK, warm=0.0)] * 4, TASTES["warm"]) == 1.0


def test_the_figures_are_those_of_the_runs() -> None:
    """The mean of the tastes that the base meets in half of its videos, the worst loss, and no figure of nothing."""
    run = {"method": "nft", "rounds": 1, "votes": 300, "motion_open": -0.1, "motion_kept": 0.1, "recipe": {}}
    run |= {"adherence": -0.01, "seconds": 40.0, "best_of": 4}
    done = [{**run, "taste": "warm", "win": 0.9}, {**run, "taste": "large", "win": 1.0, "adherence": 0.01}]
    figures = {figure.name: figure for figure in figures_of(done)}
    assert figures["win_rate_300"].value == pytest.approx(0.95)
    assert (figures["adherence_loss_300"].value, figures["motion_loss_300"].value) == (0.01, 0.1)
    assert figures["motion_loss_300"].met is False
    assert "win_rate_rare" not in figures
    quick = {**run, "taste": "warm", "win": 0.2, "adherence": -1.0, "recipe": BESIDE["recipe"], "win_best_of": 0.7}
    assert figures_of([*done, quick]) == figures_of(done)
    assert table([quick]) == table([])
    rows = [line.split() for line in beside([*done, quick, {**quick, "win": 0.4}]).splitlines()]
    assert rows[1][:5] == ["nft", "0.300", "-", "0.300", "0.200"]
    assert rows[2][-4:] == ["0.700", "-", "0.700", "0.700"]
    assert beside(done) == ""
    assert figures_of([]) == []
    assert {run.taste for run in runs(small=False)} == set(TASTES)
