"""The batch stream: what is written is what is read, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ledger.batch_codec import (
    MAX_ARRIVALS,
    MAX_VOTER,
    OWN_SEATS,
    Ballot,
    BatchError,
    decode,
    decode_arrivals,
    encode,
    encode_arrivals,
    number_of,
    round_and_place,
)

PLACES = st.integers(1, 1023)
SEATS = st.integers(0, 500) | st.integers(0, OWN_SEATS - 1)
PAIRS = st.tuples(PLACES, SEATS)
WORDS = st.integers(0, 2**256 - 1)


@given(st.integers(1, 2**32 - 1), st.dictionaries(PAIRS, st.integers(0, 3), min_size=1, max_size=100))
def test_ballots_survive_the_stream(number: int, chosen: dict[tuple[int, int], int]) -> None:
    """Decoding gives back every ballot, by place and seat; even places are battles here, where 3 is a tie."""
    battles = {number_of(number, place) for place, _ in chosen if place % 2 == 0}
    ballots = [
        Ballot(number_of(number, place), seat, (choice or 3) if place % 2 == 0 else choice % 3)
        for (place, seat), choice in chosen.items()
    ]
    assert decode(number, encode(ballots, battles), battles) == sorted(ballots)


@given(st.lists(st.builds(Ballot, st.just(1025), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=20))
def test_of_two_ballots_about_the_same_the_later_counts(ballots: list[Ballot]) -> None:
    """As with a member who changes their mind between two batches."""
    last = {ballot.seat: ballot.choice for ballot in ballots}
    assert {ballot.seat: ballot.choice for ballot in decode(1, encode(ballots))} == last


@given(st.integers(1, 2**32 - 1), st.lists(WORDS, max_size=6))
def test_any_words_are_read_or_refused(number: int, words: list[int]) -> None:
    """Whatever an attacker writes is either a list of valid ballots or a BatchError, never another failure."""
    try:
        found = decode(number, words)
    except BatchError:
        return
    for ballot in found:
        told, place = round_and_place(ballot.video)
        assert told == number
        assert 1 <= place < 1024
        assert 0 <= ballot.seat < OWN_SEATS
        assert ballot.choice < 3


@pytest.mark.parametrize(
    "ballot",
    [
        Ballot(0, 1, 1),
        Ballot(1, 1, 1),
        Ballot(1024, 1, 1),
        Ballot(-1, 1, 1),
        Ballot(1025, -1, 1),
        Ballot(1025, OWN_SEATS, 1),
        Ballot(1025, 1, 3),
        Ballot(1025, 1, -1),
    ],
)
def test_a_ballot_out_of_range_is_not_written(ballot: Ballot) -> None:
    """It would be read as something else."""
    with pytest.raises(BatchError):
        encode([ballot])


def test_a_battles_vote_is_changed_but_not_withdrawn_by_a_batch() -> None:
    """Its third code means a tie."""
    assert decode(1, encode([Ballot(1025, 0, 3)], {1025}), {1025}) == [Ballot(1025, 0, 3)]
    with pytest.raises(BatchError):
        encode([Ballot(1025, 0, 0)], {1025})


def test_a_batch_is_about_one_round_and_has_room_for_256_words() -> None:
    """Two rounds, and one word too many, are refused; a full one is not."""
    with pytest.raises(BatchError, match="one round"):
        encode([Ballot(1025, 1, 1), Ballot(2049, 1, 1)])
    full = [Ballot(1025, 112 * slot, 1) for slot in range(256)]
    assert len(encode(full)) == 256
    with pytest.raises(BatchError, match="257 words"):
        encode([*full, Ballot(1025, 112 * 256, 1)])


@given(st.lists(st.integers(1, MAX_VOTER), max_size=40))
def test_arrivals_survive_the_stream(voters: list[int]) -> None:
    """In their order, whatever the length of the last word."""
    words = encode_arrivals(voters)
    assert decode_arrivals(words) == voters
    assert len(words) == (len(voters) + 7) // 8


@given(st.lists(WORDS | st.just(0), max_size=4))
def test_any_arrivals_are_read_or_refused(words: list[int]) -> None:
    """What is read has no gap, and is written the same way again where its indices are possible."""
    try:
        voters = decode_arrivals(words)
    except BatchError:
        return
    assert 0 not in voters
    if all(voter <= MAX_VOTER for voter in voters):
        assert encode_arrivals(voters) == words


@pytest.mark.parametrize("voters", [[0], [1, 0], [MAX_VOTER + 1], [1] * (MAX_ARRIVALS + 1)])
def test_arrivals_out_of_range_are_not_written(voters: list[int]) -> None:
    """Nobody, too large an index, and too many."""
    with pytest.raises(BatchError):
        encode_arrivals(voters)
