"""The common layout: quoted words are harmless, durations are rough, a note has its buttons."""

from __future__ import annotations

import pytest
from discord import ui

from bot.cards.layout import copyable, minutes, note, quote, seconds


@pytest.mark.parametrize("text", ["**bold**", "[a](https://b.c)", "<@1>", "@everyone", "# head", "`code`", "||x||"])
def test_quoted_words_are_only_words(text: str) -> None:
    """No markup, mention or link of a member's survives, and every character can still be read."""
    quoted = quote(text)
    assert f"\u2068{text}" not in quoted
    assert quoted.replace("\\", "").replace("\u200b", "").strip("\u2068\u2069") == text


def test_quoted_words_are_cut_with_an_ellipsis() -> None:
    assert quote("abcdef", 4) == "\u2068abc…\u2069"
    assert quote("abcd", 4) == "\u2068abcd\u2069"


@pytest.mark.parametrize("text", ["**bold** <@1>", "a ``` b", "@everyone", "x" * 600, "🎬 " * 30 + "end"])
def test_words_can_be_copied_out_of_a_block_that_they_cannot_leave(text: str) -> None:
    block = copyable(text)
    inner = block.partition("```\n")[2].rpartition("\n```")[0]
    assert "```" not in inner
    assert inner.replace("\u200b", "") == text


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u202e"])
def test_what_nobody_can_see_needs_no_block(text: str) -> None:
    assert copyable(text) == ""


@pytest.mark.parametrize(
    ("value", "words"), [(0.2, "about 1 s"), (89, "about 89 s"), (120, "about 2 min"), (7200, "about 2 h")]
)
def test_durations_are_rough(value: float, words: str) -> None:
    assert seconds(value) == words


def test_one_minute_is_a_minute() -> None:
    assert minutes(5) == "about a minute"
    assert minutes(200) == "about 3 minutes"


def test_a_note_has_a_row_only_for_buttons() -> None:
    """Discord takes no empty row."""
    bare = note("hello").to_components()[0]
    assert [part["type"] for part in bare["components"]] == [10]
    pressed = note("hello", ui.Button(label="Go", custom_id="x")).to_components()[0]
    assert [part["type"] for part in pressed["components"]] == [10, 1]
