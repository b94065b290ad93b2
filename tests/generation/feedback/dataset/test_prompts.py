"""Prompts that mean the same are one prompt, and stay in one split for ever."""

from __future__ import annotations

import pytest

from generation.feedback.dataset.prompts import names_member, normalised, prompt_id, split_of, without_members


@pytest.mark.parametrize(
    "near", ["A RED BALL!", "the red  ball.", "a red\nball", "\u201ca red ball\u201d", "ａ ｒｅｄ ｂａｌｌ"]
)
def test_near_duplicates_are_one_prompt(near: str) -> None:
    """Case, articles, punctuation, spaces and wide letters make no difference."""
    assert prompt_id(near) == prompt_id("a red ball")
    assert split_of(near) == split_of("a red ball")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a red ball", "a blue ball"),
        ("a ball left of a star", "a star left of a ball"),
        ("कि", "का"),
        ("🔥", "🌊"),
        ("a", "the"),
    ],
)
def test_other_prompts_are_not(one: str, other: str) -> None:
    """Other words, another order, marks of Indian scripts, emoji, and articles that are all there is."""
    assert prompt_id(one) != prompt_id(other)
    assert normalised(one)


def test_the_split_is_a_tenth_and_fixed() -> None:
    """A prompt that was held out is held out by every release: these two are written down."""
    assert split_of("a red ball") == "train"
    assert [number for number in range(40) if split_of(f"prompt {number}") == "test"] == HELD_OUT
    share = sum(split_of(f"another prompt {number}") == "test" for number in range(5000)) / 5000
    assert 0.08 < share < 0.12


HELD_OUT = [1, 7, 9, 21, 25, 26, 33]


def test_mentions_of_members_are_seen() -> None:
    """In each form that Discord writes; an ordinary @ is a sign like others."""
    for mention in ("<@123>", "<@!123>", "<@&9>"):
        assert names_member(f"{mention} as a hero")
        assert without_members(f"{mention} is late") == "[member] is late"
    for plain in ("@ the beach", "2 <3 @", "<@>"):
        assert not names_member(plain)
        assert without_members(plain) == plain
