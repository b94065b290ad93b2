"""The states of the learning loop: the words in its tables, and the arrows between them."""

from __future__ import annotations

from bot.store.learning.candidates import FROM, OVER
from migrations.states.learning import CandidateState, ReleaseState


def test_every_state_can_be_reached_from_a_training() -> None:
    """And from none that is over does a way lead on."""
    reached = {CandidateState.TRAINING}
    while more := {state for state, before in FROM.items() if set(before) & reached} - reached:
        reached |= more
    assert reached == set(CandidateState)
    assert not any(set(before) & set(OVER) for before in FROM.values())


def test_states_are_their_words() -> None:
    assert [f"{state}" for state in ReleaseState] == ["live", "replaced", "rolled_back"]
    assert f"{CandidateState.WON}" == "won"
