"""Words of other languages: each becomes its English word in the tokenizer, and English prompts stay as they are."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from generation.tiny.training import captions, languages, world

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer

ENGLISH = Path(__file__).with_name("english.txt").read_text(encoding="utf-8").splitlines()
# A motion's words: those of the verbs that alone tell it.
MOTIONS = {
    "right": ("right",), "left": ("left",), "up": ("rises", "upwards"), "down": ("falls", "downwards"),
    "jump": ("jumps", "dances", "up and down"), "spin": ("spins", "turns around"), "grow": ("grows",),
    "shrink": ("shrinks",),
}  # fmt: skip
TABLES = {
    "colour": captions.COLOUR_WORDS,
    "shape": captions.SHAPE_WORDS,
    "motion": MOTIONS,
    "background": captions.PLACES,
}
CASES = [(text, facts) for examples in languages.EXAMPLES.values() for text, facts in examples]


@pytest.fixture(scope="module")
def english() -> Normalizer:
    """The normalizer of the tokenizer."""
    return languages.normalizer()


def values(text: str, table: dict[str, tuple[str, ...]]) -> set[str]:
    """Return the values of an attribute that an English text names."""
    return {name for name, words in table.items() if any(re.search(rf"(?<!\w){word}(?!\w)", text) for word in words)}


@pytest.mark.parametrize(("text", "facts"), CASES, ids=[text for text, _ in CASES])
def test_a_prompt_of_another_language_names_its_attributes_in_english(
    english: Normalizer, text: str, facts: dict[str, str]
) -> None:
    """Each attribute by one of the captions' words, and no other value of colour, shape or motion."""
    for form in (text, unicodedata.normalize("NFD", text), text.upper()):
        prompt = english.normalize_str(form)
        for attribute, value in facts.items():
            assert value in values(prompt, TABLES[attribute]), prompt
        for attribute in ("colour", "shape"):
            without_places = prompt
            for word in sorted((word for words in captions.PLACES.values() for word in words), key=len, reverse=True):
                without_places = without_places.replace(word, "")
            assert values(without_places, TABLES[attribute]) == {facts[attribute]}, prompt
        assert len(values(prompt, MOTIONS) & {"left", "right"} | {facts["motion"]}) == 1 or facts["motion"] == "jump"


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_each_language_has_examples_of_every_shape_and_motion(language: str) -> None:
    """At least twelve, with all motions, all shapes, and particles that stay in the text."""
    examples = [facts for _, facts in languages.EXAMPLES[language]]
    assert len(examples) >= 12
    assert {facts["motion"] for facts in examples} == set(world.MOTIONS)
    assert {facts["shape"] for facts in examples} == set(world.SHAPES)
    assert len(languages.PARTICLES[language]) >= 25


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_a_particle_becomes_no_english_word(english: Normalizer, language: str) -> None:
    """They are meaningless words, with which the encoder is trained."""
    for word in languages.PARTICLES[language]:
        prompt = english.normalize_str(word)
        assert prompt == unicodedata.normalize("NFKC", word).lower()


def test_every_rule_writes_words_that_captions_use() -> None:
    """The encoder learns no others."""
    known = " ".join(captions.corpus())
    assert not [word for word in languages.english_words() if not re.search(rf"\b{word}\b", known)]


def test_english_prompts_are_unchanged(english: Normalizer) -> None:
    """Ordinary sentences, among them those with words that other languages have too."""
    assert len(set(ENGLISH)) >= 200
    assert [text for text in ENGLISH if english.normalize_str(text) != text.lower()] == []


def test_english_captions_are_unchanged(english: Normalizer) -> None:
    """All that the model is trained with, and the held-out patterns."""
    dice = np.random.default_rng(3)
    texts = [
        captions.write(world.random_scene(dice), dice, unseen=unseen).text
        for unseen in (True, False)
        for _ in range(200)
    ]
    texts = [text for text in texts if text.isascii()]
    assert [text for text in texts if english.normalize_str(text) != text.lower()] == []


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("brain rot", "brain rot"),
        ("ein Herz in Rot", "ein heart in red"),
        ("the sun rose over the stern of the ship", "the sun rose over the stern of the ship"),
        ("un cœur rose", "un heart pink"),
        ("a triangle rose into the sky", "a triangle rose into the sky"),
        ("film noir with grand pianos", "film noir with grand pianos"),
        ("un carré noir", "un square black"),
        ("赤ちゃんが笑う", "赤ちゃんが笑う"),
        ("Ball, ROT-weiss, der rollt", "ball, red-white, der rolls"),
        ("ｒｅｄ ball", "red ball"),
        ("공원의 공룡", "in the park 공룡"),
    ],
)
def test_a_word_of_two_languages_is_read_by_its_neighbours(english: Normalizer, text: str, prompt: str) -> None:
    """An English word changes only where the rest of the prompt is of the other language."""
    assert english.normalize_str(text) == prompt
