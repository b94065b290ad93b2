"""Scores from thumbs: shrunk, less the prompt's mean, never at the cost of motion."""

from __future__ import annotations

import numpy as np
import pytest

from generation.feedback.scoring.scores import best_of, centred, pairs_of, thumb_scores, with_motion_kept


def test_few_thumbs_say_less_than_many() -> None:
    """One up of one is worth less than eight of eight; where there are none, nothing is said."""
    one, eight, none, down = thumb_scores(np.array([1.0, 8, 0, 0]), np.array([0.0, 0, 0, 8]))
    assert 0 < one < eight < 1
    assert none == pytest.approx(0)
    assert down < 0


def test_a_prompt_itself_is_not_judged() -> None:
    """Where all videos of a prompt are disliked alike, none of them is; a difference within it stays."""
    groups = np.array([0, 0, 1, 1])
    assert centred(np.array([-1.0, -1.0, 1.0, 1.0]), groups).tolist() == [0, 0, 0, 0]
    out = centred(np.array([-1.0, 0.0, 1.0, 1.0]), groups)
    assert out[1] > 0 > out[0]
    assert abs(centred(np.array([-9.0, 9.0, 1.0, 2.0]), groups, unit=True)).max() <= 1


def test_what_speaks_against_motion_is_taken_out() -> None:
    """Liked videos that move less lose that part, and the scores' relation to motion is then none."""
    dice = np.random.default_rng(0)
    groups, motion = np.repeat(np.arange(10), 4), dice.normal(size=40)
    liked = dice.normal(size=40) - 0.8 * motion
    kept, against = with_motion_kept(liked, motion, groups)
    assert against > 0.3
    assert abs(centred(kept, groups) @ centred(motion, groups)) < 1e-9
    assert np.corrcoef(kept, liked)[0, 1] > 0.5


def test_a_like_of_motion_stays_as_it_is() -> None:
    """Nothing is taken out where liked videos move more, where none moves, or where nobody asks."""
    groups, motion = np.repeat(np.arange(5), 4), np.random.default_rng(1).normal(size=20)
    for scores, moves, share in ((motion, motion, 1.0), (-motion, np.ones(20), 1.0), (-motion, motion, 0.0)):
        kept, against = with_motion_kept(scores, moves, groups, share)
        assert against == 0
        np.testing.assert_array_equal(kept, scores)


def test_pairs_are_of_one_prompt_and_differ() -> None:
    """The better comes first, and a larger difference is surer; equal videos make no pair."""
    pairs = pairs_of(np.array([0.5, -0.5, 0.5, 2.0]), np.array([0, 0, 1, 1]))
    assert list(zip(pairs.better, pairs.worse, strict=True)) == [(0, 1), (3, 2)]
    assert 0.5 < pairs.sure[0] < pairs.sure[1] <= 1
    assert len(pairs_of(np.zeros(4), np.zeros(4, int)).sure) == 0


def test_the_best_are_above_the_mean() -> None:
    """A share of the videos, in their order; one at least, and none that is disliked beside it."""
    assert best_of(np.array([0.1, -1, 3, 2]), 0.5).tolist() == [2, 3]
    assert best_of(np.array([-1.0, -2, -3, 4]), 1.0).tolist() == [3]
    assert best_of(np.array([-1.0, -2]), 0.1).tolist() == [0]
