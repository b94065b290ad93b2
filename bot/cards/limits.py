"""The limits of a Discord message, and texts cut to fit them: never within an escape, a link or a mention.

The limits are those of Discord's OpenAPI file. It does not name the unit of its counts. Here the unit is UTF-16, in
which an emoji counts twice, so that a text fits by either count. `layout.view_of` holds all cards to these limits.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from discord import ui

log = logging.getLogger(__name__)

Item: TypeAlias = ui.Item[ui.LayoutView]
Text: TypeAlias = ui.TextDisplay[ui.LayoutView]
Button: TypeAlias = ui.Button[ui.LayoutView]

MOST_TEXT = 4000  # in all texts of a message
MOST_COMPONENTS = 40  # of a message, nested ones and the container around them included
MOST_NAME = 100  # of a thread, or of a choice that an option suggests
MOST_URL = 512  # of a button
MOST_REASON = 300  # units of a reason that a card shows
MOST_CLUSTER = 32  # characters that are taken for one: marks can be piled up without end

_ZWJ, _ELLIPSIS, _ISOLATE, _ISOLATE_END = "\u200d", "…", "\u2068", "\u2069"
_CONTROLS = f"\n{_ISOLATE}{_ISOLATE_END}"  # marks join nothing of these
# What is cut before or after, and never within.
_PIECE = re.compile(
    r"```.*?```"  # a block of code
    r"|`[^`\n]*`"
    r"|\[(?:\\.|[^\[\]\\])*\]\([^()\s]*\)"  # a link
    r"|https?://\S+"
    r"|<[@#:/at][^<>\s]*>"  # a mention, a time
    r"|\\."  # an escape
    r"|\*\*",
    re.DOTALL,
)


def length(text: str) -> int:
    """Return the length of a text in UTF-16 code units, the larger of the counts that Discord may mean."""
    return len(text) + sum(character > "\uffff" for character in text)


def clusters(text: str) -> Iterator[str]:
    """Yield the characters of a text as readers see them: a letter with its marks, an emoji with all its parts."""
    cluster = ""
    flags = 0
    for character in text:
        is_flag = "\U0001f1e6" <= character <= "\U0001f1ff"
        joined = (
            bool(cluster)
            and len(cluster) < MOST_CLUSTER
            and cluster[-1] not in _CONTROLS
            and (
                cluster[-1] == _ZWJ
                or character == _ZWJ
                or unicodedata.category(character)[0] == "M"
                or "\U0001f3fb" <= character <= "\U0001f3ff"  # the colour of a skin
                or "\U000e0020" <= character <= "\U000e007f"  # the rest of a region's flag
                or (is_flag and flags % 2 == 1)
            )
        )
        flags = flags + 1 if is_flag else 0
        if joined:
            cluster += character
            continue
        if cluster:
            yield cluster
        cluster = character
    if cluster:
        yield cluster


def plain(text: str, most: int) -> str:
    """Return a text without markup in at most `most` units, cut between two characters."""
    if length(text) <= most:
        return text
    result, room = [], most - length(_ELLIPSIS)
    for cluster in clusters(text):
        room -= length(cluster)
        if room < 0:
            break
        result.append(cluster)
    return "".join(result).rstrip() + _ELLIPSIS


def shorten(text: str, most: int) -> str:
    """Return a text with markup in at most `most` units; markup that is open at the cut is closed after it."""
    if length(text) <= most:
        return text
    result: list[str] = []
    used_units, bold, isolates = length(_ELLIPSIS), False, 0
    for piece in _pieces(text):
        bolder = bold != (piece == "**")
        deeper = max(0, isolates + piece.count(_ISOLATE) - piece.count(_ISOLATE_END))
        if used_units + length(piece) + 2 * bolder + deeper > most:
            break
        result.append(piece)
        used_units, bold, isolates = used_units + length(piece), bolder, deeper
    if bold and result[-1:] == ["**"]:
        result, bold = result[:-1], False
    return "".join(result).rstrip(" \n") + _ELLIPSIS + _ISOLATE_END * isolates + "**" * bold


def _pieces(text: str) -> Iterator[str]:
    at = 0
    for match in _PIECE.finditer(text):
        yield from clusters(text[at : match.start()])
        yield match.group()
        at = match.end()
    yield from clusters(text[at:])


class Budget:
    """The room in one message. A card adds entries while they fit."""

    def __init__(self, *fixed: Item, text: int = MOST_TEXT, components: int = MOST_COMPONENTS - 1) -> None:
        """`fixed` are the parts that are in the message anyway; the container around all is already counted."""
        self.text = text
        self.components = components
        for item in fixed:
            self.take(item)

    def take(self, *items: Item) -> bool:
        """Take the room of some parts. Return False, and take nothing, where they do not fit."""
        text = sum(length(text.content) for text in texts(items))
        components = sum(1 for _ in parts(items))
        if text > self.text or components > self.components:
            return False
        self.text -= text
        self.components -= components
        return True


def text_item(content: str) -> Text:
    """Return a text as a part of a message."""
    return ui.TextDisplay(content)


def parts(items: Sequence[Item]) -> Iterator[Item]:
    """Yield all parts, nested ones too."""
    for item in items:
        yield item
        if isinstance(item, ui.Section | ui.ActionRow | ui.Container):
            yield from item.walk_children()  # of a section, the accessory too


def texts(items: Sequence[Item]) -> list[Text]:
    """Return all texts, nested ones too."""
    return [part for part in parts(items) if isinstance(part, ui.TextDisplay)]


def fitted(items: Sequence[Item]) -> list[Item]:
    """Return the parts of a message, cut to what a message holds.

    The builders of cards keep to the limits themselves. This is the net for what they forget.
    """
    result, room = [], MOST_COMPONENTS - 1
    for item in items:
        room -= sum(1 for _ in parts([item]))
        if room < 0:
            log.error("A card has more parts than a message holds; the last ones are left out.")
            break
        result.append(item)
    text_items = texts(result)
    for text in text_items:
        text.content = text.content or "\u200b"  # Discord takes no empty text
    over = sum(length(text.content) for text in text_items) - MOST_TEXT
    if over > 0:
        log.error("A card has %d characters more than a message holds; it is cut.", over)
    for text in sorted(text_items, key=lambda text: -length(text.content)):
        if over <= 0:
            break
        before = length(text.content)
        text.content = shorten(text.content, max(before - over, MOST_TEXT // MOST_COMPONENTS))
        over -= before - length(text.content)
    return result
