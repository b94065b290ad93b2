"""The wealth is what its definition says, the removal is the worst there is, and both are exact."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.feedback.evidence.wealth import (
    Wealth,
    fewest_voters,
    interval_permille,
    needed_removals,
    needed_voters,
    survived_removals,
    wealth_of,
)

BETS = (250, 500, 750, 950)
HALF = Fraction(1, 2)
some_shares = st.integers(1, 5).flatmap(lambda m: st.integers(0, 2 * m).map(lambda points: Fraction(points, 2 * m)))


def reference(shares: tuple[Fraction, ...] | list[Fraction], mean: Fraction = HALF) -> Fraction:
    """The definition, written down: a mean over bets of a product over ballots."""
    bets = [Fraction(bet, 1000) for bet in BETS]
    return sum(prod((1 + bet * (x - mean) / mean for x in shares), start=Fraction(1)) for bet in bets) / len(bets)


@given(st.lists(some_shares, max_size=7), st.integers(0, 3))
def test_the_removal_is_the_worst_of_all(shares: list[Fraction], k: int) -> None:
    """No set of at most k voters can be removed that leaves less; and that much is left."""
    subsets = (s for size in range(k + 1) for s in combinations(range(len(shares)), size))
    least = min(reference([x for i, x in enumerate(shares) if i not in gone]) for gone in subsets)
    assert wealth_of(shares, BETS, k).value == least


@given(st.lists(some_shares, max_size=30))
def test_ballots_added_one_by_one_count_as_all_at_once(shares: list[Fraction]) -> None:
    """While k grows with the voters, and whatever the order of the ballots is."""
    growing = Wealth(BETS, lambda voters: voters // 4)
    for number, share in enumerate(shares, 1):
        growing.add(share)
        assert growing.value == wealth_of(sorted(shares[:number]), BETS, number // 4).value
        assert growing.voters == number


def test_a_removal_that_helps_the_candidate_is_not_made() -> None:
    """Ballots for the live model stay, though k would allow to remove them."""
    assert wealth_of([Fraction(0), Fraction(2, 5)], BETS, 2).value == reference([Fraction(0), Fraction(2, 5)]) < 1
    assert wealth_of([Fraction(1), Fraction(2, 5)], BETS, 2).value == reference([Fraction(2, 5)])


@given(st.lists(some_shares, max_size=6))
def test_the_game_is_fair(shares: list[Fraction]) -> None:
    """A ballot of members without a preference leaves the wealth where it was, on average; a tie leaves it always."""
    before = wealth_of(shares, BETS).value
    outcomes = [wealth_of([*shares, Fraction(points, 4)], BETS).value for points in (0, 1, 3, 4)]
    assert sum(outcomes) / len(outcomes) == before
    assert wealth_of([*shares, HALF], BETS).value == before
    assert (wealth_of([*shares, Fraction(3, 5)], BETS).value > before) is True


def test_no_bound_is_reached_too_often_under_any_stop() -> None:
    """Ville's inequality, counted over every possible course of ten ballots: members love or hate a candidate."""
    bound, reached = 4, 0
    courses = list(product((Fraction(0), Fraction(1)), repeat=10))
    for course in courses:
        wealth = Wealth(BETS)
        for share in course:
            wealth.add(share)
            if wealth.reaches(bound):
                reached += 1
                break
    assert 0 < reached / len(courses) <= 1 / bound


@given(st.lists(some_shares, max_size=12), st.integers(1, 30))
def test_the_survived_removals_are_the_most_that_can_be_survived(shares: list[Fraction], bound: int) -> None:
    """One more removal leaves too little; none is survived where there is too little anyway."""
    k = survived_removals(shares, BETS, bound)
    if bound > 1:
        assert k < 0 or wealth_of(shares, BETS, k).value >= bound
        assert wealth_of(shares, BETS, k + 1).value < bound or k + 1 >= len(shares)
    assert (k >= 0) == (reference(shares) >= bound) or not shares


@given(st.lists(some_shares, min_size=1, max_size=12))
def test_the_interval_ends_where_the_ballots_refute_no_more(shares: list[Fraction]) -> None:
    """The lower end is refuted with a wealth of 40, the next thousandth is not; the upper end is its mirror."""
    low, high = interval_permille(shares, BETS)
    assert low == 0 or reference(shares, Fraction(low, 1000)) >= 40
    assert reference(shares, Fraction(low + 1, 1000)) < 40
    assert (1000 - high, 1000 - low) == interval_permille([1 - share for share in shares], BETS)
    assert low <= 1000 * sum(shares) / len(shares) <= high


def test_without_a_ballot_nothing_is_known() -> None:
    """Nor is anything needed then; with many ballots the interval is narrow."""
    assert interval_permille([], BETS) == (0, 1000)
    assert needed_voters([], BETS, lambda voters: 2, 40) is None
    low, high = interval_permille([Fraction(3, 5), Fraction(4, 5)] * 100, BETS)
    assert 600 < low < 700 < high < 800


@pytest.mark.parametrize(("voters", "k"), [(0, 2), (9, 2), (40, 2), (41, 3), (60, 3), (61, 4), (1000, 50)])
def test_k_is_two_or_one_in_twenty_rounded_up(voters: int, k: int) -> None:
    """Of 41 voters, three."""
    assert needed_removals(voters, 2, 50_000) == k


def test_the_fewest_voters_suffice_where_all_agree_and_one_less_does_not() -> None:
    """With removals it takes as many more."""
    for removed in (0, 2):
        voters = fewest_voters(BETS, lambda number, removed=removed: removed, 40)
        assert wealth_of([Fraction(1)] * voters, BETS, removed).reaches(40)
        assert not wealth_of([Fraction(1)] * (voters - 1), BETS, removed).reaches(40)
    assert voters == fewest_voters(BETS, lambda number: 0, 40) + 2


def test_the_forecast_holds_if_everybody_votes_alike() -> None:
    """So many more of the same ballots do decide; without a preference no number does."""
    shares = [Fraction(2, 5), Fraction(1), Fraction(3, 5), Fraction(4, 5)]
    about = needed_voters(shares, BETS, lambda voters: 2, 40)
    assert about is not None
    assert 4 < about < 60
    assert wealth_of(shares * (about // 4 + 1), BETS, 2).reaches(40)
    assert not wealth_of(shares * (about // 8), BETS, 2).reaches(40)
    assert needed_voters([HALF], BETS, lambda voters: 2, 40) is None
