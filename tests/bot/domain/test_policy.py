"""What may be asked for, tried as a hostile member would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards import layout
from bot.domain.errors import DurationError, MemberError, PromptEmptyError, PromptTooLongError, TaskEmptyError
from bot.domain.policy import LONGEST_PROMPT, clean_text, read_duration, read_prompt, read_task, visible_length


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "\u200b" * 50,
        "\u202e\u202d",
        "\ufeff\x00\x07",
        "a",
        "\n\t\n",
        "\u0301\u0301\u0301",
        "\u200d\u200d\u200d",
        "\u3164\uffa0\u115f\u1160",
        "\u2800\u2800\u2800",
        "\ufe0f\U000e0100\u180b",
        "\U000e0041\U000e0042\U000e0043",
        "ab\u3164\u2800",
    ],
)
def test_a_prompt_that_shows_nothing_is_refused(text: str) -> None:
    """Empty, blank, zero-width and control characters are no prompt."""
    with pytest.raises(PromptEmptyError, match="at least 3"):
        read_prompt(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a red circle", "a red circle"),
        ("  two \n lines\t", "two lines"),
        ("cat\u200b\u202e gnp.exe", "cat gnp.exe"),
        ("👩\u200d🚀 floats in space", "👩\u200d🚀 floats in space"),
        ("قطة تركب الأمواج", "قطة تركب الأمواج"),
        ("cafe\u0301 at night", "café at night"),
        ("cafe\u200b\u0301 at night", "café at night"),
        ("red\u3164\ufe0f\ufe0f ball", "red\ufe0f ball"),
        ("⠓⠊⠲", "⠓⠊⠲"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_a_prompt_is_read_as_it_is_seen(text: str, read: str) -> None:
    """Emoji and every script pass; what is invisible is dropped."""
    assert read_prompt(text) == read


def test_a_prompt_has_a_greatest_length() -> None:
    """500 characters pass, 501 and 4,000 do not, and the sentence says how many there are."""
    assert len(read_prompt("x" * LONGEST_PROMPT)) == LONGEST_PROMPT
    with pytest.raises(PromptTooLongError, match="501 characters"):
        read_prompt("x" * 501)
    with pytest.raises(PromptTooLongError, match="4000 characters"):
        read_prompt("y" * 4000)


@given(st.text(max_size=600))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    """No input makes an error that is not a sentence, and what passes is stable under a second reading."""
    try:
        prompt = read_prompt(text)
    except MemberError as error:
        assert error.sentence.endswith(".")
        return
    assert read_prompt(prompt) == prompt
    assert "\n" not in prompt


@given(st.text(alphabet="\u3164\u2800\u200d\ufe0f\u0301\U000e0041\u034f\ufffc a😀", max_size=30))
def test_what_hides_is_kept_only_behind_what_shows(text: str) -> None:
    """Joiners and variation selectors stay singly, other ignorable characters never, and nothing stays alone."""
    clean = clean_text(text)
    assert bool(clean) == (visible_length(text) > 0)
    assert not {"\u3164", "\u034f", "\U000e0041"} & set(clean)
    assert not clean.startswith(("\u200d", "\ufe0f"))
    assert "\u200d\u200d" not in clean
    assert "\ufe0f\ufe0f" not in clean


@given(st.text(max_size=300))
def test_quoted_words_cannot_mention_or_link(text: str) -> None:
    """In a card, a prompt shows as text: no mention, no address, no markup."""
    quoted = layout.quote(clean_text(text))
    assert "@everyone" not in quoted
    assert "://" not in quoted
    assert quoted.startswith("\u2068")
    assert quoted.endswith("\u2069")


@pytest.mark.parametrize("text", ["@everyone look", "<@123456789012345678> hi", "[click](https://evil.example)"])
def test_quoting_defuses(text: str) -> None:
    """Mentions and masked links become plain characters."""
    quoted = layout.quote(text)
    assert "<@" not in quoted.replace("\\<", "")
    assert "](" not in quoted.replace("\\]", "").replace("\\(", "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("1m", 60), ("90m", 5400), ("12h", 43200), ("3d", 259200), ("1d 12h", 129600), ("2H", 7200)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    """Minutes, hours and days, alone or together."""
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "12", "-5m", "1.5h", "59s", "31d", "9" * 30 + "d", "1h; drop", "٣d ago"])
def test_other_durations_are_refused(text: str) -> None:
    """What cannot be read, or is out of bounds, gets the sentence that says how to write it."""
    with pytest.raises(DurationError, match="30m"):
        read_duration(text)


def test_a_task_must_say_something() -> None:
    """A round's task has 3 to 200 visible characters."""
    assert read_task(" a lighthouse ") == "a lighthouse"
    for text in ("", "\u200b\u200b\u200b\u200b", "x" * 201):
        with pytest.raises(TaskEmptyError):
            read_task(text)
