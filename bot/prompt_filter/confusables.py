"""What a character may be read as: the same letter in another case, width, script or alphabet of ornaments.

The look-alikes are Unicode's own (UTS #39), as the package homoglyphs_fork ships them.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from importlib.resources import files

# Marks that ornament a letter of any script. Those that are letters of their own (Indic vowels, kana's voicing) stay.
_ORNAMENTS = (
    (0x0300, 0x036F),
    (0x0483, 0x0489),
    (0x0591, 0x05C7),
    (0x0610, 0x061A),
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06ED),
    (0x180B, 0x180D),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE00, 0xFE0F),
    (0xFE20, 0xFE2F),
    (0xE0100, 0xE01EF),
)
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # seen as nothing, and not of category Cf
# What is written in place of a letter. Of ASCII no more: Unicode also takes m for rn, which ordinary words do not.
STAND_INS = {
    "0": "o",
    "1": "il",
    "3": "e",
    "4": "a",
    "5": "s",
    "7": "t",
    "@": "a",
    "$": "s",
    "!": "i",
    "|": "il",
    "I": "l",
}
# Look-alikes of which the compatible form is another letter, or a space with a mark.
_BEFORE = str.maketrans({"\u03f2": "c", "\u03f9": "C", "\u02db": "i", "\u037a": "i", "\uffe8": "|"})
_FLAGS = {chr(0x1F1E6 + n): chr(97 + n) for n in range(26)}  # regional indicators
_SMALL_CAPITAL = re.compile(r"(?:LATIN|MODIFIER|LATIN CAPITAL) LETTER SMALL CAPITAL ([A-Z])")  # a name in Unicode
_BOXED = {chr(first + n): chr(97 + n) for first in (0x1F150, 0x1F170) for n in range(26)}  # white on black


def _ornament(character: str) -> bool:
    code = ord(character)
    return unicodedata.category(character) in {"Mn", "Me"} and any(first <= code <= last for first, last in _ORNAMENTS)


def bare(text: str) -> str:
    """The text without what is not seen, without ornaments, with compatible forms (such as full width) made plain."""
    kept = (
        c
        for c in unicodedata.normalize("NFKD", text.translate(_BEFORE))
        if not _ornament(c) and c not in _BLANK and (c.isspace() or unicodedata.category(c) not in {"Cf", "Cc", "Cs"})
    )
    return unicodedata.normalize("NFKC", "".join(kept))


@functools.cache
def _table() -> dict[str, list[str]]:
    """Each character that looks like another one, with those; of a class that has ASCII in it, with that at least."""
    table: dict[str, list[str]] = json.loads(files("homoglyphs_fork").joinpath("confusables.json").read_text("utf-8"))
    return {key.strip("\u200e"): [other.strip("\u200e") for other in alike] for key, alike in table.items()}


@functools.lru_cache(maxsize=8192)
def readings(character: str) -> frozenset[str]:
    """What one character of a bare text may be read as, in lower case; itself is among it."""
    found = {character.casefold()}
    if character.isascii():
        return frozenset(found | set(STAND_INS.get(character, "")))
    if plain := _FLAGS.get(character) or _BOXED.get(character):
        return frozenset({plain})
    for form in {character, character.upper(), character.casefold()}:
        if len(form) == 1:
            found |= _prototypes(form)
            if small := _SMALL_CAPITAL.fullmatch(unicodedata.name(form, "")):
                found.add(small[1].lower())
    return frozenset(found)


def _prototypes(character: str) -> set[str]:
    alike = [bare(other).casefold() for other in _table().get(character, ())]
    single = [other for other in alike if len(other) == 1]
    ascii_ = {other for other in single if other.isascii()}
    if ascii_:
        return ascii_
    return set(single) if len(alike) == 1 else set()  # of several it is the prototype itself


def spelled(text: str) -> list[str]:
    """A text's characters, bare; those that another case writes with two (ß) are two."""
    written: list[str] = []
    for character in bare(text):
        folded = character.casefold()
        written += folded if len(folded) > 1 else character
    return written


def plain(text: str) -> str:
    """The text as a reader takes it, in lower case: each look-alike as the ASCII that it looks like, if any."""
    read = []
    for character in spelled(text):
        ascii_ = sorted(other for other in readings(character) if other.isascii())
        read.append(ascii_[0] if ascii_ and not character.isascii() else character.casefold())
    return "".join(read)


def in_word(character: str) -> bool:
    """Whether a character belongs to a word: a letter, a digit, a mark, or what looks like one."""
    if character.isalnum() or unicodedata.category(character)[0] == "M":
        return True
    return not character.isascii() and any(other.isalnum() for other in readings(character))


def in_spaced_word(character: str) -> bool:
    """As `in_word`, where words are parted: no dash belongs to one, though some look like a letter (as — does)."""
    return unicodedata.category(character) not in {"Pc", "Pd"} and in_word(character)


def joins(character: str) -> bool:
    """Whether a character may be put into a word to disguise it: a hyphen, a line, a dot, a star, a picture.

    No apostrophe, comma or stroke: he'll, red,blue and on/off are two words each.
    """
    return character in _JOINING or unicodedata.category(character) in {"Pc", "Pd", "Sm", "So"}


_JOINING = frozenset(".·•*:^")


def unspaced(text: str) -> bool:
    """Whether a text has letters of a script that writes no spaces between words, or glues its endings to them."""
    names = (unicodedata.name(c, "") for c in text)
    return any(name.startswith(_UNSPACED) for name in names)


_UNSPACED = (
    "CJK UNIFIED",
    "CJK COMPATIBILITY",
    "HIRAGANA",
    "KATAKANA",
    "HANGUL",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
    "YI SYLLABLE",
)
