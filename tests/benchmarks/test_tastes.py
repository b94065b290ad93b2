"""Hidden tastes and scripted voters: what `make bench-learn` judges by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from generation.tiny.training import world
from tests.benchmarks.learn import figures_of, runs
from tests.benchmarks.tastes import TASTES, Facts, ceiling, facts_of, prompts_for, vote, win_rate

BLANK = Facts(None, None, None, 0.0, 0.0, 0.0, 0.5, 0.0)


def test_a_clip_of_the_world_is_read_as_it_was_drawn() -> None:
    """A red shape is warm and a blue one is not; a large one fills more of the picture."""
    dice = np.random.default_rng(3)
    scene = replace(world.random_scene(dice), shape="circle", motion="right", background="dark", size="small")
    clips = {
        (colour, size): facts_of(world.render(replace(scene, colour=colour, size=size), dice))
        for colour in ("red", "blue")
        for size in ("small", "large")
    }
    assert clips["red", "small"].warm > 0.3 > -0.3 > clips["blue", "small"].warm
    assert clips["red", "large"].area > clips["red", "small"].area
    assert clips["red", "small"].colour == "red"
    assert facts_of(np.full((5, 64, 64, 3), 9, np.uint8)).is_blank


@pytest.mark.parametrize("name", TASTES)
def test_prompts_leave_open_what_the_taste_is_about(name: str) -> None:
    """All different, and none of the held-out ones among those that are voted on."""
    voted = prompts_for(TASTES[name], 20, 1, held_out=False)
    held_out = prompts_for(TASTES[name], 20, 1, held_out=True)
    assert len(set(voted)) == 20
    assert not set(voted) & set(held_out)


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


def test_a_win_is_more_than_can_be_noticed() -> None:
    """Ties are halves, and a yes or no that the base meets has a ceiling."""
    before = [replace(BLANK, warm=0.0)] * 4
    after = [replace(BLANK, warm=value) for value in (0.5, 0.01, -0.5, 0.5)]
    assert win_rate(before, after, TASTES["warm"]) == pytest.approx(0.625)
    shapes = [replace(BLANK, shape=shape) for shape in ("heart", "circle", "circle", "star")]
    assert ceiling(shapes, TASTES["heart"]) == pytest.approx(0.75)
    assert ceiling(before, TASTES["coins"]) == 1.0


def test_the_figures_are_those_of_the_runs() -> None:
    """The mean of the tastes that the base meets in half of its videos, the worst loss, and no figure of nothing."""
    run = {"method": "nft", "rounds": 1, "seed": 1, "votes": 300, "motion_open": -0.1, "motion_kept": 0.1}
    run |= {"adherence": -0.01, "seconds": 40.0}
    done = [{**run, "taste": "warm", "win": 0.9}, {**run, "taste": "large", "win": 1.0, "adherence": 0.01}]
    figures = {figure.name: figure for figure in figures_of(done)}
    assert figures["win_rate_300"].value == pytest.approx(0.95)
    assert (figures["adherence_loss_300"].value, figures["motion_loss_300"].value) == (0.01, 0.1)
    assert figures["motion_loss_300"].met is False
    assert "win_rate_rare" not in figures
    assert figures_of([]) == []
    assert {run.taste for run in runs(small=False)} == set(TASTES)
