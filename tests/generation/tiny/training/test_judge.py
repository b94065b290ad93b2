"""The judge reads drawn clips right, and is not fooled: what it measures is in the frames, not in the prompt."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from generation.tiny.training import judge, world

CLIPS = 150


def clip(seed: int = 0, **wanted: str) -> np.ndarray:
    scene = world.Scene(**{"colour": "red", "shape": "star", "motion": "right", "background": "dark", **wanted})
    return world.render(scene, np.random.default_rng(seed))


def test_it_reads_drawn_clips() -> None:
    """At least 97 of 100 right in each attribute, sizes and speeds and second shapes included."""
    dice = np.random.default_rng(31)
    names = [field.name for field in fields(world.Scene)]
    right = dict.fromkeys(names, 0)
    for number in range(CLIPS):
        scene = world.random_scene(dice, unseen=number % 2 == 0, two=number % 3 == 0)
        reading = judge.read(world.render(scene, dice))
        for name in names:
            right[name] += getattr(reading, name) == getattr(scene, name)
    assert min(right.values()) / CLIPS >= 0.97, right
    assert min(right[name] for name in ("colour", "shape", "motion", "second_shape")) / CLIPS >= 0.99, right


@pytest.mark.parametrize("motion", ["right", "up", "spin"])
def test_two_shapes_are_read_in_their_order(motion: str) -> None:
    """From the left, or from the top where they move sideways; exchanged, they are read exchanged."""
    first, second = ("red", "star"), ("blue", "square")
    for one, other in ((first, second), (second, first)):
        reading = judge.read(clip(colour=one[0], shape=one[1], second_colour=other[0], second_shape=other[1],
                                  motion=motion, background="light"))  # fmt: skip
        assert (reading.colour, reading.shape, reading.motion) == (*one, motion)
        assert (reading.second_colour, reading.second_shape) == other


def test_one_shape_has_no_second() -> None:
    """The twin: nothing is read beside it, not even the stars of the night or the rain."""
    for background in world.BACKGROUNDS:
        reading = judge.read(clip(colour="yellow", background=background))
        assert (reading.second_colour, reading.second_shape, reading.background) == (None, None, background)


@pytest.mark.parametrize("name", ["colour", "shape", "motion"])
def test_it_tells_each_value_from_every_other(name: str) -> None:
    """The twin: a clip that shows another colour, shape or motion than was asked for is read as what it shows."""
    asked = world.Scene("red", "star", "right", "light")
    table = {"colour": world.COLOURS, "shape": world.SHAPES, "motion": world.MOTIONS}[name]
    for value in table:
        shown = replace(asked, **{name: value})
        if not shown.visible:
            continue
        reading = judge.read(world.render(shown, np.random.default_rng(3)))
        assert getattr(reading, name) == value
        assert (getattr(reading, name) == getattr(asked, name)) == (value == getattr(asked, name))


def test_a_clip_played_backwards_goes_the_other_way() -> None:
    """Motion is read from the order of frames."""
    assert judge.read(clip()).motion == "right"
    assert judge.read(clip()[::-1]).motion == "left"
    assert judge.read(clip(motion="grow")[::-1]).motion == "shrink"


def test_a_still_picture_has_no_motion() -> None:
    """Nor has a shape that trembles."""
    still = np.repeat(clip()[8:9], world.FRAMES, axis=0)
    assert judge.read(still).motion is None
    assert judge.read(still).shape == "star"
    trembling = np.stack([np.roll(frame, number % 2, axis=1) for number, frame in enumerate(still)])
    assert judge.read(trembling).motion is None


@pytest.mark.parametrize("kind", ["empty", "noise"])
def test_where_nothing_is_seen_nothing_is_told(kind: str) -> None:
    """An empty clip is not some colour's or shape's lucky hit."""
    if kind == "empty":
        frames = np.full((world.FRAMES, world.SIZE, world.SIZE, 3), 40, np.uint8)
    else:
        frames = np.random.default_rng(0).integers(60, 90, (world.FRAMES, world.SIZE, world.SIZE, 3)).astype(np.uint8)
    reading = judge.read(frames)
    assert (reading.colour, reading.shape, reading.motion) == (None, None, None)


def test_it_needs_no_torch() -> None:
    """It runs wherever numpy does, and knows nothing of the model."""
    import subprocess
    import sys

    script = "import sys; from generation.tiny.training import judge, captions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
