"""The batch stream: what is written is what is read, and the contract counts like a plain dictionary."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.stream import MAX_ENTRIES, Ballot, StreamError, decode, encode

BALLOTS = st.builds(Ballot, video=st.integers(1, 2**31 - 1), voter=st.integers(1, 2**29 - 1), choice=st.integers(0, 2))


@given(st.lists(BALLOTS, min_size=1, max_size=200))
def test_ballots_survive_the_stream(ballots: list[Ballot]) -> None:
    """Decoding gives back every ballot in its order."""
    assert decode(encode(ballots)) == ballots


@given(st.lists(st.integers(0, 2**256 - 1), max_size=6))
def test_any_words_are_read_or_refused(words: list[int]) -> None:
    """Whatever an attacker writes is either a list of valid ballots or a StreamError, never another failure."""
    try:
        found = decode(words)
    except StreamError:
        return
    assert all(1 <= ballot.voter < 2**29 and 1 <= ballot.video < 2**31 and ballot.choice < 3 for ballot in found)


@pytest.mark.parametrize(
    "ballot", [Ballot(0, 1, 1), Ballot(2**31, 1, 1), Ballot(1, 0, 1), Ballot(1, 2**29, 1), Ballot(1, 1, 3)]
)
def test_a_ballot_out_of_range_is_not_written(ballot: Ballot) -> None:
    """It would be read as something else."""
    with pytest.raises(StreamError):
        encode([ballot])


def test_a_batch_has_room_for_2048_entries() -> None:
    """A header and 2,047 votes fit; one more does not."""
    ballots = [Ballot(1, voter, 1) for voter in range(1, MAX_ENTRIES)]
    assert len(encode(ballots)) == 256
    with pytest.raises(StreamError, match="2049 entries"):
        encode([*ballots, Ballot(1, MAX_ENTRIES, 1)])


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("vote"),
            st.lists(
                st.builds(Ballot, st.integers(1, 4), st.integers(1, 150), st.integers(0, 2)), min_size=1, max_size=40
            ),
        ),
        st.tuples(st.just("close"), st.integers(1, 2)),
        st.tuples(st.just("finalize"), st.integers(1, 2)),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def two_rounds(deployed: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Rounds 1 and 2 with two videos each (1 and 3, 2 and 4), and 150 voters."""
    bench = deployed.copy(tmp_path_factory.mktemp("rounds"))
    for number in (1, 2):
        bench.round(bytes([number]) * 32)
    for place in range(4):
        bench.video(1 + place % 2, bytes([place + 1]) * 32)
    bench.voters(150)
    bench.blocks.close()
    return bench


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_contract_counts_like_a_dictionary(two_rounds: Any, tmp_path_factory: Any, steps: list[Any]) -> None:
    """Over any schedule of batches, closes and results, tallies, ballots and winners are those of a plain model."""
    bench = two_rounds.copy(tmp_path_factory.mktemp("model"))
    round_of = {1: 1, 2: 2, 3: 1, 4: 2}
    try:
        model: dict[tuple[int, int], int] = {}
        closed: set[int] = set()
        final: dict[int, int] = {}
        seq = 0
        for kind, what in steps:
            if kind == "vote":
                allowed = not any(round_of[ballot.video] in closed for ballot in what)
                taken = attempt(bench, "batch", seq, encode(what))
                assert taken == allowed
                if taken:
                    seq += 1
                    model |= {(ballot.video, ballot.voter): ballot.choice for ballot in what}
            elif kind == "close":
                assert attempt(bench, "close_round", what) == (what not in closed)
                closed.add(what)
            else:
                assert attempt(bench, "finalize", what) == (what in closed and what not in final)
                if what in closed and what not in final:
                    final[what] = winner(model, [video for video, where in round_of.items() if where == what])
        for video in round_of:
            assert bench.read("tally", video) == count(model, video)
        for (video, voter), choice in model.items():
            assert bench.read("vote_of", video, voter) == choice
        for number in (1, 2):
            assert bench.read("round_info", number)[3:] == (number in final, final.get(number, 0))
        assert bench.read("seq") == seq
    finally:
        bench.blocks.close()


def attempt(bench: Any, *call: Any) -> bool:
    try:
        bench.do(bench.relayer, *call)
    except Exception as error:
        if not hasattr(error, "reason"):  # the bench's own: the contract said no
            raise
        return False
    return True


def count(model: dict[tuple[int, int], int], video: int) -> tuple[int, int]:
    choices = [choice for (voted, _), choice in model.items() if voted == video]
    return choices.count(1), choices.count(2)


def winner(model: dict[tuple[int, int], int], among: list[int]) -> int:
    scores = {video: count(model, video) for video in among}
    if not any(up + down for up, down in scores.values()):
        return 0
    best = max((up - down, up) for up, down in scores.values())
    return min(video for video, (up, down) in scores.items() if (up - down, up) == best)
