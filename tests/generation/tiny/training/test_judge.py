"""The judge reads drawn clips right, and is not fooled: what it measures is in the frames, not in the prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from generation.tiny.training import judge, world

CLIPS = 240


def clip(seed: int = 0, **wanted: str) -> np.ndarray:
    scene = world.Scene(**{"colour": "red", "shape": "star", "motion": "right", "background": "dark", **wanted})
    return world.render(scene, np.random.default_rng(seed))


def test_it_reads_drawn_clips() -> None:
    """At least 99 of 100 right in each of the three, with every background, size and speed among them."""
    dice = np.random.default_rng(31)
    right = dict.fromkeys(("colour", "shape", "motion"), 0)
    for number in range(CLIPS):
        scene = world.random_scene(dice, unseen=number % 2 == 0)
        reading = judge.read(world.render(scene, dice))
        for name in right:
            right[name] += getattr(reading, name) == getattr(scene, name)
    assert min(right.values()) / CLIPS >= 0.99, right


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
