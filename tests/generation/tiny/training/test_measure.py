"""The tiny pipeline as it is committed: it shows what prompts ask for, also such as it has never seen."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bot.demo.story import PROMPTS
from generation.models.registry import TINY_LOOKS
from generation.tiny.make import WEIGHTS
from generation.tiny.training import measure, world

HELD_OUT, OF_TWO = 12, 4
FAR = ["a cat surfing", "日本の夜 🎬", "", "asdf qwerty 123", "مرحبا بالعالم"]

# In a process of its own: what torch and its friends warn of at import is not ours. A line of JSON in, one out.
RENDER = """
import hashlib, json, sys
from pathlib import Path
from generation.tiny.training import judge, measure
pipeline = measure.load(Path(sys.argv[1]))
for line in sys.stdin:
    prompt, seed = json.loads(line)
    frames = measure.render(pipeline, prompt, seed)
    reading = judge.read(frames)
    print(json.dumps({
        "shape": frames.shape, "colour": reading.colour, "form": reading.shape, "motion": reading.motion,
        "sha256": hashlib.sha256(frames.tobytes()).hexdigest(), "spread": float(frames.std()),
        "moves": float(frames.astype(float).std(0).max()), "second": [reading.second_colour, reading.second_shape],
        "seam": measure.seam_ratio(frames), "flicker": measure.flicker(frames),
    }), flush=True)
"""

# What the prompts of the story ask for. The worker's own tests use "a red circle" and "a blue square".
STORY = [("red", "circle", "right"), ("green", "square", "jump"), ("yellow", "star", "spin")]


@pytest.fixture(scope="module")
def shown() -> dict[tuple[str, int], list[dict[str, Any]]]:
    """What the frames of every prompt below show, by prompt and seed."""
    held_out = [(case.prompt, case.seed) for case in measure.cases(HELD_OUT)]
    two = [(case.prompt, case.seed) for case in measure.cases(OF_TWO, two=True)]
    story = [(prompt, seed) for prompt in PROMPTS for seed in (1, 2)]
    far = [(prompt, 3) for prompt in FAR]
    twice = [("a red circle", 1), ("a red circle", 1), ("a red circle", 2), ("a blue square", 1)]
    asked = [*held_out, *two, *story, *far, *twice]
    lines = "".join(json.dumps(one) + "\n" for one in asked)
    command = [sys.executable, "-c", RENDER, str(WEIGHTS)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for one, line in zip(asked, done.stdout.splitlines(), strict=True):
        found.setdefault(one, []).append(json.loads(line))
    return found


Shown = dict[tuple[str, int], list[dict[str, Any]]]


def test_it_follows_prompts_that_it_has_not_seen(shown: Shown) -> None:
    """Of twelve held-out prompts most are shown as asked; the benchmark counts hundreds."""
    right = {"colour": 0, "form": 0, "motion": 0}
    for case in measure.cases(HELD_OUT):
        assert case.scene.held_out
        [found] = shown[case.prompt, case.seed]
        right["colour"] += found["colour"] == case.scene.colour
        right["form"] += found["form"] == case.scene.shape
        right["motion"] += found["motion"] == case.scene.motion
    assert right["colour"] >= 10, right
    assert right["form"] >= 9, right
    assert right["motion"] >= 10, right  # by chance 1.3, 2 and 1.5


def test_it_draws_two_shapes_where_two_are_asked_for(shown: Shown) -> None:
    """Which of them has which colour it often mixes up; the benchmark counts how often. The twin is below."""
    seconds = [shown[case.prompt, case.seed][0]["second"] for case in measure.cases(OF_TWO, two=True)]
    assert sum(second != [None, None] for second in seconds) >= 3, seconds


def test_it_shows_one_shape_where_one_is_asked_for(shown: Shown) -> None:
    """The twin."""
    alone = [shown[case.prompt, case.seed][0]["second"] for case in measure.cases(HELD_OUT)]
    assert alone.count([None, None]) >= 10, alone


def test_its_pictures_have_no_seams_and_do_not_flicker(shown: Shown) -> None:
    """The change across the borders of tiles is as beside them; still background changes by two levels of 255."""
    found = [shown[case.prompt, case.seed][0] for case in measure.cases(HELD_OUT)]
    assert np.nanmedian([one["seam"] for one in found]) <= 1.2
    assert np.nanmedian([one["flicker"] for one in found]) <= 2.5


def test_seams_and_flicker_are_seen_where_they_are() -> None:
    """The twin: tiles that are drawn apart raise the one figure, frames that pulse the other; drawn clips neither."""
    dice = np.random.default_rng(2)
    clip = world.render(world.Scene("red", "star", "right", "sunset"), dice)
    assert measure.seam_ratio(clip) == pytest.approx(1.0, abs=0.15)
    assert measure.flicker(clip) == 0
    tiled = clip.copy()
    tiled[:, 24:48, 24:72] //= 2
    assert measure.seam_ratio(tiled) > 2
    pulsing = clip.copy()
    pulsing[::2] = pulsing[::2] // 8 * 7
    assert measure.flicker(pulsing) > 5


def test_it_does_not_follow_prompts_that_it_was_not_given(shown: Shown) -> None:
    """The twin: held against the next prompt's wishes, the same frames fail."""
    cases = measure.cases(HELD_OUT)
    hits = 0
    for case, other in zip(cases, [*cases[1:], cases[0]], strict=True):
        [found] = shown[case.prompt, case.seed]
        hits += (found["colour"], found["form"], found["motion"]) == (
            other.scene.colour, other.scene.shape, other.scene.motion,
        )  # fmt: skip
    assert hits <= 2


def test_it_follows_the_prompts_of_the_story(shown: Shown) -> None:
    """Whoever starts the demo sees a circle, a square and a star that do as they are told."""
    right = 0
    for prompt, asked in zip(PROMPTS, STORY, strict=True):
        for seed in (1, 2):
            [found] = shown[prompt, seed]
            right += sum(a == b for a, b in zip(asked, (found["colour"], found["form"], found["motion"]), strict=True))
    assert right >= 15, right  # of 18


@pytest.mark.parametrize("prompt", FAR, ids=["cat", "script", "empty", "nonsense", "right-to-left"])
def test_a_prompt_from_another_world_shows_something(shown: Shown, prompt: str) -> None:
    """Not black, not grey, and it moves."""
    [found] = shown[prompt, 3]
    assert found["shape"] == [world.FRAMES, world.SIZE, world.SIZE, 3]
    assert found["spread"] > 4
    assert found["moves"] > 12


def test_seed_and_prompt_decide(shown: Shown) -> None:
    """The same two give the same frames, another one of them gives others."""
    first, again = shown["a red circle", 1]
    assert first["sha256"] == again["sha256"]
    assert first["sha256"] != shown["a red circle", 2][0]["sha256"]
    assert first["sha256"] != shown["a blue square", 1][0]["sha256"]


def test_it_is_small() -> None:
    """At most 16 MB in the repository, and of the size that its looks say."""
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 16_000_000
    assert (TINY_LOOKS["width"], TINY_LOOKS["height"]) == (world.SIZE, world.SIZE)
    assert (TINY_LOOKS["frames"], TINY_LOOKS["fps"]) == (world.FRAMES, world.FPS)
