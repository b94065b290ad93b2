"""The common layout: quoted words are harmless, durations are rough, a note has its buttons."""

from __future__ import annotations

import pytest
from discord import ui

from bot.cards.layout import code, copyable, link, minutes, note, quote, seconds, sentence


@pytest.mark.parametrize("text", ["**bold**", "[a](https://b.c)", "<@1>", "@everyone", "# head", "`code`", "||x||"])
def test_quoted_words_are_only_words(text: str) -> None:
    """No markup, mention or link of a member's survives, and every character can still be read."""
    quoted = quote(text)
    assert f"\u2068{text}" not in quoted
    assert quoted.replace("\\", "").replace("\u200b", "").strip("\u2068\u2069") == text


def test_quoted_words_are_cut_with_an_ellipsis() -> None:
    assert quote("abcdef", 4) == "\u2068abc…\u2069"
    assert quote("abcd", 4) == "\u2068abcd\u2069"


@pytest.mark.parametrize("text", ["a\n# head", "a\r\n- list", "a\u2028-# small", "a\u2069\u202eb", "a\x1b[1mb"])
def test_quoted_words_begin_no_line_and_end_no_isolation(text: str) -> None:
    """A line break would make a heading of what follows, and the mark that ends our isolation would end it early."""
    quoted = quote(text)
    assert (quoted[:2], quoted[-1]) == ("\u2068a", "\u2069")
    for inner in (quoted[1:-1], sentence(text)):
        assert not set(inner) & set("\n\r\u2028\u2069\u202e\x1b")


def test_a_sentence_from_right_to_left_is_isolated() -> None:
    """It cannot turn what follows it; others are not touched, so that ours are found again in messages."""
    assert sentence("It was late… (HTTP 500)") == "It was late… (HTTP 500)"
    assert sentence("מאוחר") == "\u2068מאוחר\u2069"


def test_a_sentence_keeps_commands_and_channels_alone() -> None:
    """Our own sentences name them; whatever else a worker, a host or a node writes has no effect."""
    ours = "I can't post in <#123>. Choose another channel with `/setup`."
    permission = "Give me **Send Messages** and **Attach Files** there."
    assert sentence(permission) == permission
    assert "**" not in sentence("**Send messages](http://x)** **now** ** Send **")
    assert sentence(ours) == ours
    theirs = sentence("[Claim your prize](https://evil.example/login) @everyone **now** <@1> <#x> `a` `` ``")
    assert theirs == (
        r"\[Claim your prize\](https:§//evil.example/login) @§everyone \*\*now\*\* "
        r"\<@§1\> \<#x\> `a` \`\` \`\`"
    ).replace("§", "\u200b")


def test_a_sentence_has_a_limit() -> None:
    assert len(sentence("*" * 5000)) <= 300
    assert sentence("*" * 5000).endswith("…")


def test_an_address_cannot_end_its_link() -> None:
    assert link("Watch", "https://a.example/v.mp4?x=1&y=%20") == "[Watch](https://a.example/v.mp4?x=1&y=%20)"
    assert link("Watch", "https://a.example/) **free** [x](https://evil.example/\n") == (
        "[Watch](https://a.example/%29%20**free**%20%5Bx%5D%28https://evil.example/%0A)"
    )


@pytest.mark.parametrize("url", ["javascript:alert(1)", "discord://x", "", "a.mp4"])
def test_what_is_no_web_address_is_no_link(url: str) -> None:
    assert link("Watch", url) == "Watch"


def test_code_marks_hold_no_marks() -> None:
    assert code("a`b\n**c**", 40) == "abc"
    assert code("f" * 50, 40) == "f" * 40


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
