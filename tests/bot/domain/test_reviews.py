"""A review: findings of a classifier, described for moderators."""

from __future__ import annotations

from bot.domain.reviews import MOST_FLAGS, UNREADABLE, describe_flags


def test_flags_are_described_with_label_and_score() -> None:
    """Nothing flagged is nothing to hold."""
    assert describe_flags(None) is None
    assert describe_flags({"flagged": []}) is None
    flagged = [{"label": "red", "score": 0.991}, {"label": "blue", "score": "0.5"}]
    assert describe_flags({"flagged": flagged}) == "the classifier saw red (0.99), blue (0.50)"


def test_a_worker_cannot_fill_a_review() -> None:
    """Long labels and long lists are cut."""
    text = describe_flags({"flagged": [{"label": "x" * 1000, "score": 1}] * 50}) or ""
    assert text.count("x" * 40) == MOST_FLAGS
    assert "x" * 41 not in text


def test_unreadable_findings_hold_the_video() -> None:
    """A worker is not trusted: whatever it sends instead of findings is held."""
    for odd in (3, "x", [], {}, {"flagged": 3}, {"flagged": {"a": 1}}, {"flagged": [3]}, {"flagged": [{"label": "x"}]}):
        assert describe_flags(odd) == UNREADABLE
