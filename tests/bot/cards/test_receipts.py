"""The receipt of a member's votes. What each state of a vote reads like is tried in tests/bot/cogs/test_receipts.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

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


def test_votes_that_do_not_fit_are_counted() -> None:
    assert f"… and {1200 - MOST_RECEIPTS:,} more; the command below shows all of them." in receipt(1200)
