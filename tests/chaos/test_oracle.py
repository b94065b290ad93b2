"""The judge of the chaos test is judged first: it must see each kind of loss."""

from __future__ import annotations

import pytest

from tests.chaos.oracle import DOWN, UP, WITHDRAWN, Expectation, differences


def after(*acts: str) -> frozenset[int]:
    """The choices that may stand: `Up` is an answered press, `up?` an unanswered one."""
    expectation = Expectation()
    for act in acts:
        choice = {"u": UP, "d": DOWN, "w": WITHDRAWN}.get(act[0].lower())
        if act in {"👍", "👎"}:
            expectation.reacted(UP if act == "👍" else DOWN)
        elif act == "-":
            expectation.unreacted()
        elif choice is not None and act.endswith("?"):
            expectation.unanswered(choice)
        elif choice is not None:
            expectation.answered(choice)
    return expectation.choices


@pytest.mark.parametrize(
    ("acts", "choices"),
    [
        ([], {WITHDRAWN}),
        (["Up"], {UP}),
        (["Up", "Down"], {DOWN}),
        (["Up", "Withdraw"], {WITHDRAWN}),
        (["up?"], {WITHDRAWN, UP}),
        (["Up", "down?"], {UP, DOWN}),
        (["up?", "Down"], {DOWN}),
        (["👍"], {UP}),
        (["up?", "👎"], {DOWN}),
        (["👍", "-"], {WITHDRAWN}),
        (["👍", "-", "👎"], {DOWN}),
        (["👍", "Down"], {DOWN}),
        (["👍", "Down", "-"], {DOWN}),
        (["👍", "down?", "-"], {WITHDRAWN, DOWN}),
        (["Down", "👍", "-"], {WITHDRAWN, DOWN}),
    ],
)
def test_what_was_acknowledged_last_stands_and_nothing_else(acts: list[str], choices: set[int]) -> None:
    """Only an act without an answer leaves a choice open."""
    assert after(*acts) == choices


def test_a_lost_a_forged_and_a_changed_ballot_are_each_seen() -> None:
    """One sentence for each, and none for a ballot that is as it was acknowledged."""
    expected = {
        ("p", "ana"): frozenset({UP}),
        ("p", "ben"): frozenset({UP, DOWN}),
        ("p", "emi"): frozenset({WITHDRAWN}),
    }
    assert differences(expected, {("p", "ana"): UP, ("p", "ben"): DOWN}) == []
    lost = differences(expected, {("p", "ben"): DOWN})
    assert lost == ["ana on “p”: no vote is recorded, but it must be up."]
    assert len(differences(expected, {("p", "ana"): DOWN, ("p", "ben"): UP})) == 1
    assert len(differences(expected, {("p", "ana"): UP, ("p", "ben"): UP, ("p", "emi"): DOWN})) == 1
    assert len(differences(expected, {("p", "ana"): UP, ("p", "ben"): UP, ("p", "nobody"): UP})) == 1
    assert len(differences(expected, {("p", "ana"): UP})) == 1
