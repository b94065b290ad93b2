"""The readings of characters: a look-alike is read as its letter, and letters of other scripts stay what they are."""

from __future__ import annotations

import unicodedata

import pytest

from bot.prompt_filter.confusables import bare, in_spaced_word, in_word, joins, plain, readings, spelled, unspaced


def test_bare_keeps_letters_of_other_scripts() -> None:
    assert bare("हिन्दी") == unicodedata.normalize("NFKC", "हिन्दी")
    assert bare("が") == "が"


@pytest.mark.parametrize(
    ("character", "letter"),
    [("а", "a"), ("Ａ", "a"), ("ⓐ", "a"), ("4", "a"), ("@", "a"), ("ᴀ", "a"), ("🇦", "a"), ("🅰", "a"), ("𝒂", "a")],
)
def test_a_look_alike_is_read_as_its_letter(character: str, letter: str) -> None:
    """Of another script, width or ornament, or a sign that stands for it."""
    assert any(letter in readings(form) for form in bare(character))


def test_another_letter_is_not() -> None:
    """A letter is itself alone: nothing makes a b of an a."""
    assert readings("a") == {"a"}
    assert "b" not in readings("а")
    assert readings("5") == {"5", "s"}


def test_text_is_read_in_plain_letters() -> None:
    """Marks and what is not seen are gone; ß is the two letters that another case writes."""
    assert plain("Kıb\u200bb\u0336lé") == "kibble"
    assert spelled("ß") == ["s", "s"]
    assert bare("a\u200d\ufe0fb") == "ab"
    assert bare("k\u3164i\u2800t\U000e0041t\u034fen") == "kitten"


def test_words_and_what_stands_between_them() -> None:
    """A dash may disguise a word from within, an apostrophe and a comma never do."""
    assert all(in_word(character) for character in "a1आ")
    assert not any(in_word(character) for character in " .,!")
    assert not in_spaced_word("—")
    assert all(joins(character) for character in "-_.*")
    assert not any(joins(character) for character in "',/a ")


def test_scripts_without_spaces_are_known() -> None:
    """One letter of one is enough; Latin and Cyrillic have spaces."""
    assert unspaced("a 猫")
    assert unspaced("แมว")
    assert not unspaced("a cat, кошка")
