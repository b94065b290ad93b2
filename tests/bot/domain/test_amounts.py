"""Amounts in words."""

from __future__ import annotations

import pytest

from bot.domain.amounts import amount


@pytest.mark.parametrize(
    ("count", "noun", "plural", "words"),
    [
        (0, "video", None, "0 videos"),
        (1, "video", None, "1 video"),
        (2, "video", None, "2 videos"),
        (1200, "video", None, "1,200 videos"),
        (1, "entry", "entries", "1 entry"),
        (3, "entry", "entries", "3 entries"),
    ],
)
def test_a_number_has_its_noun_in_the_right_form(count: int, noun: str, plural: str | None, words: str) -> None:
    assert amount(count, noun, plural) == words
