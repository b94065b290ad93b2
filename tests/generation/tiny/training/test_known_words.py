"""The tiny model's file of known words: what its captions say, read with its own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from generation.models.known_words import FILE, KnownWords, PromptReader, reader_of
from generation.tiny.make import WEIGHTS
from generation.tiny.training import captions, languages, text, world
from generation.tiny.training.known_words import write_known_words


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> PromptReader:
    """A reader with the tokenizer as a saved pipeline has it."""
    folder = tmp_path_factory.mktemp("model")
    write_known_words(folder)
    text.build_tokenizer().save_pretrained(folder / "tokenizer")
    from transformers import AutoTokenizer

    reader, notes = reader_of(folder, AutoTokenizer.from_pretrained(folder / "tokenizer"))
    assert reader is not None
    assert notes == []
    return reader


def words(reader: PromptReader, prompt: str) -> tuple[list[str], list[str]]:
    """Return the known and the unknown words, as they stand in the prompt."""
    read = reader.read(prompt)
    known, unknown = ([prompt[start:end] for start, end in places] for places in (read.known, read.unknown))
    return known, unknown


def test_the_file_is_one_that_a_worker_uses(tmp_path: Path) -> None:
    """Every word of the captions, and the example of a prompt that works."""
    write_known_words(tmp_path)
    known = KnownWords.of_model(tmp_path)
    assert known is not None
    assert {"red", "rolls left", "in the rain", "tiny", "slowly"} <= set(known.words)
    assert {"the", "und", "が"} <= set(known.quiet)
    assert not set(known.words) & set(known.quiet)
    assert (tmp_path / FILE).stat().st_size < 100_000


def test_the_committed_model_has_the_words_of_this_code(tmp_path: Path) -> None:
    """A caption or a lexicon that changes without a new training would promise what the model has not learned."""
    write_known_words(tmp_path)
    assert (WEIGHTS / FILE).read_bytes() == (tmp_path / FILE).read_bytes()
    text.build_tokenizer().save_pretrained(tmp_path)
    committed, built = (
        json.loads((folder / "tokenizer.json").read_text()) for folder in (WEIGHTS / "tokenizer", tmp_path)
    )
    assert committed == built


@pytest.mark.parametrize(
    ("prompt", "known", "unknown"),
    [
        ("a red ball rolls left", ["red", "ball", "rolls left"], []),
        ("Ein roter Ball rollt nach links", ["roter", "Ball", "rollt nach links"], []),
        ("赤いボールが左に転がる", ["赤い", "ボール", "左に転がる"], []),
        ("빨간 공이 왼쪽으로 굴러간다", ["빨간", "공이", "왼쪽으로 굴러간다"], []),
        ("红色的球向左滚动", ["红色", "球", "向左滚动"], []),
        ("a red cat surfing", ["red"], ["cat", "surfing"]),
        ("a cat surfing", [], ["cat", "surfing"]),
        ("赤い猫が左に転がる", ["赤い", "左に転がる"], ["猫が"]),
        ("rotes Auto, roter Ball", ["rotes", "roter", "Ball"], ["Auto"]),
        ("кот на доске", [], ["кот", "доске"]),
    ],
)
def test_a_member_reads_their_own_words(
    reader: PromptReader, prompt: str, known: list[str], unknown: list[str]
) -> None:
    """In each language; an English article is neither known nor unknown."""
    assert words(reader, prompt) == (known, unknown)


def test_the_example_is_known_to_the_last_word(reader: PromptReader) -> None:
    """It is shown to those who wrote none that is."""
    example = reader.read("a cat").example
    assert words(reader, example)[1] == []


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_each_example_of_each_language_names_enough(reader: PromptReader, language: str) -> None:
    """Three known words or more, of colour, shape and motion."""
    for prompt, _ in languages.EXAMPLES[language]:
        assert len(words(reader, prompt)[0]) >= 3, prompt


def test_a_caption_of_all_attributes_is_known(reader: PromptReader) -> None:
    """Colour, shape and motion of every caption that the model is trained with."""
    dice = np.random.default_rng(5)
    for _ in range(200):
        caption = captions.write(world.random_scene(dice), dice, full=True)
        assert len(words(reader, caption.text)[0]) >= 3, caption.text
