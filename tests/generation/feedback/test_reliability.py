"""Voters' reliability: against an independent reference, and on simulated communities with hostile voters."""

from __future__ import annotations

import random
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray

from generation.feedback.reliability import PRIOR_RIGHT, PRIOR_WRONG, Ballot, Coins, Estimate, estimate
from tests.builders.votes import simulated

Floats = NDArray[np.float64]


def log_posterior(ballots: list[Ballot], found: Estimate) -> float:
    """The logarithm of what EM climbs, written down from the model and not from its steps: a sum over both classes."""
    items, voters = sorted(found.items), sorted(found.voters)
    votes = np.full((len(items), len(voters)), np.nan)
    for ballot in ballots:
        votes[items.index(ballot.item), voters.index(ballot.voter)] = ballot.up
    up_good = np.array([found.voters[name].up_of_good for name in voters])
    up_bad = np.array([found.voters[name].up_of_bad for name in voters])

    def of_class(up: Floats, share: float) -> Floats:
        terms = np.where(votes == 1, np.log(up), np.where(votes == 0, np.log(1 - up), 0.0))
        return np.asarray(np.log(share) + terms.sum(1))

    share = found.good_share
    likelihood = np.logaddexp(of_class(up_good, share), of_class(up_bad, 1 - share)).sum()
    prior = (PRIOR_RIGHT * np.log(up_good) + PRIOR_WRONG * np.log(1 - up_good)).sum()
    prior += (PRIOR_WRONG * np.log(up_bad) + PRIOR_RIGHT * np.log(1 - up_bad)).sum()
    return float(likelihood + prior + np.log(share) + np.log(1 - share))


def reference(ballots: list[Ballot], steps: int = 500) -> dict[str, tuple[float, float]]:
    """Dawid and Skene's EM once more, on matrices and in logarithms: the two probabilities of each voter."""
    items = sorted({ballot.item for ballot in ballots})
    voters = sorted({ballot.voter for ballot in ballots})
    up, down = (np.zeros((len(items), len(voters))) for _ in range(2))
    for ballot in ballots:
        (up if ballot.up else down)[items.index(ballot.item), voters.index(ballot.voter)] = 1
    good = (up.sum(1) + 1) / (up.sum(1) + down.sum(1) + 2)
    for _ in range(steps):
        share = (good.sum() + 1) / (len(items) + 2)
        right = (good @ up + 2.8) / (good @ (up + down) + 4)
        wrong = ((1 - good) @ up + 1.2) / ((1 - good) @ (up + down) + 4)
        odds = np.log(share / (1 - share)) + up @ np.log(right / wrong) + down @ np.log((1 - right) / (1 - wrong))
        good = 1 / (1 + np.exp(-odds))
    return {voter: (float(right[number]), float(wrong[number])) for number, voter in enumerate(voters)}


def test_it_agrees_with_an_independent_reference() -> None:
    """To nine digits, of every voter; other votes give others, so the agreement says something."""
    ballots, _ = simulated(honest=12, hostile=3, videos=40, votes_each=15)
    expected = reference(ballots)
    found = estimate(ballots)
    assert set(found.voters) == set(expected)
    for voter, coins in found.voters.items():
        assert (coins.up_of_good, coins.up_of_bad) == pytest.approx(expected[voter], abs=1e-9)
    other, _ = simulated(honest=12, hostile=3, videos=40, votes_each=15, seed=2)
    assert estimate(other).voters["h0"] != found.voters["h0"]


def test_no_step_to_any_side_is_more_probable() -> None:
    """The estimate is a summit of the model's own posterior, which knows nothing of how it was climbed."""
    ballots, _ = simulated(honest=6, hostile=1, videos=15, votes_each=10)
    found = estimate(ballots)
    summit = log_posterior(ballots, found)
    for voter, coins in found.voters.items():
        for step in (-0.02, 0.02):
            for moved in (
                Coins(coins.up_of_good + step, coins.up_of_bad),
                Coins(coins.up_of_good, coins.up_of_bad + step),
            ):
                beside = Estimate({**found.voters, voter: moved}, found.items, found.good_share)
                assert log_posterior(ballots, beside) < summit


def test_hostile_voters_are_known_and_have_no_weight() -> None:
    """Two of twenty always say the opposite: each is below zero and counts nothing; the honest are all above."""
    ballots, good = simulated(honest=18, hostile=2, videos=100, votes_each=40)
    found = estimate(ballots)
    assert {voter for voter, coins in found.voters.items() if coins.weight == 0} == {"x0", "x1"}
    assert all(found.voters[f"x{number}"].reliability < -0.2 for number in range(2))
    assert all(found.voters[f"h{number}"].reliability > 0.2 for number in range(18))
    right = fmean((found.items[item] > 0.5) == is_good for item, is_good in good.items())
    majority = fmean(
        (fmean(ballot.up for ballot in ballots if ballot.item == item) > 0.5) == is_good
        for item, is_good in good.items()
    )
    assert right >= majority
    assert right > 0.9


def test_where_most_are_hostile_nobody_can_tell() -> None:
    """The negative twin: the classes then change places, as the module says; no estimate hides it."""
    ballots, good = simulated(honest=3, hostile=17, videos=100, votes_each=40)
    found = estimate(ballots)
    assert fmean((found.items[item] > 0.5) == is_good for item, is_good in good.items()) < 0.1


def test_careless_voters_are_nearer_to_a_coin() -> None:
    """And one vote moves nobody far from the prior."""
    ballots, _ = simulated(honest=20, hostile=0, videos=60, votes_each=30)
    rng = random.Random(3)  # noqa: S311  # no secret
    careless = [Ballot(f"v{number}", "careless", rng.random() < 0.5) for number in range(60)]
    found = estimate([*ballots, *careless, Ballot("v0", "newcomer", True)])
    assert abs(found.voters["careless"].reliability) < 0.3
    assert found.voters["newcomer"].reliability == pytest.approx(Coins().reliability, abs=0.15)
    assert found.of("nobody") == Coins()


def test_the_order_of_votes_has_no_effect_and_none_is_no_trouble() -> None:
    """Bit by bit; and one item with thousands of votes is certain without an overflow."""
    ballots, _ = simulated(honest=8, hostile=2, videos=30, votes_each=12)
    shuffled = list(ballots)
    random.Random(7).shuffle(shuffled)  # noqa: S311  # no secret
    assert estimate(shuffled) == estimate(ballots)
    assert estimate([]) == Estimate({}, {}, 0.5)
    crowd = estimate([Ballot("v", f"m{number}", True) for number in range(5000)])
    assert 0.99 < crowd.items["v"] <= 1
