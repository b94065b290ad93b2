"""The readings of a character: the same letter in another case, width, script or alphabet of ornaments.

The look-alikes are Unicode's own (UTS #39), as the package homoglyphs_fork ships them.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from importlib.resources import files

from bot.domain.policy import is_empty_picture, is_ignorable

# Marks that ornament a letter of any script. Marks that are letters themselves (Indic vowels, kana's voicing) stay.
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
# The ASCII characters that stand for a letter. No others: Unicode also takes m for rn, which ordinary words do not.
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


def _blank(character: str) -> bool:
    return is_ignorable(character) or is_empty_picture(character)


def bare(text: str) -> str:
    """Return the text without invisible characters and ornaments, and in plain forms (none of full width, say)."""
    visible = (
        c
        for c in unicodedata.normalize("NFKD", text.translate(_BEFORE))
        if not _ornament(c) and not _blank(c) and (c.isspace() or unicodedata.category(c) not in {"Cf", "Cc", "Cs"})
    )
    return unicodedata.normalize("NFKC", "".join(visible))


@functools.cache
def _table() -> dict[str, list[str]]:
    """Return the look-alikes of each character; in a class with an ASCII character, at least that one."""
    table: dict[str, list[str]] = json.loads(files("homoglyphs_fork").joinpath("confusables.json").read_text("utf-8"))
    return {key.strip("\u200e"): [each.strip("\u200e") for each in alike] for key, alike in table.items()}


@functools.lru_cache(maxsize=8192)
def readings(character: str) -> frozenset[str]:
    """Return the readings of one character of a bare text, in lower case; itself is one of them."""
    letters = {character.casefold()}
    if character.isascii():
        return frozenset(letters | set(STAND_INS.get(character, "")))
    if plain := _FLAGS.get(character) or _BOXED.get(character):
        return frozenset({plain})
    for form in {character, character.upper(), character.casefold()}:
        if len(form) == 1:
            letters |= _prototypes(form)
            if small := _SMALL_CAPITAL.fullmatch(unicodedata.name(form, "")):
                letters.add(small[1].lower())
    return frozenset(letters)


def _prototypes(character: str) -> set[str]:
    alike = [bare(text).casefold() for text in _table().get(character, ())]
    single = [text for text in alike if len(text) == 1]
    ascii_ = {letter for letter in single if letter.isascii()}
    if ascii_:
        return ascii_
    return set(single) if len(alike) == 1 else set()  # with several, the character is the prototype itself


def spelled(text: str) -> list[str]:
    """Return the characters of a text, bare; one that another case writes with two (ß) becomes two."""
    characters: list[str] = []
    for character in bare(text):
        folded = character.casefold()
        characters += folded if len(folded) > 1 else character
    return characters


def plain(text: str) -> str:
    """Return the text as a reader sees it, in lower case: each look-alike as the ASCII that it looks like, if any."""
    letters = []
    for character in spelled(text):
        ascii_ = sorted(letter for letter in readings(character) if letter.isascii())
        letters.append(ascii_[0] if ascii_ and not character.isascii() else character.casefold())
    return "".join(letters)


def in_word(character: str) -> bool:
    """Return True if a character belongs to a word: a letter, a digit, a mark, or a look-alike of one."""
    if character.isalnum() or unicodedata.category(character)[0] == "M":
        return True
    return not character.isascii() and any(reading.isalnum() for reading in readings(character))


def in_spaced_word(character: str) -> bool:
    """Return the same where spaces part words: no dash belongs to a word, although some look like a letter (—)."""
    return unicodedata.category(character) not in {"Pc", "Pd"} and in_word(character)


def joins(character: str) -> bool:
    """Return True if a character may disguise a word from within: a hyphen, a line, a dot, a star, a picture.

    An apostrophe, a comma or a stroke does not: he'll, red,blue and on/off are two words each.
    """
    return character in _JOINING or unicodedata.category(character) in {"Pc", "Pd", "Sm", "So"}


_JOINING = frozenset(".·•*:^")


def unspaced(text: str) -> bool:
    """Return True if a text has letters of a script without spaces between words, or with endings glued to them."""
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
