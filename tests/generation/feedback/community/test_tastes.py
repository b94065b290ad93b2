"""Hidden tastes: what scripted members like, read off frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from generation.feedback.community.tastes import TASTES, Facts, facts_of, middle_of, win_rate
from generation.tiny.training import world

BLANK = Facts(None, None, None, 0.0, 0.0, 0.0, 0.5, 0.0)


def test_a_clip_of_the_world_is_read_as_it_was_drawn() -> None:
    """A red shape is warm and a blue one is not; a large one fills more of the picture."""
    dice = np.random.default_rng(3)
    anything = world.random_scene(dice, two=False)
    scene = replace(anything, shape="circle", motion="right", background="dark", size="small")
    clips = {
        (colour, size): facts_of(world.render(replace(scene, colour=colour, size=size), dice))
        for colour in ("red", "blue")
        for size in ("small", "large")
    }
    assert clips["red", "small"].warm > 0.3 > -0.3 > clips["blue", "small"].warm
    assert clips["red", "large"].area > clips["red", "small"].area
    assert clips["red", "small"].colour == "red"
    assert facts_of(np.full((5, 64, 64, 3), 9, np.uint8)).is_blank


def test_a_win_is_more_than_can_be_noticed() -> None:
    """Ties are halves."""
    before = [replace(BLANK, warm=0.0)] * 4
    after = [replace(BLANK, warm=value) for value in (0.5, 0.01, -0.5, 0.5)]
    assert win_rate(before, after, TASTES["warm"]) == pytest.approx(0.625)
    assert win_rate(before, before, TASTES["warm"]) == 0.5


def test_the_middle_of_a_yes_or_no_is_between_both() -> None:
    """Else the median, so that half of the videos are liked."""
    assert middle_of([0.0, 0.0, 0.0, 1.0]) == 0.5
    assert middle_of([0.1, 0.2, 0.9]) == 0.2
