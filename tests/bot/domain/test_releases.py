"""What a verdict of the release gate tells members."""

from __future__ import annotations

import pytest

from bot.domain.releases import Evidence, Margin


def test_the_margin_is_read_from_a_verdict() -> None:
    """Shares of one, with their interval where the verdict has it."""
    verdict = {"state": "won", "voters": 41, "win_rate_permille": 710, "interval_permille": [600, 800], "votes": 205}
    assert Margin.from_verdict(verdict) == Margin(41, 0.71, 0.6, 0.8)
    assert Margin.from_verdict({"voters": 3, "win_rate_permille": 500}) == Margin(3, 0.5)


@pytest.mark.parametrize("verdict", [None, {}, {"voters": 3}, {"voters": "x", "win_rate_permille": 1}])
def test_a_verdict_without_figures_has_no_margin(verdict: dict[str, object] | None) -> None:
    assert Margin.from_verdict(verdict) is None


def test_the_evidence_is_read_from_a_verdict() -> None:
    """Votes, thousandths, what was needed, and k; a verdict that lacks one of them has none."""
    verdict = {"votes": 205, "evidence_milli": 41_500, "evidence_needed": 40, "survives_needed": 2}
    assert Evidence.from_verdict(verdict) == Evidence(205, 41_500, 40, 2)
    assert Evidence.from_verdict({**verdict, "survives_needed": None}) is None
    assert Evidence.from_verdict(None) is None
