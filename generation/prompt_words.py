"""The words of a prompt that a model knows, as places in the prompt: worker to bot, in the row of a job's progress.

The bot takes the words themselves from its own prompt, so that a worker can put none of its own before members, but
for the two short texts about the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

from generation.strict_json import JsonObject, ShapeError, read_dataclass

MOST_PLACES = 100  # of either kind
MOST_TEXT = 100  # characters


@dataclass(frozen=True)
class PromptWords:
    """The places of the known and of the unknown words: start and end, in characters of the prompt, in order."""

    known: list[list[int]] = field(default_factory=list)
    unknown: list[list[int]] = field(default_factory=list)
    topics: str = ""  # of all that the model knows: "colours, shapes and motions"
    example: str = ""  # a prompt that it knows

    def to_json(self) -> JsonObject:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object, prompt: str) -> Self:
        """Read what a worker wrote about this prompt. Raises ShapeError."""
        words = read_dataclass(cls, data)
        for places in (words.known, words.unknown):
            _check(places, len(prompt))
        if max(len(words.topics), len(words.example)) > MOST_TEXT:
            raise ShapeError("PromptWords has too long a text.")
        if not (is_text(words.topics) and is_text(words.example)):
            raise ShapeError("PromptWords has a text that is none.")
        return words


def is_text(text: str) -> bool:
    """Return False for a string with half a character or a NUL, which neither Discord nor a database takes."""
    return not any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in text)


def _check(places: Sequence[Sequence[int]], length: int) -> None:
    """Raise ShapeError unless the places lie in the prompt, one behind the other."""
    if len(places) > MOST_PLACES:
        raise ShapeError("PromptWords has too many places.")
    end = 0
    for place in places:
        if len(place) != 2 or not end <= place[0] < place[1] <= length:
            raise ShapeError("PromptWords has a place that is none of the prompt's.")
        end = place[1]
