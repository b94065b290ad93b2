"""What a person reads in the terminal at the end of the loop, after a release and without one."""

from __future__ import annotations

import io

from rich.console import Console

from bot.demo.learning.result import LearningResult
from bot.demo.learning.summary import table_of

RELEASED: LearningResult = {
    "round": {
        "number": 1, "task": "t", "status": "closed", "thread_id": "1", "winner": None, "winner_message_id": None,
        "chain": {"round": 1, "finalized_tx": None},
    },
    "videos": [],
    "audit": {"ok": True, "votes": 280, "batches": 1, "entries": 1, "digest": "", "chain_id": 1, "ledger": ""},
    "taste": "warm", "voters": 60, "votes": 288, "noise": 0.2, "hostile": 6,
    "training": {
        "candidate": 1, "votes": 270, "videos": 88, "pairs": 120, "seconds": 47.0, "drift": 0.071, "guards": []
    },
    "battle": {
        "round": 2, "registration": "ab", "pairs": 100, "voters": 27, "votes": 135, "held_out": 2, "win_rate": 0.71,
        "interval": [0.6, 0.8], "equal_motion": None, "evidence": 45.2, "evidence_needed": 40, "k": 2,
        "verdict": "released", "sentence": "27 voters prefer [it].", "liked": 0.9,
    },
    "adherence": {"before": 0.91, "after": 0.92},
    "motion": {"before": 0.02, "after": 0.021},
    "release": {"number": 1, "adapter": "f" * 64, "tx": "0xabc", "video": "1"},
    "refused": None,
}  # fmt: skip


def printed(result: LearningResult) -> str:
    file = io.StringIO()
    Console(width=200, file=file).print(table_of(result))
    return file.getvalue()


def test_a_release_is_told_with_its_figures() -> None:
    """Votes, training, battle, the verdict's sentence as it is, and the release."""
    text = printed(RELEASED)
    for words in (
        "288 of 60 members; 6 want the opposite, and 20% are errors", "270 votes on 88 videos, 120 pairs; 47 s",
        "win rate 71% (60% to 80%) in 135 votes of 27 members on 100 pairs", "evidence 45.2 of 40, without any 2",
        "27 voters prefer [it].", "0.91 before, 0.92 after", "0xabc", "280 votes of the round",
    ):  # fmt: skip
        assert words in text
    assert "none:" not in text


def test_a_refusal_is_told_with_its_reason() -> None:
    """Also where no battle was held."""
    refused: LearningResult = {
        **RELEASED, "battle": None, "adherence": None, "motion": None, "release": None, "refused": "Its motion fell.",
    }  # fmt: skip
    text = printed(refused)
    assert "none: Its motion fell." in text
    assert "win rate" not in text
    assert "0xabc" not in text
