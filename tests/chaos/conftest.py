"""The seed and the length of the chaos, and its counts at the end of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.plan import Outcome, Plan


@pytest.fixture
def begin(
    pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> Iterator[Callable[[str, Plan], Outcome]]:
    """Return a function that begins a run by its name and plan; its counts are printed even when it fails."""
    outcomes = []

    def begin_(name: str, plan: Plan) -> Outcome:
        seed = pytestconfig.getoption("--chaos-seed")
        outcome = Outcome(name, plan if seed is None else replace(plan, seed=seed))
        outcomes.append(outcome)
        return outcome

    yield begin_
    for outcome in outcomes:
        outcome.keep(Path(pytestconfig.rootpath) / "build")
        for sentence in outcome.sentences():
            record_property("told at the end", sentence)
