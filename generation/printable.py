"""Words of others for a terminal: nothing in them moves the cursor, gives colours, turns a line or begins another."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # they build emoji and the letters of several scripts


def one_line(text: object) -> str:
    """Return a value that another party wrote as one line, in which whatever is not printed stands as an escape."""
    return "".join(_shown(character) for character in str(text))


def lines(text: str) -> str:
    """Return an output of several lines with the same escapes; its line breaks stay."""
    return "\n".join(map(one_line, text.split("\n")))


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode("ascii")
