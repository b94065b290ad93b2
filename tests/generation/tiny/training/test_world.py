"""The tiny model's world: the same for everybody, and what is held out is nowhere in the training set."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generation.tiny.training import captions, world

SEEDS = st.integers(0, 2**32 - 1)


def scene(**changes: Any) -> world.Scene:
    return world.Scene(**{"colour": "red", "shape": "circle", "motion": "right", "background": "blue field", **changes})


def test_the_same_seed_draws_the_same_clip() -> None:
    """Scene, pixels and caption come from the dice alone; other dice draw something else."""
    drawn = []
    for seed in (5, 5, 6):
        dice = np.random.default_rng(seed)
        drawn.append((chosen := world.random_scene(dice), world.render(chosen, dice), captions.write(chosen, dice)))
    assert drawn[0][0] == drawn[1][0] != drawn[2][0]
    assert drawn[0][2] == drawn[1][2] != drawn[2][2]
    assert np.array_equal(drawn[0][1], drawn[1][1])
    assert drawn[0][1].shape == (world.FRAMES, world.SIZE, world.SIZE, 3)


@given(SEEDS)
def test_the_training_set_has_no_held_out_combination(seed: int) -> None:
    """And whatever is held out has no other."""
    dice = np.random.default_rng(seed)
    seen, unseen = world.random_scene(dice), world.random_scene(dice, unseen=True)
    assert not world.held_out(seen.colour, seen.shape, seen.motion)
    assert world.held_out(unseen.colour, unseen.shape, unseen.motion)


def test_about_a_fifth_is_held_out_and_every_word_of_it_is_known() -> None:
    """Every colour, shape and motion is seen in other company."""
    every = [(c, s, m) for c in world.COLOURS for s in world.SHAPES for m in world.MOTIONS]
    held = [combination for combination in every if world.held_out(*combination)]
    assert 0.15 < len(held) / len(every) < 0.25
    seen = [set(column) for column in zip(*(set(every) - set(held)), strict=True)]
    assert seen == [set(world.COLOURS), set(world.SHAPES), set(world.MOTIONS)]


def test_the_choice_of_what_is_held_out_is_the_same_in_another_process() -> None:
    """Python's own hashes differ from process to process; this one does not."""
    script = (
        "from generation.tiny.training import world as w\n"
        "print([w.held_out(c, s, m) for c in w.COLOURS for s in w.SHAPES for m in w.MOTIONS])"
    )
    told = [subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(2)]
    assert told[0] == told[1]
    assert b"True" in told[0]


@given(SEEDS)
def test_a_scene_can_be_seen(seed: int) -> None:
    """No colour is drawn before a background that hides it, and the shape is inside the picture from end to end."""
    dice = np.random.default_rng(seed)
    chosen = world.random_scene(dice, unseen=bool(seed % 2))
    assert chosen.visible
    for x, y, radius, _ in world.path(chosen, world.FRAMES, dice):
        assert -radius / 2 < x < world.SIZE + radius / 2
        assert -radius / 2 < y < world.SIZE + radius / 2


@given(SEEDS)
def test_two_shapes_do_not_touch(seed: int) -> None:
    """Each is drawn whole, however large it grows, in its own half of the picture."""
    dice = np.random.default_rng(seed)
    chosen = world.random_scene(dice, two=True)
    clip = world.render(chosen, dice)
    still = world.backdrop(chosen.background, world.FRAMES).astype(np.uint8)
    drawn = (clip != still).any(3)
    assert drawn.any((1, 2)).all()
    along = drawn.any(2) if chosen.motion in {"left", "right"} else drawn.any(1)
    for frame in along:
        pieces = np.diff(np.concatenate([[False], frame, [False]]).astype(int)).clip(0).sum()
        assert pieces == 2, chosen


def test_black_at_night_cannot_be_seen() -> None:
    """The twin: the world knows which pairs hide one another, and that nobody can tell whether a circle spins."""
    assert not scene(colour="black", background="night").visible
    assert scene(colour="black", background="light").visible
    two = {"second_colour": "black", "second_shape": "star"}
    assert not scene(background="night", **two).visible
    assert scene(background="light", **two).visible
    assert not world.measurable("circle", "spin")
    assert world.measurable("star", "spin")
