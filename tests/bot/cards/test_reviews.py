"""The messages about reviews, as moderators and members read them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.cards.reviews import blocked_card, decided_text, held_line, list_card, notice_text, review_parts
from bot.domain.reviews import Review
from migrations.states.community import ReviewKind, ReviewState
from tests.bot.cards.test_results import text_of

HELD = Review(
    1, ReviewKind.PROMPT, "7", 1, 1, 4, "ana", "a *red* circle", "rule 1: It waits.", ReviewState.WAITING, 1, 1_000,
    None, None, None,
)  # fmt: skip


def test_a_list_says_how_many_wait() -> None:
    """Also when there are none, or none after those that were shown."""
    assert "Nothing is waiting for review." in text_of(list_card([], 0))
    assert "Nothing after that is waiting." in text_of(list_card([], 3))
    text = text_of(list_card([HELD], 7, passed=2))
    assert "### 7 waiting for review\n-# Only you can see this. These are 3 to 3, the oldest first." in text
    assert "**Prompt** by <@4>, <t:1:R>" in text
    assert "-# Reason: \u2068rule 1: It waits.\u2069" in text


def test_a_video_can_be_watched_and_a_prompt_cannot() -> None:
    labels = [
        [button["label"] for button in review_parts(review)[1].to_component_dict()["components"]]
        for review in (HELD, replace(HELD, kind=ReviewKind.VIDEO))
    ]
    assert labels == [["Approve", "Reject"], ["Approve", "Reject", "Watch"]]


@pytest.mark.parametrize(
    ("state", "line", "notice"),
    [
        (ReviewState.WAITING, "⏸️ **\u2068a \\*red\\* circle\u2069**\n-# waiting for a moderator", None),
        (ReviewState.REJECTED, "-# not approved: \u2068It is late.\u2069", "a moderator did not approve your prompt"),
        (ReviewState.OVER, "-# no longer needed: \u2068It is late.\u2069", "closed before a moderator looked at your"),
    ],
)
def test_a_member_reads_how_a_prompt_stands(state: ReviewState, line: str, notice: str | None) -> None:
    """The notice in the channel repeats nothing of the prompt."""
    review = replace(HELD, state=state, reason="It is late.")
    assert line in held_line(review)
    if notice:
        assert notice in notice_text(review)
        assert "red" not in notice_text(review)


def test_a_moderator_reads_the_decision() -> None:
    """The member will be told: it is not said that they have been."""
    assert decided_text(replace(HELD, state=ReviewState.APPROVED)).startswith("✅ Approved: ")
    assert decided_text(replace(HELD, state=ReviewState.REJECTED)).startswith("⛔ Rejected: ")
    assert decided_text(HELD).endswith("by <@4>. They will be told.")


def test_a_blocked_prompt_can_be_appealed() -> None:
    components = blocked_card("That is not taken here.", 7).to_components()[0]["components"]
    assert components[1]["components"][0]["custom_id"] == "r1:ask:7"
