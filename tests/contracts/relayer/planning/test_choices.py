"""What fits into one batch by its words: as much as the contract takes, never more, and the rest goes next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ledger import batch_codec as stream
from contracts.ledger.batch_codec import number_of
from contracts.relayer.planning.choices import Choice, first_that_fit, take_seats


def choice(place: int, voter: int, seat: int | None) -> Choice:
    return Choice(number_of(1, place), voter, seat, 1, entry=place * 10_000 + voter)


def written(choices: Any, taken: int = 0) -> list[int]:
    return stream.encode(take_seats(choices, taken)[1])


def test_a_batch_at_the_limit_goes_whole_and_one_over_it_is_split() -> None:
    """256 words are one batch; of 257 the last waits; neither loses anything or changes the order."""
    full = [choice(place, 1, 0) for place in range(1, 257)]
    assert list(first_that_fit(full, 1)) == full
    assert len(written(full)) == 256
    over = [*full, choice(257, 1, 0)]
    assert list(first_that_fit(over, 1)) == full
    scattered = [choice(1, voter, 112 * voter) for voter in range(300, 0, -1)]
    assert list(first_that_fit(scattered, 112 * 301)) == scattered[:256]


def test_what_falls_into_words_that_are_there_needs_no_more_room() -> None:
    """2,000 choices of dense seats go at once, of members who are new as well as of others."""
    dense = [choice(place, voter, None if voter % 2 else voter) for place in range(1, 11) for voter in range(200)]
    assert first_that_fit(dense, 200) is dense
    assert len(written(dense, 200)) < 256


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60), st.booleans()), unique_by=lambda one: one[:2]),
    st.integers(1, 12),
)
def test_whatever_waits_goes_in_batches_that_fit(about: list[tuple[int, int, bool]], most: int) -> None:
    """Cut again and again, everything goes once and in order, and each cut is one that can be written."""
    waiting = [choice(place, voter, voter * 50 if voter % 3 else None) for place, voter, _ in about]
    went: list[Choice] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "MAX_WORDS", most)
        while len(went) < len(waiting):
            batch = first_that_fit(waiting[len(went) :], 7)
            assert batch
            assert 0 < len(written(batch, 7)) <= most
            went += batch
    assert went == waiting
