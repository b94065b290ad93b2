"""The messages about reviews: the list for moderators, and notices to members."""

from __future__ import annotations

from collections.abc import Sequence

import discord
from discord import ui

from bot.cards import limits
from bot.cards.layout import note, quote, row, view_of
from bot.cards.limits import Button, Item, text_item
from bot.domain.reviews import Review
from migrations.states.community import ReviewKind, ReviewState

BUTTON_ID = r"r1:(?P<action>ask|approve|reject|watch|page):(?P<review>[0-9]{1,18})"
SHOWN = 5  # on a page, at most
_HEAD = 150  # units of a page's heading, at most
_STATES = {
    ReviewState.WAITING: "waiting for a moderator",
    ReviewState.APPROVED: "approved",
    ReviewState.REJECTED: "not approved",
    ReviewState.OVER: "no longer needed",
}


def button(action: str, review_id: int, label: str, style: discord.ButtonStyle) -> Button:
    """Return a button about a review; its id holds its state."""
    return ui.Button(label=label, style=style, custom_id=f"r1:{action}:{review_id}")


def blocked_card(sentence: str, review_id: int, copy: str = "") -> ui.LayoutView:
    """Return the answer to a blocked prompt, with the button to appeal; `copy` is the prompt as `copyable` gives it."""
    return note(f"🛑 {sentence}{copy}", button("ask", review_id, "Ask a moderator", discord.ButtonStyle.secondary))


def list_card(reviews: Sequence[Review], count: int, *, passed: int = 0) -> ui.LayoutView:
    """Return a page of `/review list`: as many reviews as fit, and a button to the next page.

    `count` reviews wait in all; `passed` of them are older and were on earlier pages.
    """
    first = button("page", 0, "Back to the start", discord.ButtonStyle.secondary)
    if not reviews:
        return note("Nothing is waiting for review.") if not count else note("Nothing after that is waiting.", first)
    budget = limits.Budget(text_item("x" * _HEAD), row(first, _next(reviews[0].id)))
    items: list[Item] = []
    on_page: list[Review] = []
    for review in reviews:
        entry = review_parts(review)
        if not budget.take(*entry):
            break
        items += entry
        on_page.append(review)
    more = "" if count <= len(on_page) else f" These are {passed + 1:,} to {passed + len(on_page):,}, the oldest first."
    items.insert(0, text_item(f"### {count:,} waiting for review\n-# Only you can see this.{more}"))
    turns = [first] if passed else []
    if passed + len(on_page) < count:
        turns.append(_next(on_page[-1].id))
    if turns:
        items.append(row(*turns))
    return view_of(*items)


def _next(review_id: int) -> Button:
    return button("page", review_id, "Next", discord.ButtonStyle.primary)


def review_parts(review: Review) -> list[Item]:
    """Return one review, with the buttons for a moderator."""
    subject = "Prompt" if review.kind == ReviewKind.PROMPT else "Video"
    text = (
        f"**{subject}** by <@{review.member_id}>, <t:{review.created_at_ms // 1000}:R>\n{quote(review.prompt, 500)}\n"
        f"-# Reason: {quote(review.finding, 200)}"
    )
    buttons = [
        button("approve", review.id, "Approve", discord.ButtonStyle.success),
        button("reject", review.id, "Reject", discord.ButtonStyle.danger),
    ]
    if review.kind == ReviewKind.VIDEO:
        buttons.append(button("watch", review.id, "Watch", discord.ButtonStyle.secondary))
    return [text_item(text), row(*buttons)]


def watch_card(review: Review, name: str) -> ui.LayoutView:
    """Return a held video, for the moderator who asked to see it."""
    gallery: Item = ui.MediaGallery(
        discord.MediaGalleryItem(f"attachment://{name}", description="A video held for review", spoiler=True)
    )
    return view_of(gallery, *review_parts(review))


def decided_text(review: Review) -> str:
    """Return the answer to the moderator who has decided."""
    decision = "✅ Approved" if review.state == ReviewState.APPROVED else "⛔ Rejected"
    return f"{decision}: **{quote(review.prompt, 80)}** by <@{review.member_id}>. They will be told."


def notice_text(review: Review) -> str:
    """Return the notice of a decision for the channel of the prompt; it does not repeat the prompt."""
    if review.state == ReviewState.OVER:
        return f"⌛ <@{review.member_id}>, the round closed before a moderator looked at your prompt. See `/videos`."
    return f"⛔ <@{review.member_id}>, a moderator did not approve your prompt. `/videos` shows why."


def held_line(review: Review) -> str:
    """Return the line of a held prompt in `/videos`."""
    waiting = review.state == ReviewState.WAITING
    icon = "⏸️" if waiting else "⛔"
    reason = f": {quote(review.reason, 200)}" if review.reason and not waiting else ""
    state = f"{_STATES[review.state]}{reason}"
    return f"{icon} **{quote(review.prompt, 80)}**\n-# {state}"
