"""The seed and the length of the chaos, and its counts at the end of the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.plan import Outcome, Plan

_outcomes: list[Outcome] = []


@pytest.fixture
def begin(pytestconfig: pytest.Config) -> Callable[[str, Plan], Outcome]:
    """A run by its name and plan, with the seed of the command line; what it counts is told even when it fails."""

    def begin_(name: str, plan: Plan) -> Outcome:
        seed = pytestconfig.getoption("--chaos-seed")
        outcome = Outcome(name, plan if seed is None else replace(plan, seed=seed))
        _outcomes.append(outcome)
        return outcome

    return begin_


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for outcome in _outcomes:
        outcome.keep(Path(config.rootpath) / "build")
        for sentence in outcome.sentences():
            terminalreporter.write_line(sentence)
