"""The messages about a round, as members and moderators read them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from bot.cards.rounds import announcement, closed_announcement, closing_note, not_opened, status_text, thread_name
from bot.domain.rounds import Round
from tests.bot.cards.test_results import text_of


def round_of(**changes: object) -> Round:
    row = {"number": 5, "task": "weather", "status": "open", "closes_at_ms": 7_000, "thread_id": 9, "trouble": None}
    made = SimpleNamespace(**{**row, **changes})
    made.opened = made.thread_id is not None
    return cast(Round, made)


def test_an_announcement_says_what_to_do_and_until_when() -> None:
    text = text_of(announcement(round_of()))
    assert "## Round 5: \u2068weather\u2069" in text
    assert "Use `/prompt` to make a video" in text
    assert "The round closes <t:7:R> (<t:7:f>)." in text
    assert thread_name(round_of()) == "Round 5: weather"


def test_a_closed_round_is_announced_as_closed() -> None:
    """With a link to its result; before that is posted, with the command that shows it."""
    closed = round_of(status="closed", guild_id=1, channel_id=2, announcement_id=4, result_message_id=3)
    text = text_of(closed_announcement(closed))
    assert "## Round 5: \u2068weather\u2069" in text
    assert "🏁 This round closed <t:7:R> (<t:7:f>). [See the result](https://discord.com/channels/1/2/3)" in text
    assert "/prompt" not in text
    assert text_of(closing_note(closed)).strip().startswith("🏁 **Round 5 is closed.**")
    unposted = round_of(status="closed", guild_id=1, channel_id=2, announcement_id=4, result_message_id=None)
    for view in (closed_announcement(unposted), closing_note(unposted)):
        assert "`/standings` shows the result." in text_of(view)
        assert "https://" not in text_of(view)


def test_a_round_that_was_not_opened_takes_no_prompts() -> None:
    assert "could not be opened and takes no prompts" in text_of(not_opened(round_of(thread_id=None)))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((1, 0, 1, 1), "1 video posted, 0 in progress · 1 comment · 1 report\n"),
        ((2, 3, 0, 4), "2 videos posted, 3 in progress · 0 comments · 4 reports\n"),
    ],
)
def test_one_of_each_is_told_in_the_singular(numbers: tuple[int, int, int, int], words: str) -> None:
    assert words in status_text(round_of(), *numbers, "the ledger's sentence")


def test_a_status_says_how_the_round_stands() -> None:
    """Open, being opened, closed, and closed without ever having been open."""
    texts = [
        status_text(round_of(**changes), 0, 0, 0, 0, "L")
        for changes in (
            {},
            {"status": "opening", "thread_id": None},
            {"status": "closed"},
            {"status": "closed", "thread_id": None, "trouble": "No thread."},
        )
    ]
    assert "<#9> · open · closes <t:7:R>" in texts[0]
    assert "(being opened) · opening · closes <t:7:R>" in texts[1]
    assert "<#9> · closed <t:7:R>" in texts[2]
    assert "could not be opened · closed <t:7:R>\n⚠️ No thread.\n" in texts[3]
