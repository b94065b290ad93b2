"""What may be asked for: prompts and tasks as they are read, quotas, durations."""

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
    """How much one member may ask for."""

    prompts_a_round: int
    waiting: int  # videos on their way at a time

    def check(self, *, asked: int, waiting: int) -> None:
        """Raises TooManyPromptsError or TooManyWaitingError."""
        if waiting >= self.waiting:
            raise TooManyWaitingError(waiting=waiting)
        if asked >= self.prompts_a_round:
            raise TooManyPromptsError(limit=self.prompts_a_round)


def clean_text(text: str) -> str:
    """The text as a reader sees it: composed, on one line, without control and invisible characters."""
    kept = []
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        if category in {"Zs", "Zl", "Zp"} or character in "\t\r\n":
            kept.append(" ")
        elif character in _JOINERS or not category.startswith("C"):
            kept.append(character)
    return " ".join("".join(kept).split())


def _visible(text: str) -> int:
    """How many characters can be seen: neither spaces, nor joiners, nor marks with nothing to stand on."""
    return sum(unicodedata.category(c)[0] not in "ZCM" for c in text)


def read_prompt(text: str) -> str:
    """The prompt, cleaned. Raises PromptEmptyError or PromptTooLongError."""
    prompt = clean_text(text)
    if _visible(prompt) < SHORTEST_PROMPT:
        raise PromptEmptyError(shortest=SHORTEST_PROMPT)
    if len(prompt) > LONGEST_PROMPT:
        raise PromptTooLongError(length=len(prompt), longest=LONGEST_PROMPT)
    return prompt


def read_task(text: str) -> str:
    """A round's task, cleaned. Raises TaskEmptyError."""
    task = clean_text(text)
    if _visible(task) < SHORTEST_PROMPT or len(task) > LONGEST_TASK:
        raise TaskEmptyError
    return task


def read_duration(text: str) -> int:
    """Seconds, from text such as `90m` or `1d 12h`. Raises DurationError."""
    text = text.strip()
    if not _DURATION.fullmatch(text):
        raise DurationError
    seconds = sum(int(n) * _UNITS[unit.lower()] for n, unit in re.findall(r"(\d+)([smhd])", text, re.IGNORECASE))
    if not SHORTEST_ROUND_S <= seconds <= LONGEST_ROUND_S:
        raise DurationError
    return seconds
