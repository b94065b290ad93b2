"""Scores: shrunk, relative to the round, and less the prompt's mean."""

from __future__ import annotations

import pytest

from generation.feedback.dataset.scores import Count, scores


def count(video: str, up: float, down: float, prompt: str = "p", round_key: str = "r") -> Count:
    return Count(video, round_key, prompt, up, down)


def test_the_formula_by_hand() -> None:
    """m = 6/10; a: (4 + 1.2) / 7 against m, twice; b the same; then the prompt's mean is taken off."""
    found = scores([count("a", 4, 1), count("b", 2, 3)])
    assert found["a"].share == pytest.approx(5.2 / 7)
    assert found["a"].raw == pytest.approx(2 * (5.2 / 7 - 0.6))
    assert found["a"].score == pytest.approx(2 / 7)
    assert found["b"].score == pytest.approx(-2 / 7)


def test_a_prompt_that_everybody_likes_has_no_effect() -> None:
    """Votes on the prompt are taken off; where prompts are mixed up instead, the liked prompt's worst would win."""
    liked = [count("a", 9, 1, "liked"), count("b", 7, 3, "liked")]
    disliked = [count("c", 3, 7, "disliked"), count("d", 1, 9, "disliked")]
    found = scores([*liked, *disliked])
    assert found["b"].score < 0 < found["c"].score
    assert found["b"].raw > found["c"].raw
    assert found["a"].score + found["b"].score == pytest.approx(0)


def test_few_votes_say_little_and_none_say_nothing() -> None:
    """One thumb moves a score less than ten; a video without votes is in the middle of its round."""
    found = scores([count("one", 1, 0, "p1"), count("ten", 10, 0, "p2"), count("none", 0, 0, "p3"), count("x", 0, 9)])
    assert 0 < found["one"].raw < found["ten"].raw
    assert found["none"].raw == 0
    assert scores([count("alone", 0, 0)])["alone"].share == 0.5
    assert scores([]) == {}


def test_a_lone_video_is_compared_with_all() -> None:
    """Its prompt has no other: the mean of all videos is taken off, and its own is not."""
    found = scores([count("a", 5, 0, "p1"), count("b", 0, 5, "p2"), count("c", 3, 2, "p3")])
    mean = sum(each.raw for each in found.values()) / 3
    assert all(each.score == pytest.approx(each.raw - mean) for each in found.values())
    assert found["a"].score > 0.5


def test_rounds_have_their_own_middle() -> None:
    """A round in which people are strict does not pull its videos down."""
    found = scores([count("a", 1, 9, "p1", "strict"), count("b", 9, 1, "p2", "kind")])
    assert found["a"].raw == pytest.approx(0)
    assert found["b"].raw == pytest.approx(0)
