"""What members and moderators see of reviews. Built by pure functions, as bot/cards/videos.py is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import discord
from discord import ui

from bot.cards import limits as card_limits
from bot.cards.videos import note, quote, view_of
from bot.domain.reviews import Review

BUTTON_ID = r"r1:(?P<action>ask|approve|reject|watch|page):(?P<review>[0-9]{1,18})"
SHOWN = 5  # on a page, at most
_HEAD = 150  # units of a page's heading, at most
_WORDS = {"approved": "approved", "rejected": "not approved", "over": "no longer wanted", "waiting": "waiting"}


def button(action: str, review_id: int, label: str, style: discord.ButtonStyle) -> ui.Button[Any]:
    """A button about a review; its state lies in its id."""
    return ui.Button(label=label, style=style, custom_id=f"r1:{action}:{review_id}")


def blocked_card(sentence: str, review_id: int) -> ui.LayoutView:
    """A prompt that is not taken, and the way to appeal."""
    return note(f"🛑 {sentence}", button("ask", review_id, "Ask a moderator", discord.ButtonStyle.secondary))


def list_card(found: Sequence[Review], count: int, *, passed: int = 0) -> ui.LayoutView:
    """`/review list`, one page of it: as many as fit, and a button to those after them.

    `count` wait in all; `passed` of them are older, and were on the pages before.
    """
    first = button("page", 0, "From the beginning", discord.ButtonStyle.secondary)
    if not found:
        return note("Nothing waits for a moderator.") if not count else note("Nothing after that waits.", first)
    budget = card_limits.Budget(ui.TextDisplay("x" * _HEAD), ui.ActionRow(first, _next(found[0].id)))
    items: list[ui.Item[Any]] = []
    shown: list[Review] = []
    for review in found:
        entry = review_parts(review)
        if not budget.take(*entry):
            break
        items += entry
        shown.append(review)
    more = "" if count <= len(shown) else f" These are {passed + 1} to {passed + len(shown)}, the oldest first."
    items.insert(0, ui.TextDisplay(f"### {count} waiting for a moderator\n-# Only you see this.{more}"))
    turns = [first] if passed else []
    if passed + len(shown) < count:
        turns.append(_next(shown[-1].id))
    if turns:
        items.append(ui.ActionRow(*turns))
    return view_of(*items)


def _next(review_id: int) -> ui.Button[Any]:
    return button("page", review_id, "Next", discord.ButtonStyle.primary)


def review_parts(review: Review) -> list[ui.Item[Any]]:
    """One review, with what a moderator may do about it."""
    what = "A prompt" if review.kind == "prompt" else "A video"
    text = (
        f"**{what}** of <@{review.member_id}>, <t:{review.created_at_ms // 1000}:R>\n{quote(review.prompt, 500)}\n"
        f"-# Held because of: {quote(review.finding, 200)}"
    )
    buttons = [
        button("approve", review.id, "Approve", discord.ButtonStyle.success),
        button("reject", review.id, "Reject", discord.ButtonStyle.danger),
    ]
    if review.kind == "video":
        buttons.append(button("watch", review.id, "Watch", discord.ButtonStyle.secondary))
    row: ui.ActionRow[ui.LayoutView] = ui.ActionRow(*buttons)
    return [ui.TextDisplay(text), row]


def watch_card(review: Review, name: str) -> ui.LayoutView:
    """A held video, for the moderator who asked to see it."""
    gallery: ui.MediaGallery[ui.LayoutView] = ui.MediaGallery(
        discord.MediaGalleryItem(f"attachment://{name}", description="A video that is held", spoiler=True)
    )
    return view_of(gallery, *review_parts(review))


def decided_text(review: Review) -> str:
    """What the moderator reads who has decided."""
    word = "✅ Approved" if review.state == "approved" else "⛔ Rejected"
    return f"{word}: **{quote(review.prompt, 80)}** of <@{review.member_id}>, who is told."


def told_text(review: Review) -> str:
    """What stands in the channel in which a prompt was asked: that there is an answer, not what was asked."""
    if review.state == "over":
        return (
            f"⌛ <@{review.member_id}>, the round closed before a moderator had looked at your prompt; see `/videos`."
        )
    return f"⛔ <@{review.member_id}>, a moderator has not approved your prompt. `/videos` tells you why."


def held_line(review: Review) -> str:
    """A held prompt in `/videos`."""
    icon = "⏸️" if review.state == "waiting" else "⛔"
    said = f": {quote(review.reason, 200)}" if review.reason else ""
    state = "waiting for a moderator" if review.state == "waiting" else f"{_WORDS[review.state]}{said}"
    return f"{icon} **{quote(review.prompt, 80)}**\n-# {state}"
