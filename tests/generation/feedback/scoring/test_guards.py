"""The guards on a candidate: each can be set off, and none is by a model that is as it was."""

from __future__ import annotations

import numpy as np
import pytest

from generation.feedback.scoring.guards import Frames, Limits, Reading, compare, diversity_of, is_blank, motion_of, read


def clip(step: int, seed: int = 0, *, colour: int = 200, flat: bool = False) -> Frames:
    """A square that moves by `step` pixels a frame on a dark ground."""
    frames = np.full((5, 32, 32, 3), 10, np.uint8)
    if not flat:
        for number in range(5):
            left = (seed * 5 + number * step) % 22
            frames[number, 8 + seed : 16 + seed, left : left + 8] = colour
    return frames


def videos(step: int, **how: int) -> list[Frames]:
    return [clip(step, seed, **how) for seed in range(4)]


PROMPTS = ["a", "b", "c", "d"]


def test_motion_is_of_places_and_not_of_colours() -> None:
    """What moves further moves more, a still picture not at all, and another colour changes nothing."""
    assert motion_of(clip(3)) > motion_of(clip(1)) > motion_of(clip(0)) == 0
    assert motion_of(clip(3)) == motion_of(clip(3, colour=120))
    assert motion_of(clip(3)[:1]) == 0


def test_a_blank_video_shows_one_colour() -> None:
    """And one with a square is not blank."""
    assert is_blank(clip(1, flat=True))
    assert not is_blank(clip(1))


def test_diversity_falls_when_all_videos_are_alike() -> None:
    """To nothing, for the same video again and again."""
    assert diversity_of(videos(1)) > 1
    assert diversity_of([clip(1)] * 3) == 0
    assert diversity_of([clip(1)]) == 0


def test_a_model_that_is_as_it_was_passes() -> None:
    """All guards hold, and each says what it saw."""
    reading = read(PROMPTS, videos(2), lambda _prompt, _frames: 0.9)
    report = compare(reading, reading, 0.05)
    assert report.passed
    assert len(report.sentences) == 5
    assert all("Within its limit." in sentence for sentence in report.sentences)
    assert report.as_json()["vetoes"] == []


@pytest.mark.parametrize(
    ("guard", "after", "drift", "adherence"),
    [
        ("drift", videos(2), 0.2, 0.9),
        ("motion", videos(1), 0.05, 0.9),
        ("blank", [*videos(2)[:3], clip(2, flat=True)], 0.05, 0.9),
        ("diversity", [clip(2)] * 4, 0.05, 0.9),
        ("adherence", videos(2), 0.05, 0.8),
    ],
)
def test_each_guard_is_set_off_by_its_own_loss(guard: str, after: list[Frames], drift: float, adherence: float) -> None:
    """And its sentence says that more was lost than is allowed."""
    before = read(PROMPTS, videos(2), lambda _prompt, _frames: 0.9)
    report = compare(before, read(PROMPTS, after, lambda _prompt, _frames: adherence), drift)
    assert guard in report.vetoes
    assert any("More than is allowed." in sentence for sentence in report.sentences)
    wide = Limits(drift=9, motion=9, adherence=9, blank=9, diversity=9)
    assert compare(before, read(PROMPTS, after, lambda _p, _f: adherence), drift, wide).passed


def reading_of(motions: list[float]) -> Reading:
    """What was read of videos with these motions."""
    return Reading(sum(motions) / len(motions), 0.0, 10.0, None, tuple(motions))


def test_chance_among_few_videos_sets_no_guard_off() -> None:
    """The same loss does where each video shows it, or where many do."""
    dice = np.random.default_rng(1)
    before = [float(motion) for motion in dice.uniform(0.01, 0.1, 8)]
    mixed = [motion * (0.1 if place % 4 == 0 else 1.1) for place, motion in enumerate(before)]
    lost = sum(mixed) / sum(before) - 1
    assert lost < -0.06
    few = compare(reading_of(before), reading_of(mixed), 0.0)
    assert few.passed
    assert "give or take" in few.sentences[1]
    assert compare(reading_of(before), reading_of([motion * (1 + lost) for motion in before]), 0.0).vetoes == ["motion"]
    assert compare(reading_of(before * 40), reading_of(mixed * 40), 0.0).vetoes == ["motion"]


def test_diversity_is_doubted_among_few_videos_too() -> None:
    """One video that is like another is chance; all that are alike are a collapse."""
    before = read(PROMPTS * 2, [clip(2, seed) for seed in range(8)])
    one = read(PROMPTS * 2, [clip(2, seed if seed != 7 else 3) for seed in range(8)])
    assert one.diversity < before.diversity
    assert "diversity" not in compare(before, one, 0.0).vetoes
    assert "diversity" in compare(before, read(PROMPTS * 2, [clip(2)] * 8), 0.0).vetoes


def test_adherence_that_nothing_reads_is_said() -> None:
    """No veto comes of it."""
    reading = read(PROMPTS, videos(2))
    report = compare(reading, reading, 0.0)
    assert report.passed
    assert "was not measured" in report.sentences[-1]


def test_no_videos_are_no_reading() -> None:
    """Nor fewer than prompts."""
    for some in ([], videos(1)[:2]):
        with pytest.raises(ValueError, match="Each prompt has one video"):
            read(PROMPTS, some)
