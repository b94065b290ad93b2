"""The rules for what members may ask for: prompts and tasks as they are read, quotas, durations."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

import regex

from bot.domain.errors import (
    DurationError,
    PromptEmptyError,
    PromptTooLongError,
    TaskEmptyError,
    TooManyPromptsError,
    TooManyWaitingError,
)

SHORTEST_PROMPT = 3
LONGEST_PROMPT = 500
LONGEST_TASK = 200
SHORTEST_ROUND_S = 60
LONGEST_ROUND_S = 30 * 24 * 3600

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d{1,6}[smhd])(?:\s*\d{1,6}[smhd])*", re.IGNORECASE)
# Unicode's own properties (UAX #44), which `unicodedata` does not have: what a reader is never shown, and what of that
# builds emoji and the letters of several scripts, after a character that shows.
_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")
_JOINER = regex.compile(r"\p{Join_Control}")
_VARIATION = regex.compile(r"\p{Variation_Selector}")
# No property tells of an empty picture, but its name does: BRAILLE PATTERN BLANK, MUSICAL SYMBOL NULL NOTEHEAD.
_EMPTY_PICTURE = re.compile(r".* (?:BLANK|NULL NOTEHEAD)|OBJECT REPLACEMENT CHARACTER")


@dataclass(frozen=True)
class Quota:
    """The number of videos that one member may ask for."""

    prompts_a_round: int
    waiting: int  # videos in progress at a time

    def check(self, *, asked: int, waiting: int) -> None:
        """Raise TooManyPromptsError or TooManyWaitingError where a member is over the quota."""
        if waiting >= self.waiting:
            raise TooManyWaitingError(waiting=waiting)
        if asked >= self.prompts_a_round:
            raise TooManyPromptsError(limit=self.prompts_a_round)


def clean_text(text: str) -> str:
    """Return the text as a reader sees it: composed, on one line, without control and invisible characters.

    Empty where nothing of it shows.
    """
    kept: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        if category in {"Zs", "Zl", "Zp"} or character in "\t\r\n":
            kept.append(" ")
        elif _JOINER.match(character):
            if kept and kept[-1] != " " and not _JOINER.match(kept[-1]):
                kept.append(character)
        elif _VARIATION.match(character):
            if kept and kept[-1] != " " and not is_ignorable(kept[-1]):
                kept.append(character)
        elif not category.startswith("C") and not is_ignorable(character):
            kept.append(character)
    # Composed once more: what stood between a letter and its accent may be gone.
    clean = " ".join(unicodedata.normalize("NFC", "".join(kept)).split())
    return clean if visible_length(clean) else ""


@functools.lru_cache(maxsize=4096)
def is_ignorable(character: str) -> bool:
    """Return True for a character that is never shown: a filler, a joiner, a variation selector, a tag."""
    return _IGNORABLE.match(character) is not None


@functools.lru_cache(maxsize=4096)
def is_visible(character: str) -> bool:
    """Return True for a character that shows by itself. A mark does not: it needs a letter to stand on."""
    if unicodedata.category(character)[0] in "ZCM" or is_ignorable(character):
        return False
    return not is_empty_picture(character)


def is_empty_picture(character: str) -> bool:
    """Return True for a symbol that is drawn as nothing, such as a braille pattern without dots."""
    return _EMPTY_PICTURE.fullmatch(unicodedata.name(character, "")) is not None


def visible_length(text: str) -> int:
    """Return the number of characters that show."""
    return sum(map(is_visible, text))


def read_prompt(text: str) -> str:
    """Return the cleaned prompt. Raises PromptEmptyError or PromptTooLongError."""
    prompt = clean_text(text)
    if visible_length(prompt) < SHORTEST_PROMPT:
        raise PromptEmptyError(shortest=SHORTEST_PROMPT)
    if len(prompt) > LONGEST_PROMPT:
        raise PromptTooLongError(length=len(prompt), longest=LONGEST_PROMPT)
    return prompt


def read_task(text: str) -> str:
    """Return the cleaned task of a round. Raises TaskEmptyError."""
    task = clean_text(text)
    if visible_length(task) < SHORTEST_PROMPT or len(task) > LONGEST_TASK:
        raise TaskEmptyError
    return task


def read_duration(text: str) -> int:
    """Return the seconds of a duration such as `90m` or `1d 12h`. Raises DurationError."""
    text = text.strip()
    if not _DURATION.fullmatch(text):
        raise DurationError
    seconds = sum(int(n) * _UNITS[unit.lower()] for n, unit in re.findall(r"(\d+)([smhd])", text, re.IGNORECASE))
    if not SHORTEST_ROUND_S <= seconds <= LONGEST_ROUND_S:
        raise DurationError
    return seconds
