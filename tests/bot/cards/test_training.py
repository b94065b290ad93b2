"""What members read about training: what is used, how to end it, and what cannot be undone."""

from __future__ import annotations

import pytest

from bot.cards import training
from bot.domain.training import TrainingState
from migrations.states.community import TrainingChoice
from tests.bot.cards.test_results import text_of


@pytest.mark.parametrize("view", [training.notice(), training.opted_out()], ids=["notice", "opted out"])
def test_nobody_is_promised_what_cannot_be_done(view: object) -> None:
    """Both say that what is out is out."""
    assert "What was exported before cannot be called back." in text_of(view)


def test_the_notice_says_what_is_used_and_what_is_not() -> None:
    """Prompts, votes, feedback; never messages; and the command that ends it."""
    text = text_of(training.notice())
    for words in ("prompts", "votes", "feedback", "your messages are never read", "`/training opt-out`"):
        assert words in text


def test_each_state_has_its_sentence_and_the_command_that_changes_it() -> None:
    read, out = TrainingState(True), TrainingState(True, TrainingChoice.OUT)
    assert "`/training opt-out`" in training.state_line(read)
    assert "`/training opt-in`" in training.state_line(out)
    assert "opted out" not in training.state_line(read)
    assert "Nothing of yours is used for training yet" in training.state_line(TrainingState())
    assert "`/training opt-out`" in text_of(training.opted_in())
