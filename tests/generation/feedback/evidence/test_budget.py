"""Whatever a community's attempts end in, those that fail spend no more than its error budget."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.feedback.evidence.budget import attempt_alpha, wealth_for

LIFE = Fraction(1, 20)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_failed_attempts_and_the_present_one_fit_the_budget(releases: list[bool]) -> None:
    """An attempt that released passed its share on; what the others spent is gone."""
    spent, last_failed = Fraction(0), 0
    for attempt, released in enumerate(releases, 1):
        alpha = attempt_alpha(attempt, last_failed)
        assert alpha > 0
        assert spent + alpha <= LIFE
        if not released:
            spent, last_failed = spent + alpha, attempt


def test_a_share_is_passed_on_by_a_release_and_by_nothing_else() -> None:
    """The second attempt may spend a sixth of the budget, or two thirds after a release."""
    assert attempt_alpha(1, 0) == LIFE / 2
    assert attempt_alpha(2, 1) == LIFE / 6
    assert attempt_alpha(2, 0) == LIFE * 2 / 3
    assert sum(attempt_alpha(attempt, attempt - 1) for attempt in range(1, 1000)) < LIFE


@pytest.mark.parametrize(("attempt", "last_failed"), [(0, 0), (1, 1), (3, 4), (2, -1)])
def test_an_impossible_history_spends_nothing(attempt: int, last_failed: int) -> None:
    """It is an error, since no share could be right."""
    with pytest.raises(ValueError, match="cannot follow"):
        attempt_alpha(attempt, last_failed)


def test_the_wealth_is_rounded_against_the_candidate() -> None:
    """A chance of 1/40 asks for 40, one of 2/81 for 41."""
    assert wealth_for(Fraction(1, 40)) == 40
    assert wealth_for(Fraction(2, 81)) == 41
