"""Rounds, videos and battles as the report lists them."""

from __future__ import annotations

from contracts.audit.output.listing import list_rounds
from tests.builders.ledger_log import Log, first_registration


def test_battles_are_listed_with_their_round() -> None:
    """Votes, outcome, models; the round with the hash that it was opened with; no other round."""
    log = Log()
    number = log.attempt(first_registration())
    report = log.report()
    replay = log.replay()
    list_rounds(report, replay, [number], {})
    assert [(each.number, each.task_hash) for each in report.rounds] == [(number, replay.rounds[number].meta.hex())]
    assert {(each.round, each.a, each.b, each.ties, each.outcome) for each in report.battles} == {(number, 2, 0, 1, 1)}
    assert all(each.model_a is not None for each in report.battles)
    nothing = log.report()
    list_rounds(nothing, replay, [], {})
    assert (nothing.rounds, nothing.videos, nothing.battles) == ([], [], [])
