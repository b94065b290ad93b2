"""The line about a prompt's words that the model knows, for the messages about its video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bot.cards.layout import quote
from generation.jobs import Progress
from generation.prompt_words import PromptWords
from generation.strict_json import ShapeError

MOST_KNOWN, MOST_UNKNOWN = 12, 8  # words that are shown
MOST_WORD = 40  # characters of one


def words_line(prompt: str, progress: Progress | None) -> str:
    """Return the line with its line break: the known words in bold, the others small and grey below them.

    Empty where the model does not tell, the worker is of an older release, or it wrote what cannot be read.
    """
    if progress is None or progress.words is None:
        return ""
    try:
        words = PromptWords.from_json(progress.words, prompt)
    except ShapeError:
        return ""
    known, unknown = _shown(prompt, words.known, MOST_KNOWN), _shown(prompt, words.unknown, MOST_UNKNOWN)
    if known:
        line = f"I know: {' · '.join(f'**{word}**' for word in known)}\n"
        return line + (f"-# I don't know: {' · '.join(unknown)}\n" if unknown else "")
    if not words.example:
        return "I don't know any of these words, so this will be a surprise.\n" if unknown else ""
    topics = f"I know {quote(words.topics)}: try" if words.topics else "Try"
    start = "I don't know any of these words, so this will be a surprise." if unknown else "This will be a surprise."
    return f"{start} {topics} “{quote(words.example)}”.\n"


def _shown(prompt: str, places: Sequence[Sequence[int]], most: int) -> list[str]:
    """Return the words at these places, each once, without markup; an ellipsis stands for those beyond `most`."""
    words = list(_unique(prompt, places))
    return [quote(word, MOST_WORD) for word in words[:most]] + (["…"] if len(words) > most else [])


def _unique(prompt: str, places: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield the words as they stand in the prompt, without one that stood before in other letters."""
    seen: set[str] = set()
    for start, end in places:
        word = " ".join(prompt[start:end].split())
        if word and word.casefold() not in seen:
            seen.add(word.casefold())
            yield word
