"""A group with another taste can refuse a candidate; a small one cannot, nor one that is made by the same votes."""

from __future__ import annotations

import random
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from generation.feedback.evidence.ballots import Ballot, Outcome, Vote
from generation.feedback.evidence.tastes import LOWER, groups_by_halves, groups_from_outside, losing_groups, split

BETS = (250, 500, 750, 950)
OUTCOMES = {"c": Outcome.CANDIDATE, "l": Outcome.LIVE, "t": Outcome.TIE}


def ballot(voter: str, word: str) -> Ballot:
    return Ballot(voter, [Vote(voter, str(number), OUTCOMES[letter]) for number, letter in enumerate(word)])


@given(st.lists(st.fractions(0, 1, max_denominator=6), max_size=12).map(sorted))
def test_the_split_is_the_best_of_all(shares: list[Fraction]) -> None:
    """No other cut leaves less spread within the two groups; equal shares stay together."""

    def spread(part: list[Fraction]) -> Fraction:
        mean = sum(part, Fraction(0)) / len(part)
        return sum(((x - mean) ** 2 for x in part), Fraction(0))

    size = split(shares)
    assert (size == 0) == (len(set(shares)) < 2)
    if size:
        assert shares[size - 1] < shares[size]
        best = min(spread(shares[:cut]) + spread(shares[cut:]) for cut in range(1, len(shares)))
        assert spread(shares[:size]) + spread(shares[size:]) == best


def test_odd_battles_make_the_group_and_even_ones_judge_it() -> None:
    """So a group that was only unlucky in its odd battles does not lose by them."""
    groups = groups_by_halves([ballot("a", "lclcl"), ballot("b", "lclcl"), ballot("c", "clclc"), ballot("d", "c")])
    assert groups == {LOWER: [Fraction(1), Fraction(1)]}
    assert losing_groups(groups, 4, BETS, 2, 200_000) == []


def test_a_group_that_clearly_loses_is_named() -> None:
    """With its size and its evidence."""
    unhappy, happy = ([ballot(f"{word}{number}", word * 5) for number in range(12)] for word in "lc")
    losing = losing_groups(groups_by_halves(unhappy + happy), 24, BETS, 20, 200_000)
    assert [(group.name, group.members) for group in losing] == [(LOWER, 12)]
    assert losing[0].milli >= 20_000


def test_a_group_needs_its_share_of_voters_and_of_evidence() -> None:
    """A tenth of the voters has no veto, and four members are no evidence."""
    shares = [Fraction(0)] * 12
    assert losing_groups({"calm": shares}, 60, BETS, 20, 200_000) != []
    assert losing_groups({"calm": shares}, 61, BETS, 20, 200_000) == []
    assert losing_groups({"calm": shares[:4]}, 12, BETS, 20, 200_000) == []


def test_each_of_several_groups_needs_more_evidence() -> None:
    """Else one of many would lose by chance."""
    shares = [Fraction(0)] * 7
    assert losing_groups({"calm": shares}, 7, BETS, 20, 0) != []
    assert losing_groups({"calm": shares, **{str(number): [Fraction(1)] for number in range(9)}}, 7, BETS, 20, 0) == []


def test_registered_groups_are_judged_by_whole_ballots() -> None:
    """Members without a group belong to none."""
    ballots = [ballot("a", "lltll"), ballot("b", "ccccc"), ballot("c", "ccccc")]
    groups = groups_from_outside(ballots, {"a": "calm", "b": "lively", "z": "calm"})
    assert groups == {"calm": [Fraction(1, 10)], "lively": [Fraction(1)]}


def test_a_group_made_by_chance_seldom_loses() -> None:
    """Of members without any preference, whose odd battles say nothing about the even ones."""
    dice, losing = random.Random(1), 0  # noqa: S311  # the same in each run
    for _ in range(200):
        ballots = [ballot(str(voter), "".join(dice.choices("clt", k=5))) for voter in range(40)]
        losing += bool(losing_groups(groups_by_halves(ballots), 40, BETS, 20, 200_000))
    assert losing <= 10
