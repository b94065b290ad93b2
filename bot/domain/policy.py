"""The rules for what members may ask for: prompts and tasks as they are read, quotas, durations."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

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
# Joiners build emoji and the letters of several scripts; every other invisible character only hides something.
_JOINERS = "\u200c\u200d"


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
    """Return the text as a reader sees it: composed, on one line, without control and invisible characters."""
    visible = []
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        if category in {"Zs", "Zl", "Zp"} or character in "\t\r\n":
            visible.append(" ")
        elif character in _JOINERS or not category.startswith("C"):
            visible.append(character)
    return " ".join("".join(visible).split())


def _visible_length(text: str) -> int:
    """Return the number of visible characters, without spaces, joiners and marks, which need a letter to stand on."""
    return sum(unicodedata.category(c)[0] not in "ZCM" for c in text)


def read_prompt(text: str) -> str:
    """Return the cleaned prompt. Raises PromptEmptyError or PromptTooLongError."""
    prompt = clean_text(text)
    if _visible_length(prompt) < SHORTEST_PROMPT:
        raise PromptEmptyError(shortest=SHORTEST_PROMPT)
    if len(prompt) > LONGEST_PROMPT:
        raise PromptTooLongError(length=len(prompt), longest=LONGEST_PROMPT)
    return prompt


def read_task(text: str) -> str:
    """Return the cleaned task of a round. Raises TaskEmptyError."""
    task = clean_text(text)
    if _visible_length(task) < SHORTEST_PROMPT or len(task) > LONGEST_TASK:
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
