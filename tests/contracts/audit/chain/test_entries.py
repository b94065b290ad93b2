"""The entries that an audit looks up, and how likely it is that a wrong one is among them."""

from __future__ import annotations

import pytest

from contracts.audit.chain.entries import Entries, Lookups, likelihood, percent, round_of
from contracts.ledger.client import Event


def event(name: str, place: int = 0, **args: object) -> Event:
    return Event(name, args, 1, place, "0x1")


@pytest.mark.parametrize(
    ("of", "drawn", "wrong", "told"),
    [(10_000, 200, 1, "2 %"), (10_000, 200, 2, "3 %"), (10, 10, 1, "100 %"), (4, 2, 3, "100 %")],
)
def test_the_likelihood_to_find_a_wrong_entry(of: int, drawn: int, wrong: int, told: str) -> None:
    """Drawn without putting back; rounded down."""
    assert percent(likelihood(of, drawn, wrong)) == told


def test_all_are_asked_for_where_they_are_few() -> None:
    """More are drawn, with a note; without a limit all are asked for."""
    lookups = Lookups(3)
    assert lookups.draw("voters", [1, 2, 3]) == [1, 2, 3]
    assert lookups.draw("rounds", range(6), times=2) == list(range(6))
    assert lookups.notes == []
    assert len(set(lookups.draw("voters", range(9)))) == 3
    assert [note.split(",")[0] for note in lookups.notes] == ["Of 9 voters"]
    assert len(Lookups(None).draw("voters", range(9_000))) == 9_000


def test_events_of_other_rounds_are_left_out() -> None:
    """Those about no round stay; long lists that digests cover are not kept."""
    entries = Entries()
    for each in (
        event("RelayerSet", 0), event("VideoAdded", 1, round=1), event("BattleRevealed", 2, battle=2 << 10 | 1),
        event("VotesRecorded", 3, round=2, seq=0, words=[1], arrivals=[]),
    ):  # fmt: skip
        entries.take(each)
    assert [round_of(each) for each in entries.events] == [None, 1, 2, 2]
    assert [each.name for each in entries.about([2])] == ["RelayerSet", "BattleRevealed", "VotesRecorded"]
    assert entries.events[-1].args == {"round": 2, "seq": 0}
    assert entries.problems == []


def test_a_log_out_of_order_is_told() -> None:
    """Also one that tells the same place twice."""
    entries = Entries()
    for place in (1, 1, 0):
        entries.take(event("GuardianSet", place))
    assert len(entries.problems) == 2
