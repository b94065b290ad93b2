"""The estimate of a round's cost: it adds up, more of anything costs more, and a real round comes close to it."""

from __future__ import annotations

import pytest

from contracts.costs import Community, costs, measured, on_arbitrum


def gas(**community: int) -> int:
    return sum(cost.gas for cost in costs(Community(**community), measured()))


def test_a_round_is_the_sum_of_its_transactions() -> None:
    """Each kind once, in the order in which it is done; who is registered already costs nothing again."""
    told = costs(Community(), measured())
    assert [(cost.what, cost.count) for cost in told] == [
        ("open the round", 1),
        ("add a video", 10),
        ("register new voters", 4),
        ("record votes", 4),
        ("finalize the round", 1),
    ]
    old = costs(Community(new_voters=0), measured())
    assert [cost for cost in told if cost.what != "register new voters"] == old


@pytest.mark.parametrize("more", [{"videos": 11}, {"votes": 2001}, {"new_voters": 999}, {"batch": 499}])
def test_more_costs_more(more: dict[str, int]) -> None:
    """More videos and votes, smaller batches; fewer new voters cost less."""
    assert (gas(**more) > gas()) is ("new_voters" not in more)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"videos": 0}, "at least one video"),
        ({"voters": 10, "new_voters": 11, "votes": 10}, "more new voters than voters"),
        ({"voters": 1000, "votes": 999}, "at least as many votes as voters"),
        ({"batch": 1001}, "at most 1,000 votes"),
    ],
)
def test_a_round_that_cannot_be_is_a_sentence(wrong: dict[str, int], words: str) -> None:
    """Each names what to give instead."""
    with pytest.raises(ValueError, match=words):
        Community(**wrong)


def test_the_curve_goes_through_what_was_measured() -> None:
    """At the measured sizes of a batch the estimate is the measured figure."""
    figures = measured()
    for size in (10, 100, 500, 1000):
        [votes] = [cost for cost in costs(Community(batch=size), figures) if cost.what == "record votes"]
        assert votes.gas == pytest.approx(2000 * figures[f"votes_typical_{size}"], rel=1e-9)


def test_arbitrum_on_paper_is_a_range() -> None:
    """Data costs more on a busy day; both are fractions of a cent a vote at today's prices."""
    quiet, busy = on_arbitrum(Community(), gas())
    assert 0 < quiet < busy < 2000 * 1e-5
