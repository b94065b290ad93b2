"""Scripted voters: most are right, some err, and the hostile ones want the opposite."""

from __future__ import annotations

from dataclasses import replace

import pytest

from generation.feedback.community.tastes import TASTES, Facts
from generation.feedback.community.voters import Choice, Voters
from generation.tiny.training.captions import Caption

NAMES = [f"member-{number}" for number in range(40)]
WARM = Facts("red", "star", "jump", 0.7, 0.1, 0.01, 0.5, 0.05)
COLD = replace(WARM, colour="blue", warm=-0.7)
ASKED = Caption("a star that jumps", shape="star", motion="jump")


def right_thumbs(voters: Voters, times: int = 40) -> float:
    """The share of thumbs that are as the taste says."""
    likes = [voters.likes(name, facts, 0.0) == (facts is WARM)
             for name in NAMES for facts in (WARM, COLD) for _ in range(times)]  # fmt: skip
    return sum(likes) / len(likes)


def test_without_noise_and_enemies_everybody_votes_by_the_taste() -> None:
    """So that what follows is due to them."""
    assert right_thumbs(Voters(TASTES["warm"], NAMES, noise=0, hostile=0)) == 1.0


def test_noise_turns_as_many_votes_as_it_says() -> None:
    """Of everybody, in both directions."""
    assert right_thumbs(Voters(TASTES["warm"], NAMES, noise=0.2, hostile=0)) == pytest.approx(0.8, abs=0.03)


def test_hostile_members_are_as_many_as_the_share_says_and_want_the_opposite() -> None:
    """Always the same ones of a seed, whoever asks."""
    voters = Voters(TASTES["warm"], NAMES, noise=0, hostile=0.1)
    assert len(voters.hostile) == 4
    assert set(voters.hostile) == set(Voters(TASTES["warm"], NAMES[::-1], noise=0, hostile=0.1).hostile)
    assert set(voters.hostile) != set(Voters(TASTES["warm"], NAMES, seed=1, noise=0, hostile=0.1).hostile)
    assert right_thumbs(voters) == 0.9
    for name in NAMES:
        assert voters.likes(name, WARM, 0.0) == (name not in voters.hostile)
        preferred = Choice.B if name in voters.hostile else Choice.A
        assert voters.chooses(name, None, WARM, COLD) == preferred


def test_three_of_four_thumbs_of_the_usual_community_are_right() -> None:
    """As docs/learning.md says of the benchmark's."""
    assert right_thumbs(Voters(TASTES["warm"], NAMES)) == pytest.approx(0.74, abs=0.03)


def test_who_has_no_taste_throws_coins() -> None:
    """Nothing can be learned of them."""
    assert right_thumbs(Voters(TASTES["coins"], NAMES)) == pytest.approx(0.5, abs=0.04)


def test_a_pair_is_judged_by_its_prompt_first() -> None:
    """Also by those who are hostile; taste decides among videos that show as much of it."""
    voters = Voters(TASTES["warm"], NAMES, noise=0, hostile=0.5, slip=0)
    wrong = replace(WARM, shape="circle")
    for name in NAMES:
        assert voters.chooses(name, ASKED, COLD, wrong) == Choice.A
        assert voters.chooses(name, ASKED, wrong, COLD) == Choice.B
        taste = Choice.A if name in voters.hostile else Choice.B
        assert voters.chooses(name, ASKED, COLD, WARM) == taste


def test_what_nobody_notices_is_a_tie_and_two_empty_videos_are_bad() -> None:
    """Neither is a vote for a model."""
    voters = Voters(TASTES["warm"], NAMES, noise=0, hostile=0)
    blank = Facts(None, None, None, 0.0, 0.0, 0.0, 0.5, 0.0)
    assert voters.chooses(NAMES[0], ASKED, WARM, replace(WARM, warm=0.65)) == Choice.TIE
    assert voters.chooses(NAMES[0], ASKED, WARM, replace(WARM, warm=0.5)) == Choice.A
    assert voters.chooses(NAMES[0], None, blank, blank) == Choice.BOTH_BAD
    assert voters.chooses(NAMES[0], None, blank, WARM) == Choice.B


def test_a_slip_fails_a_pair_now_and_then() -> None:
    """As careful people do."""
    voters = Voters(TASTES["warm"], NAMES, slip=0.05)
    wrong = replace(WARM, shape="circle")
    answers = [voters.chooses(name, ASKED, WARM, wrong) for name in NAMES for _ in range(50)]
    assert answers.count(Choice.B) / len(answers) == pytest.approx(0.05, abs=0.02)
