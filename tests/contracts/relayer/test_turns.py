"""Nobody starves another: with a steady flood of any one kind, all else is sent within so many transactions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.relayer.turns import Turns

# ---------------------------------------------------------------------- the rule


@given(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=60), st.integers(0, 5))
def test_whoever_waits_is_served_after_those_who_waited_already(arrivals: list[set[int]], mine: int) -> None:
    """However others come and go, nobody is served twice while one waits, once both wait."""
    turns, served = Turns(), []
    for others in arrivals:
        first = turns.order(sorted(others | {mine}), lambda one: (one,))[0]
        turns.serve((first,))
        served.append(first)
        if first == mine:
            served.clear()
        assert all(served.count(other) <= 1 + (other < mine) for other in set(served))


def test_servers_come_before_members() -> None:
    """A server with a hundred members gets as many turns as one with a single member, and each of its members one."""
    waiting = [("big", one) for one in range(100)] + [("small", 1)]
    turns, served = Turns(), []
    for _ in range(6):
        first = turns.order(waiting, lambda one: one)[0]
        turns.serve(first)
        served.append(first)
    assert [guild for guild, _ in served] == ["big", "small"] * 3
    assert [one for guild, one in served if guild == "big"] == [0, 1, 2]
