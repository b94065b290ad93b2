"""The common layout of all messages: the container, quoted words of members, rough durations."""

from __future__ import annotations

import re

import discord
from discord import ui

from bot.cards import limits
from bot.cards.limits import Button, Item, text_item
from bot.domain.policy import clean_text

ACCENT = discord.Colour(0x5865F2)

_MARKDOWN = re.compile(r"([\\`*_~|<>\[\]()]|^[#\-+])")


def quote(text: str, most: int = 500) -> str:
    """Return a member's words without markdown, mentions, links, commands or an effect on the direction of other text.

    At most `most` characters are kept, cut between two characters that readers see. Each may take two units of a
    message's room.
    """
    if len(text) <= most:
        return _harmless(text)
    pieces = list(limits.clusters(text[:most]))
    while pieces and sum(map(len, pieces)) >= most:
        pieces.pop()
    return _harmless("".join(pieces) + "…")


def copyable(text: str) -> str:
    """Return a member's own words as a block for copying, in which nothing has an effect; for that member alone.

    Empty where nothing can be seen of them.
    """
    clean = clean_text(text).replace("```", "`\u200b`\u200b`")  # a reader of prompts leaves the zero widths out
    return f"\n-# Your text, to copy:\n```\n{clean}\n```" if clean else ""


def _harmless(text: str) -> str:
    escaped = _MARKDOWN.sub(r"\\\1", text).replace("@", "@\u200b").replace("://", ":\u200b//")
    return f"\u2068{escaped}\u2069"  # isolated: a right-to-left prompt cannot turn our own words around


def view_of(*items: Item) -> ui.LayoutView:
    """Return a message of these parts, as far as a message holds them."""
    view = ui.LayoutView(timeout=None)
    container: ui.Container[ui.LayoutView] = ui.Container(accent_colour=ACCENT)
    for item in limits.fitted(items):
        container.add_item(item)
    view.add_item(container)
    view.stop()  # only a picture: the cogs answer presses by their custom id, wherever and whenever the card was made
    return view


def note(text: str, *buttons: Button) -> ui.LayoutView:
    """Return a short answer, with buttons where there is something to do."""
    return view_of(text_item(text), row(*buttons)) if buttons else view_of(text_item(text))


def row(*buttons: Button) -> ui.ActionRow[ui.LayoutView]:
    """Return a row of buttons."""
    return ui.ActionRow(*buttons)


def seconds(value: float) -> str:
    """Return a rough duration in words."""
    if value < 90:
        return f"about {max(1, round(value))} s"
    return f"about {round(value / 60)} min" if value < 5400 else f"about {round(value / 3600)} h"


def minutes(value: float) -> str:
    """Return a duration in words, rounded to whole minutes."""
    whole = max(1, round(value / 60))
    return "about a minute" if whole == 1 else f"about {whole} minutes"
