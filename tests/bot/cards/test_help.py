"""The answer to `/help` says what a member can do now, and names no command that they may not use."""

from __future__ import annotations

from typing import Any

import pytest

from bot.cards.help import examples, help_card
from bot.domain.rounds import Round
from generation.tiny.training.captions import corpus
from tests.bot.cards.test_results import text_of
from tests.bot.cards.test_rounds import round_of


def help_text(round_: Round | None, **changes: Any) -> str:
    about: dict[str, Any] = {"is_set_up": True, "is_moderator": False, "model_id": "tiny", "now_ms": 5_000}
    return text_of(help_card(round_, **{**about, **changes}))


def a_round(**changes: Any) -> Any:
    made: Any = round_of(guild_id=1, channel_id=2, announcement_id=4, result_message_id=3, **changes)
    made.accepts_votes = lambda now_ms: made.status == "open" and now_ms < made.closes_at_ms
    return made


def test_an_open_round_is_named_with_its_thread_its_end_and_prompts_that_work() -> None:
    text = help_text(a_round())
    assert "Round 5 is open: **\u2068weather\u2069**. It closes <t:7:R>." in text
    assert "in <#9>." in text
    for example in examples("tiny"):
        assert f"`/prompt text:{example}`" in text
    assert "lighthouse" not in text
    assert "`/prompt text:a lighthouse" in help_text(a_round(), model_id="wan")


def test_the_examples_for_the_tiny_model_are_in_words_that_it_knows() -> None:
    """Another model gets other examples."""
    known = {word for line in corpus() for word in line.split()}
    assert {word for example in examples("tiny") for word in example.split()} <= known
    assert "lighthouse" not in known
    assert not {*examples("wan")} & {*examples("tiny")}


@pytest.mark.parametrize(
    ("round_", "about", "words"),
    [
        (None, {"is_set_up": False}, "A moderator has to choose a channel with `/setup` before rounds can begin."),
        (None, {"is_set_up": False, "is_moderator": True}, "Choose a channel with `/setup` before rounds can begin."),
        (None, {}, "There has been no round yet. A moderator opens the next one."),
        (None, {"is_moderator": True}, "There has been no round yet. Open one with `/round open`."),
        (a_round(status="opening", thread_id=None), {}, "Round 5 is being opened."),
        (
            a_round(status="closed"),
            {},
            "No round is open. A moderator opens the next one. [See the result](https://discord.com/channels/1/2/3)",
        ),
        (a_round(), {"now_ms": 7_000}, "No round is open."),
    ],
    ids=["no setup", "no setup, moderator", "no round", "no round, moderator", "opening", "closed", "over"],
)
def test_where_no_round_is_open_it_says_who_can_do_what(
    round_: Round | None, about: dict[str, Any], words: str
) -> None:
    """No prompt is suggested then: it would be refused."""
    text = help_text(round_, **about)
    assert words in text
    assert "/prompt text:" not in text


def test_moderators_read_of_their_commands_and_members_do_not() -> None:
    assert "`/video remove`" in help_text(a_round(), is_moderator=True)
    text = help_text(a_round())
    assert "`/receipt`" in text
    assert "For moderators" not in text
    assert "/round open" not in text
    assert "/setup" not in text
