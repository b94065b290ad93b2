"""The receipt of a member's votes. What each state of a vote reads like is tried in tests/bot/cogs/test_receipts.py."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from bot.cards.receipts import MOST_RECEIPTS, receipt_card
from bot.domain.ledger_links import PublicLedger
from bot.domain.rounds import Round
from contracts.outbox.progress import VoteReceipt
from tests.bot.cards.test_results import text_of
from tests.bot.sync.test_view_counts import video

ROUND = cast(Round, SimpleNamespace(number=5))
LEDGER = PublicLedger("0x" + "12" * 20)
FINAL = VoteReceipt(1, "final", None, video_number=4, voter_index=2, seat=0, seq=7, tx="0x" + "ab" * 32)


def receipt(count: int) -> str:
    return text_of(receipt_card(ROUND, [(video(n), FINAL) for n in range(count)], "cd" * 32, LEDGER, "flock audit"))


def test_a_receipt_says_how_it_is_checked() -> None:
    """By the voter id, and by a command that anybody can run."""
    text = receipt(1)
    assert "### Your votes in round 5" in text
    assert f"Your voter id in this server is `{'cd' * 32}`." in text
    assert "from the ledger alone, run: `flock audit`" in text
    assert "more; the command below" not in text


ON_THE_WAY = replace(FINAL, state="pending", tx=None, seq=None)
REJECTED = replace(FINAL, state="rejected", tx=None, reason="It came late.")
WITHDRAWN = replace(FINAL, choice=0)


@pytest.mark.parametrize(
    ("receipts", "words"),
    [
        ([FINAL], "**Your vote counts ✓** It's on the ledger for good."),
        ([FINAL, FINAL, WITHDRAWN], "**Your 2 votes count ✓** They're on the ledger"),
        ([ON_THE_WAY], "⏳ **Your vote is saved.** On the way to the ledger."),
        ([ON_THE_WAY, ON_THE_WAY], "⏳ **Your 2 votes are saved.** On the way to the ledger."),
        ([FINAL, ON_THE_WAY], "⏳ **1 of your 2 votes is on the ledger ✓** The others are on the way."),
        ([REJECTED], "⚠️ **Your vote was not recorded on the ledger.** The reason is below."),
        ([FINAL, REJECTED], "⚠️ **1 of your 2 votes was not recorded on the ledger.** The reason is below."),
        (
            [replace(REJECTED, choice=0)],
            "⚠️ **Your withdrawal was not recorded on the ledger.** The reason is below.",
        ),
        ([WITHDRAWN], "You have withdrawn your vote."),
    ],
)
def test_a_receipt_begins_with_one_plain_line(receipts: list[VoteReceipt], words: str) -> None:
    """Only what is final on the ledger is said to count; no hash comes before that line."""
    lines = [(video(number), each) for number, each in enumerate(receipts)]
    text = text_of(receipt_card(ROUND, lines, "cd" * 32, LEDGER, "flock audit")).strip()
    assert text.startswith(words)
    assert ("count ✓" in text or "counts ✓" in text) is ("count" in words)


def test_votes_that_do_not_fit_are_counted() -> None:
    assert f"… and {1200 - MOST_RECEIPTS:,} more; the command below shows all of them." in receipt(1200)
