"""The states in the tables of generation: the words that workers and bots exchange."""

from __future__ import annotations

from typing import get_args

from generation.jobs import Phase
from migrations.states.generation import ExecutorRole, RenderPhase


def test_phases_are_those_that_workers_report() -> None:
    assert sorted(RenderPhase) == sorted(get_args(Phase))


def test_a_process_is_a_bot_or_a_worker() -> None:
    assert sorted(ExecutorRole) == ["bot", "worker"]
