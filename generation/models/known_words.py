"""The words that a model knows: `known_words.json` in its folder, and how a prompt is read with the model's tokenizer.

Any model may have the file; docs/models.md describes it. It comes with weights that others made, and is not trusted.
Imports no torch.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from generation.prompt_words import MOST_PLACES, MOST_TEXT, PromptWords, is_text
from generation.strict_json import ShapeError, read_dataclass

FILE = "known_words.json"
VERSION = 1
MOST_BYTES = 1 << 18
MOST_WORDS = 5000
MOST_WORD = 80  # characters, of a word and of the attribute that it stands for
WORD_STARTS = "Ġ▁"  # with which tokens begin that have a space before them


class KnownWordsError(ValueError):
    """The file cannot be used; str() is a sentence for the operator, without any of the file's own text."""


class Encoding(Protocol):
    """A text in tokens, as `tokenizers` gives it: a place in the text for each, and the word that it is a part of."""

    @property
    def tokens(self) -> list[str]: ...

    @property
    def offsets(self) -> list[tuple[int, int]]: ...

    @property
    def word_ids(self) -> list[int | None]: ...


class Tokenizer(Protocol):
    """Turns a text into tokens."""

    def __call__(self, text: str) -> Encoding: ...


@dataclass(frozen=True)
class KnownWords:
    """The file's contents. A word may be several ("rolls left"); `quiet` words are shown neither as known nor not."""

    version: int
    words: dict[str, str]  # the attribute that each stands for
    quiet: list[str] = field(default_factory=list)
    topics: str = ""
    example: str = ""

    @classmethod
    def of_model(cls, folder: Path) -> Self | None:
        """Read the file of a model's folder; None where there is none. Raises KnownWordsError."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise KnownWordsError(f"{FILE} is not used: it has more than {MOST_BYTES >> 10} KiB.")
            known = read_dataclass(cls, json.loads(data))
        except ShapeError as error:
            raise KnownWordsError(f"{FILE} is not used. {error}") from None
        except KnownWordsError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise KnownWordsError(f"{FILE} is not used: it cannot be read ({type(error).__name__}).") from None
        known._check()
        return known

    def _check(self) -> None:
        if self.version != VERSION:
            raise KnownWordsError(f"{FILE} is not used: it is of another version than {VERSION}.")
        if not self.words or len(self.words) + len(self.quiet) > MOST_WORDS:
            raise KnownWordsError(f"{FILE} is not used: it needs 1 to {MOST_WORDS:,} words.")
        if not all(0 < len(text) <= MOST_WORD for text in (*self.words, *self.words.values(), *self.quiet)):
            raise KnownWordsError(f"{FILE} is not used: a word has 1 to {MOST_WORD} characters.")
        texts = (*self.words, *self.words.values(), *self.quiet, self.topics, self.example)
        if not all(is_text(text) for text in texts):
            raise KnownWordsError(f"{FILE} is not used: it holds what is no text.")
        if max(len(self.topics), len(self.example)) > MOST_TEXT:
            raise KnownWordsError(f"{FILE} is not used: its topics or its example have over {MOST_TEXT} characters.")


class PromptReader:
    """Finds the known words of prompts. Words are compared as the tokenizer has them after its own normalization."""

    def __init__(self, known: KnownWords, tokenizer: Tokenizer) -> None:
        """Read each known word with the model's own tokenizer."""
        self._known = known
        self._tokenizer = tokenizer
        phrases = (tuple(word for word, _, _ in _words_of(tokenizer(text))) for text in known.words)
        self._phrases = frozenset(phrases) - {()}
        self._longest = max(map(len, self._phrases), default=0)
        self._quiet = frozenset(word for text in known.quiet for word, _, _ in _words_of(tokenizer(text)))

    def read(self, prompt: str) -> PromptWords:
        """Return the places of the prompt's known and unknown words."""
        known: list[list[int]] = []
        unknown: list[list[int]] = []
        for start, end, is_known in self._parts(prompt):
            if is_known is None:
                continue
            while start < end and not _is_of_word(prompt[start]):
                start += 1
            while start < end and not _is_of_word(prompt[end - 1]):
                end -= 1
            if start < end:
                (known if is_known else unknown).append([start, end])
        return PromptWords(known[:MOST_PLACES], unknown[:MOST_PLACES], self._known.topics, self._known.example)

    def _parts(self, prompt: str) -> list[tuple[int, int, bool | None]]:
        """Return the prompt's parts: start, end, and True for a known one, None for a quiet word.

        A word that a tokenizer replaces by two is one part still.
        """
        words = _words_of(self._tokenizer(prompt))
        parts: list[tuple[int, int, bool | None]] = []
        at = 0
        while at < len(words):
            count = self._count_known(words, at)
            taken = words[at : at + max(1, count)]
            start, end = taken[0][1], max(end for _, _, end in taken)
            at += len(taken)
            is_known = True if count else None if taken[0][0] in self._quiet else False
            if parts and end <= parts[-1][1]:
                first, last, was_known = parts.pop()
                parts.append((first, last, was_known or is_known))
            else:
                parts.append((start, end, is_known))
        return parts

    def _count_known(self, words: Sequence[tuple[str, int, int]], at: int) -> int:
        """Return the number of words of the longest known phrase that begins here."""
        for count in range(min(self._longest, len(words) - at), 0, -1):
            if tuple(word for word, _, _ in words[at : at + count]) in self._phrases:
                return count
        return 0


def reader_of(folder: Path, tokenizer: object) -> tuple[PromptReader | None, list[str]]:
    """Return the reader of a loaded model's prompts, where it can have one, and a sentence where its file is no use."""
    try:
        known = KnownWords.of_model(folder)
        if known is None:
            return None, []
        if not callable(tokenizer) or not getattr(tokenizer, "is_fast", False):
            raise KnownWordsError(f"{FILE} is not used: the model's tokenizer does not tell where a token stands.")
        return PromptReader(known, lambda text: tokenizer(text, add_special_tokens=False).encodings[0]), []
    except KnownWordsError as error:
        return None, [str(error)]
    except Exception as error:  # whatever a tokenizer raises: no model fails for the want of this
        return None, [f"{FILE} is not used: the model's tokenizer cannot read it ({type(error).__name__})."]


def _is_of_word(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter)[0] == "M"  # an accent may be a letter's own mark


def _words_of(encoding: Encoding) -> list[tuple[str, int, int]]:
    """Return the words of a text after its normalization, with their places in the text before it.

    A word begins where the one before ends: a tokenizer keeps only the place of the last letter of what it replaced,
    and a space that it has put in may have a place within the word before.
    """
    words: list[tuple[str, int, int]] = []
    last_id: int | None = None
    for token, (_, end), word_id in zip(encoding.tokens, encoding.offsets, encoding.word_ids, strict=True):
        if word_id is None:  # a special token
            continue
        piece = token.lstrip(WORD_STARTS).removeprefix("##").removesuffix("</w>")
        if words and word_id == last_id and token[:1] not in WORD_STARTS:
            word, first, last = words[-1]
            words[-1] = (word + piece, first, max(last, end))
        else:
            before = max((last for _, _, last in words), default=0)
            words.append((piece, before, max(before, end)))
        last_id = word_id
    return [word for word in words if word[0]]
