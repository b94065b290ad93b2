"""A vote: its choice, by emoji and by number."""

from __future__ import annotations

import pytest

from bot.domain.votes import Choice, Tally, choice_of_emoji


@pytest.mark.parametrize(
    ("emoji", "choice"),
    [("👍", Choice.UP), ("👍🏽", Choice.UP), ("👎", Choice.DOWN), ("👎🏿", Choice.DOWN), ("🎬", None), ("", None)],
)
def test_a_reaction_is_a_choice_whatever_its_skin_tone(emoji: str, choice: Choice | None) -> None:
    assert choice_of_emoji(emoji) is choice


def test_choices_have_the_ledgers_numbers() -> None:
    """They are written to it as they are."""
    assert [int(choice) for choice in (Choice.WITHDRAWN, Choice.UP, Choice.DOWN)] == [0, 1, 2]
    assert {choice.emoji for choice in Choice} == {"↩️", "👍", "👎"}


def test_a_score_is_ups_less_downs() -> None:
    assert Tally(3, 5).score == -2
