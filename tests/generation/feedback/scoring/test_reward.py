"""The reward model: learns what thumbs follow, says so by cross-validation, and says also when there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from generation.feedback.scoring.reward import RewardModel, fit
from generation.feedback.scoring.scores import Floats, Groups


def votes(signal: float, seed: int = 0) -> tuple[Floats, Floats, Floats, Groups, Floats]:
    """160 videos of 40 prompts, two thumbs each, and what is really liked."""
    dice = np.random.default_rng(seed)
    features = dice.normal(size=(160, 30))
    liked = features[:, 3] * signal
    share = 1 / (1 + np.exp(-3 * liked))
    up = dice.binomial(2, share).astype(float)
    return features, up, 2 - up, np.repeat(np.arange(40), 4), liked


def test_what_thumbs_follow_is_learned() -> None:
    """On videos that it has not seen its order is that of the taste, and the gain says so beforehand."""
    features, up, down, groups, _ = votes(1.0)
    model = fit(features, up, down, groups)
    others, *_, liked = votes(1.0, seed=9)
    assert np.corrcoef(model(others), liked)[0, 1] > 0.7
    assert model.has_learned
    assert model.hits > 0.6
    assert model.votes == 320


def test_nothing_is_claimed_where_thumbs_are_coins() -> None:
    """The gain over the mean is about nought, and the model may label nothing."""
    features, up, down, groups, _ = votes(0.0)
    assert not fit(features, up, down, groups).has_learned


def test_a_model_is_the_same_each_time_and_after_it_was_stored() -> None:
    """Same votes, same numbers; and what is stored scores as before."""
    features, up, down, groups, _ = votes(1.0)
    model, again = fit(features, up, down, groups), fit(features, up, down, groups)
    np.testing.assert_array_equal(model.basis, again.basis)
    stored = RewardModel.of(model.arrays(), model.numbers())
    np.testing.assert_array_equal(stored(features), model(features))


def test_videos_that_are_all_alike_teach_nothing() -> None:
    """No feature differs: the model is the mean, not an error."""
    model = fit(np.ones((8, 5)), np.ones(8), np.zeros(8), np.repeat([0, 1, 2, 3], 2))
    assert np.ptp(model(np.ones((3, 5)))) == pytest.approx(0)
    assert not model.has_learned


def test_no_votes_are_no_model() -> None:
    """It is said, not guessed."""
    with pytest.raises(ValueError, match="No video has a vote"):
        fit(np.eye(4), np.zeros(4), np.zeros(4), np.arange(4))
