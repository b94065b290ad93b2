"""The line about the words that a model knows: the member's own words, without markup or mentions."""

from __future__ import annotations

import pytest

from bot.cards.limits import length
from bot.cards.prompt_words import words_line
from generation.jobs import Progress
from generation.prompt_words import PromptWords

EXAMPLE = {"topics": "colours, shapes and motions", "example": "a red ball rolls left"}


def line_of(prompt: str, known: list[str], unknown: list[str]) -> str:
    """The line, without the marks that isolate words."""
    places = [[[prompt.index(word), prompt.index(word) + len(word)] for word in words] for words in (known, unknown)]
    words = PromptWords(places[0], places[1], **EXAMPLE).to_json()
    return words_line(prompt, Progress("denoising", 0, 9, None, words)).replace("\u2068", "").replace("\u2069", "")


def test_known_words_are_bold_and_the_others_small() -> None:
    assert line_of("a red ball rolls left", ["red", "ball", "rolls left"], []) == (
        "I know: **red** · **ball** · **rolls left**\n"
    )
    assert (
        line_of("a red cat surfing", ["red"], ["cat", "surfing"]) == "I know: **red**\n-# I don't know: cat · surfing\n"
    )


def test_a_prompt_without_a_known_word_gets_one_that_works() -> None:
    """In one friendly sentence; no list of what is unknown."""
    assert line_of("a cat surfing", [], ["cat", "surfing"]) == (
        "I don't know any of these words, so this will be a surprise. "
        "I know colours, shapes and motions: try “a red ball rolls left”.\n"
    )
    assert line_of("!!", [], []).startswith("This will be a surprise. I know colours")


def test_without_an_example_there_is_none() -> None:
    """A model need not have one."""
    words = PromptWords([], [[0, 3]]).to_json()
    assert words_line("cat", Progress("denoising", 0, 9, None, words)) == (
        "I don't know any of these words, so this will be a surprise.\n"
    )
    assert words_line("cat", Progress("denoising", 0, 9, None, PromptWords().to_json())) == ""


@pytest.mark.parametrize("words", [None, [], {"known": [[0, 99]]}, {"known": [[0, 1]], "say": "@everyone"}, "x"])
def test_nothing_is_shown_where_the_worker_wrote_nothing_usable(words: object) -> None:
    """An older worker, a model that does not tell, or a row that anybody made up."""
    assert words_line("a red ball", Progress("denoising", 0, 9, None, words)) == ""  # type: ignore[arg-type]  # on purpose
    assert words_line("a red ball", None) == ""


def test_markup_and_mentions_stay_text() -> None:
    """Of the prompt, and of the model's own texts."""
    assert line_of("**red** @everyone <@5>", ["**red**"], ["@everyone", "<@5>"]) == (
        "I know: **\\*\\*red\\*\\***\n-# I don't know: @\u200beveryone · \\<@\u200b5\\>\n"
    )
    words = PromptWords([], [[0, 3]], "@here", "[x](https://evil.example)").to_json()
    line = words_line("cat", Progress("denoising", 0, 9, None, words))
    assert "@here" not in line
    assert "://" not in line
    assert "[x]" not in line.replace("\\[", "").replace("\\]", "")


def test_a_word_is_shown_once_on_one_line() -> None:
    prompt = "Red red RED\nball"
    words = PromptWords([[0, 3], [4, 7], [8, 16]], []).to_json()
    line = words_line(prompt, Progress("denoising", 0, 9, None, words))
    assert line.count("\n") == 1
    assert line.casefold().count("red") == 2


def test_a_long_prompt_fits() -> None:
    """At most so many words, and the rest is an ellipsis."""
    prompt = " ".join(f"{number}*@*@*" for number in range(100, 160))[:500]
    places, at = [], 0
    for word in prompt.split():
        places.append([at, at + len(word)])
        at += len(word) + 1
    half = len(places) // 2
    words = PromptWords(places[:half], places[half:], **EXAMPLE).to_json()
    line = words_line(prompt, Progress("denoising", 0, 9, None, words))
    assert line.count("…") == 2
    assert length(line) < 1500
    whole = PromptWords([[0, 500]], []).to_json()
    assert length(words_line("😀" * 500, Progress("denoising", 0, 9, None, whole))) < 200
