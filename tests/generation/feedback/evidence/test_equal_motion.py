"""A win that motion explains is none at equal motion; one that it does not explain stays."""

from __future__ import annotations

import random

import pytest

from generation.feedback.evidence.ballots import Ballot, Outcome, Vote
from generation.feedback.evidence.equal_motion import win_rate_at_equal_motion


def community(chance: float, by_motion: float, gap: float) -> tuple[list[Ballot], dict[str, float]]:
    """Members who choose by motion with that strength; the candidate's videos move more by the gap, on average."""
    dice = random.Random(7)  # noqa: S311  # the same in each run
    motion = {str(pair): gap + dice.gauss(0, 1) for pair in range(100)}
    ballots = []
    for voter in range(80):
        votes = []
        for pair in dice.sample(sorted(motion), 5):
            likes = dice.random() < min(0.98, max(0.02, chance + by_motion * motion[pair]))
            votes.append(Vote(str(voter), pair, Outcome.CANDIDATE if likes else Outcome.LIVE))
        ballots.append(Ballot(str(voter), votes))
    return ballots, motion


def test_a_win_by_motion_alone_is_none_at_equal_motion() -> None:
    """Members like motion, and the candidate's videos move more."""
    ballots, motion = community(0.5, 0.2, 1.0)
    assert sum(float(ballot.share) for ballot in ballots) / 80 > 0.62
    assert win_rate_at_equal_motion(ballots, motion) == pytest.approx(0.5, abs=0.07)


def test_a_win_for_other_reasons_stays() -> None:
    """Though the candidate's videos move more as well."""
    ballots, motion = community(0.75, 0.0, 1.0)
    assert win_rate_at_equal_motion(ballots, motion) == pytest.approx(0.75, abs=0.07)


def test_the_unit_of_motion_does_not_matter() -> None:
    """Nor does the side: with the models exchanged, the rate is the rest of 1."""
    ballots, motion = community(0.7, 0.1, -0.5)
    rate = win_rate_at_equal_motion(ballots, motion)
    assert rate is not None
    assert win_rate_at_equal_motion(ballots, {pair: 1000 * gap for pair, gap in motion.items()}) == pytest.approx(rate)
    swapped = {Outcome.CANDIDATE: Outcome.LIVE, Outcome.LIVE: Outcome.CANDIDATE}
    mirrored = [Ballot(b.voter, [Vote(v.voter, v.pair, swapped[v.outcome]) for v in b.votes]) for b in ballots]
    assert win_rate_at_equal_motion(mirrored, {pair: -gap for pair, gap in motion.items()}) == pytest.approx(1 - rate)


def test_where_all_chose_alike_the_rate_is_finite() -> None:
    """It is high and below 1."""
    ballots, motion = community(5.0, 0.0, 0.3)
    always = [Ballot(b.voter, [Vote(v.voter, v.pair, Outcome.CANDIDATE) for v in b.votes]) for b in ballots]
    rate = win_rate_at_equal_motion(always, motion)
    assert rate is not None
    assert 0.9 < rate < 1


def test_nothing_is_said_without_measured_motion() -> None:
    """Neither without any, nor where all pairs move alike, nor without votes."""
    ballots, motion = community(0.7, 0.1, 0.0)
    assert win_rate_at_equal_motion(ballots, {}) is None
    assert win_rate_at_equal_motion(ballots, dict.fromkeys(motion, 0.0)) is None
    assert win_rate_at_equal_motion([], motion) is None
