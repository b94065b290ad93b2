"""Pairs: by thumbs of one prompt and round, and by battles."""

from __future__ import annotations

import pytest

from generation.feedback.dataset.pairs import ALL_WITH_ALL, Thumbs, of_battles, of_thumbs
from tests.builders.votes import MEMBERS, battle, key_of


def test_the_label_of_thumbs() -> None:
    """p (1 - q) / (p (1 - q) + q (1 - p)), with the counts beside it; equal shares are an even label."""
    [pair] = of_thumbs([Thumbs("b", 1, 3, 0.25), Thumbs("a", 3, 1, 0.75)])
    assert (pair.video_a, pair.video_b, pair.a, pair.a_down, pair.b, pair.b_down) == ("a", "b", 3, 1, 1, 3)
    assert pair.label == pytest.approx(0.5625 / (0.5625 + 0.0625))
    [even] = of_thumbs([Thumbs("a", 1, 1, 0.5), Thumbs("b", 2, 2, 0.5)])
    assert even.label == 0.5


def test_without_votes_there_is_no_pair() -> None:
    """Neither from a video that nobody voted on, nor from one alone."""
    assert list(of_thumbs([Thumbs("a", 3, 1, 0.75), Thumbs("b", 0, 0, 0.5)])) == []
    assert list(of_thumbs([Thumbs("a", 3, 1, 0.75)])) == []
    [certain] = of_thumbs([Thumbs("a", 1, 0, 1.0), Thumbs("b", 1, 0, 1.0)])
    assert certain.label == 0.5


def test_many_videos_of_a_prompt_give_no_million_of_pairs() -> None:
    """Few are all paired; of many each has its neighbours. No pair comes twice, and none with itself."""
    for number, expected in ((ALL_WITH_ALL, 120), (200, 1600)):
        found = list(of_thumbs([Thumbs(f"v{each:03}", 1, 1, 0.5) for each in range(number)]))
        names = {(pair.video_a, pair.video_b) for pair in found}
        assert len(names) == len(found) == expected
        assert all(a < b for a, b in names)


def test_the_label_of_battles() -> None:
    """Whichever side a video stood on, and whoever's name comes first: two wins, one tie and one "both bad" of four."""
    votes = [
        battle("x", "y", MEMBERS[0], "a"),
        battle("y", "x", MEMBERS[1], "b"),
        battle("x", "y", MEMBERS[2], "tie"),
        battle("y", "x", MEMBERS[3], "both_bad"),
    ]
    [pair] = of_battles(votes)
    wins = (pair.a, pair.b) if pair.video_a == key_of("x") else (pair.b, pair.a)
    label = pair.label if pair.video_a == key_of("x") else 1 - pair.label
    assert (wins, pair.ties, pair.both_bad) == ((2, 0), 1, 1)
    assert label == pytest.approx((2 + 1 + 1) / (4 + 2))
    assert (pair.a_down, pair.b_down) == (0, 0)
    assert list(of_battles([])) == []
