"""The file of known words, and the reading of prompts with a tokenizer that replaces words by others."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Encoding, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from generation.models.known_words import FILE, KnownWords, KnownWordsError, PromptReader, reader_of

GOOD = {
    "version": 1,
    "words": {"red": "colour", "ball": "shape", "rolls left": "motion", "snow-white": "colour"},
    "quiet": ["a", "ein"],
    "topics": "colours",
    "example": "a red ball",
}


def write(folder: Path, data: object) -> Path:
    (folder / FILE).write_text(data if isinstance(data, str) else json.dumps(data))
    return folder


def tokenizer_of(kind: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """A tokenizer that knows few pieces of words, and reads German and Japanese as English."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\brot(?:er)?\b"), "red"),
            normalizers.Replace(Regex("赤い?"), " red "),
            normalizers.Replace(Regex(r"rollt nach links|左に転がる"), " rolls left "),
        ]
    )
    tokenizer.pre_tokenizer = kind
    tokenizer.train_from_iterator(
        ["a red ball rolls left, snow-white"],
        trainers.BpeTrainer(show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())),
    )
    return tokenizer


KINDS = {
    "bytes": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "words": pre_tokenizers.Whitespace(),
    "metaspace": pre_tokenizers.Metaspace(),
}


@pytest.fixture(params=["bytes", "words"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> PromptReader:
    """A reader with a tokenizer of either kind."""
    known = KnownWords.of_model(write(tmp_path, GOOD))
    assert known is not None
    tokenizer = tokenizer_of(KINDS[request.param])

    def encode(text: str) -> Encoding:
        return tokenizer.encode(text, add_special_tokens=False)

    return PromptReader(known, encode)


@pytest.mark.parametrize(
    ("prompt", "known", "unknown"),
    [
        ("a red ball rolls left", ["red", "ball", "rolls left"], []),
        ("  A RED\tball,", ["RED", "ball"], []),
        ("ein roter Ball rollt nach links", ["roter", "Ball", "rollt nach links"], []),
        ("Rot: ball!", ["Rot", "ball"], []),
        ("赤いball 左に転がる", ["赤い", "ball", "左に転がる"], []),
        ("赤いcat", ["赤い"], ["cat"]),
        ("a snow-white cat", ["snow-white"], ["cat"]),
        ("a cat rolls away", [], ["cat", "rolls", "away"]),
        ("reddish balls", [], ["reddish", "balls"]),
        ("a, a ... 🎬!", [], []),
        ("", [], []),
    ],
)
def test_the_members_own_words_are_shown(
    reader: PromptReader, prompt: str, known: list[str], unknown: list[str]
) -> None:
    """Also those that the tokenizer reads as other words; quiet words and marks are neither known nor unknown."""
    for form in (prompt, unicodedata.normalize("NFD", prompt)):
        words = reader.read(form)
        compose = [[unicodedata.normalize("NFC", form[s:e]) for s, e in some] for some in (words.known, words.unknown)]
        assert compose == [known, unknown]
    assert (words.topics, words.example) == ("colours", "a red ball")


def test_a_long_prompt_has_places_in_order(reader: PromptReader) -> None:
    """At most 100 of either kind, which the bot accepts."""
    prompt = "red cat " * 200
    words = reader.read(prompt)
    assert len(words.known) == len(words.unknown) == 100
    assert type(words).from_json(words.to_json(), prompt) == words


def test_words_are_found_where_tokens_carry_their_space(tmp_path: Path) -> None:
    """As sentencepiece writes it."""
    tokenizer = tokenizer_of(KINDS["metaspace"])
    known = KnownWords.of_model(write(tmp_path, GOOD))
    assert known is not None
    prompt = "a red ball rolls left"
    words = PromptReader(known, lambda text: tokenizer.encode(text, add_special_tokens=False)).read(prompt)
    assert [prompt[start:end] for start, end in words.known] == ["red", "ball", "rolls left"]


def test_a_model_without_the_file_tells_nothing(tmp_path: Path) -> None:
    """And nothing is said about it."""
    assert KnownWords.of_model(tmp_path) is None
    assert reader_of(tmp_path, None) == (None, [])
    (tmp_path / FILE).mkdir()
    assert reader_of(tmp_path, None) == (None, [])


@pytest.mark.parametrize("tokenizer", [None, SimpleNamespace(is_fast=True), lambda text: text])
def test_a_tokenizer_without_places_is_named_to_the_operator(tmp_path: Path, tokenizer: object) -> None:
    reader, notes = reader_of(write(tmp_path, GOOD), tokenizer)
    assert reader is None
    assert notes == [f"{FILE} is not used: the model's tokenizer does not tell where a token stands."]


def test_a_tokenizer_that_fails_on_a_word_stops_no_model(tmp_path: Path) -> None:
    """The operator reads that the file is of no use; the model renders without it."""

    class Broken:
        is_fast = True

        def __call__(self, text: str, **_: object) -> object:
            raise TypeError(text)

    write(tmp_path, GOOD)
    reader, notes = reader_of(tmp_path, Broken())
    assert reader is None
    assert notes == [f"{FILE} is not used: the model's tokenizer cannot read it (TypeError)."]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "it cannot be read"),
        ("[" * 100_000, "it cannot be read"),
        ("[]", "is no JSON object"),
        ({**GOOD, "version": 2}, "of another version than 1"),
        ({**GOOD, "version": True}, "of the wrong type"),
        ({**GOOD, "version": None}, "of the wrong type"),
        ({**GOOD, "words": ["red"]}, "of the wrong type"),
        ({**GOOD, "words": {"red": 1}}, "of the wrong type"),
        ({**GOOD, "words": {}}, "needs 1 to 5,000 words"),
        ({**GOOD, "words": {str(number): "x" for number in range(5001)}}, "needs 1 to 5,000 words"),
        ({**GOOD, "words": {"": "colour"}}, "1 to 80 characters"),
        ({**GOOD, "words": {"x" * 81: "colour"}}, "1 to 80 characters"),
        ({**GOOD, "words": {"red": "x" * 81}}, "1 to 80 characters"),
        ({**GOOD, "quiet": [""]}, "1 to 80 characters"),
        ({**GOOD, "quiet": [7]}, "of the wrong type"),
        ({**GOOD, "topics": "x" * 101}, "over 100 characters"),
        ({**GOOD, "example": "x" * 101}, "over 100 characters"),
        ({**GOOD, "words": {"\ud800": "x"}}, "what is no text"),
        ({**GOOD, "topics": "a\udc00"}, "what is no text"),
        ({**GOOD, "quiet": ["a\0"]}, "what is no text"),
        ({**GOOD, "code": "import os"}, "has no field"),
        ('{"version": 1, "words": {"red": "' + "x" * (1 << 18) + '"}}', "more than 256 KiB"),
    ],
)
def test_a_hostile_file_is_not_used(tmp_path: Path, data: object, reason: str) -> None:
    """The operator reads why; the model renders without it."""
    with pytest.raises(KnownWordsError, match=reason):
        KnownWords.of_model(write(tmp_path, data))
    reader, notes = reader_of(tmp_path, SimpleNamespace(is_fast=True))
    assert reader is None
    assert len(notes) == 1
    assert FILE in notes[0]


def test_a_pipe_in_its_place_does_not_hold_the_worker_up(tmp_path: Path) -> None:
    """Only a regular file is opened."""
    os.mkfifo(tmp_path / FILE)
    assert KnownWords.of_model(tmp_path) is None
