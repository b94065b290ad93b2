"""The common layout of all messages: the container, quoted words of members, rough durations."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote as quote_url

import discord
from discord import ui

from bot.cards import limits
from bot.cards.limits import Button, Item, text_item
from bot.domain.policy import clean_text

ACCENT = discord.Colour(0x5865F2)

_MARKDOWN = re.compile(r"([\\`*_~|<>\[\]()]|^[#\-+])")
_MARKUP = re.compile(r"([\\`*_~|<>\[\]]|^[#\-+])")  # a bracket alone does nothing where square ones are escaped
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BIDI = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PERMISSION = r"\*\*[A-Z][A-Za-z]{1,20}(?: [A-Z][A-Za-z]{1,20}){0,4}\*\*"  # as Discord names them, in bold
_OWN_MARKUP = re.compile(rf"(`/?[A-Za-z][A-Za-z0-9 :_=./-]{{0,60}}`|<#[0-9]{{1,20}}>|{_PERMISSION})")
_ENDS_LINK = " ()<>\"'`\\[]"


def quote(text: str, most: int = 500) -> str:
    """Return another's words without markdown, mentions, links, commands or an effect on the direction of other text.

    They stand on one line. At most `most` characters are kept, cut between two characters that readers see. Each may
    take two units of a message's room.
    """
    text = _one_line(text)
    if len(text) <= most:
        return _harmless(text)
    pieces = list(limits.clusters(text[:most]))
    while pieces and sum(map(len, pieces)) >= most:
        pieces.pop()
    return _harmless("".join(pieces) + "…")


def sentence(text: str, most: int = limits.MOST_REASON) -> str:
    """Return a sentence that may be another party's: a worker's, a host's or a node's, or hold a part of theirs.

    It is quoted, but for what our own sentences have and does nobody harm: commands between code marks, channels that
    are named by their number, and permissions in bold. At most `most` units are kept.
    """
    text = _one_line(text)[:most]
    parts = _OWN_MARKUP.split(text)
    shown = "".join(part if number % 2 else _escaped(part, _MARKUP) for number, part in enumerate(parts))
    return limits.shorten(f"\u2068{shown}\u2069" if _turns(text) else shown, most)


def code(value: object, most: int) -> str:
    """Return a value for code marks: only letters, digits and the characters between them."""
    return re.sub(r"[^\w.:@/+-]", "", str(value))[:most]


def link(label: str, url: str) -> str:
    """Return a link whose address cannot end it early; the label alone for what is no web address."""
    if not re.match(r"https?://", url):
        return label
    return f"[{label}]({''.join(_percent(character) for character in url)})"


def copyable(text: str) -> str:
    """Return a member's own words as a block for copying, in which nothing has an effect; for that member alone.

    Empty where nothing can be seen of them.
    """
    clean = clean_text(text).replace("```", "`\u200b`\u200b`")  # a reader of prompts leaves the zero widths out
    return f"\n-# Your text, to copy:\n```\n{clean}\n```" if clean else ""


def _harmless(text: str) -> str:
    return f"\u2068{_escaped(text)}\u2069"  # isolated: a right-to-left prompt cannot turn our own words around


def _escaped(text: str, marks: re.Pattern[str] = _MARKDOWN) -> str:
    return marks.sub(r"\\\1", text).replace("@", "@\u200b").replace("://", ":\u200b//")


def _turns(text: str) -> bool:
    """Return True for a text with letters that are read from right to left."""
    return any(unicodedata.bidirectional(character) in {"R", "AL", "AN"} for character in text)


def _one_line(text: str) -> str:
    """Return a text without line breaks, which begin headings and lists, and without marks that end its isolation."""
    return _BIDI.sub("", _BREAKS.sub(" ", text))


def _percent(character: str) -> str:
    return quote_url(character) if character in _ENDS_LINK or not character.isprintable() else character


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
