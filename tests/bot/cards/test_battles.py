"""The cards of a battle round: within Discord's limits for any words, and blind until one's own choice is final."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards import battles as cards
from bot.domain.battles import Battle, BattlePlan, PairCount, PairView, VerdictState
from bot.domain.rounds import Round
from migrations.states.battles import BattleChoice
from migrations.states.community import RoundStatus
from tests.bot.cards.test_limits import checked, walked
from tests.builders.battle_rounds import SALT, a_plan, a_verdict, register

VIEW = PairView(
    pair_id=4, round_id=2, round_number=8, closes_at_ms=1_000_000, prompt="a fox", choice=None, is_final=False,
    answered=2, of=5,
)  # fmt: skip
WORDS = st.text(max_size=600) | st.sampled_from(["🎬" * 500, "*" * 600, "[x](y)" * 90, "\u202e" * 300])


def a_battle(status: RoundStatus = RoundStatus.OPEN, plan: BattlePlan | None = None, **changes: Any) -> Battle:
    """A battle round as its rows have it."""
    plan = plan or a_plan()
    round_ = Round(
        id=2, guild_id=77, number=8, task="t", opened_by=1, channel_id=5, thread_id=None, announcement_id=None,
        status=status, opens_at_ms=plan.opens_ms, closes_at_ms=plan.closes_ms, winner_video_id=None,
        result_message_id=None, chain_key="k", chain_id=1, finalized_tx=None,
    )  # fmt: skip
    facts = {"registration": register(plan, SALT), "salt": SALT, "size": plan.size, "eligibility": plan.eligibility}
    return Battle(**{"round": round_, "candidate": plan.candidate, "live": plan.live, **facts, **changes})


def text_of(card: Any) -> str:
    """All words of a card."""
    return "\n".join(str(part["content"]) for part in walked(card.to_components()) if part.get("content"))


def buttons_of(card: Any) -> dict[str, dict[str, Any]]:
    """The buttons of a card by their labels."""
    return {part["label"]: part for part in walked(card.to_components()) if part.get("type") == 2}


@given(WORDS, st.sampled_from([None, *BattleChoice]), st.booleans(), st.booleans(), st.booleans(), WORDS)
def test_any_pair_fits(
    prompt: str, choice: BattleChoice | None, final: bool, counts: bool, moderator: bool, reason: str
) -> None:
    """Whatever the prompt is, and whatever the gate says of the round so far."""
    interim = a_verdict(reasons=(reason,) * 5) if final else None
    view = replace(
        VIEW, prompt=prompt, choice=choice or (BattleChoice.A if final else None), is_final=final, counts=counts,
        is_catch=False if final else None, candidate_is_a=True if final else None, interim=interim,
    )  # fmt: skip
    checked(cards.pair_card(view, moderator=moderator))


@given(st.sampled_from(VerdictState), st.lists(WORDS, max_size=6), st.none() | WORDS, st.integers(0, 10**9))
def test_any_verdict_fits(state: VerdictState, reasons: list[str], trouble: str | None, number: int) -> None:
    """However long its reasons are, and however large its numbers."""
    verdict = a_verdict(state, reasons=tuple(reasons), evidence_milli=number, votes=number, voters=number)
    battle = a_battle(RoundStatus.CLOSED)
    battle = replace(battle, round=replace(battle.round, trouble=trouble))
    checked(cards.verdict_card(battle, verdict, PairCount(0, number, 3, 1)))


@pytest.mark.parametrize("status", RoundStatus)
def test_an_announcement_fits_and_has_its_button_while_the_round_is_open(status: RoundStatus) -> None:
    """Neither before it opens nor after its close can anybody begin to vote."""
    card = cards.announcement(a_battle(status), PairCount(1, 100, 2, 0))
    checked(card)
    assert ("Show me a pair" in buttons_of(card)) == (status not in (RoundStatus.OPENING, RoundStatus.CLOSED))
    assert text_of(card).startswith(cards.announcement_mark(a_battle()))


def test_a_pair_says_nothing_of_its_sides_before_the_choice_is_final() -> None:
    """Two pairs whose sides differ have the same card, but for their number."""
    for choice in (None, *BattleChoice):
        card = cards.pair_card(replace(VIEW, choice=choice))
        other = cards.pair_card(replace(VIEW, choice=choice, pair_id=5))
        assert str(card.to_components()).replace(":4'", ":5'") == str(other.to_components())
        assert "candidate's" not in text_of(card)
        assert "You: 2 of 5" in text_of(card)


def test_the_final_card_says_which_video_was_whose() -> None:
    """And takes no other choice."""
    final = replace(VIEW, choice=BattleChoice.TIE, is_final=True, candidate_is_a=False, is_catch=False)
    card = cards.pair_card(final)
    assert "**B** was the candidate's, **A** the live model's" in text_of(card)
    assert buttons_of(card) == {}
    assert "only **B** was made for this prompt" in text_of(cards.pair_card(replace(final, is_catch=True)))


def test_ones_own_choice_is_shown_and_can_be_changed() -> None:
    """The button of the choice stands out; Next waits for a choice."""
    buttons = buttons_of(cards.pair_card(replace(VIEW, choice=BattleChoice.B)))
    assert [label for label, button in buttons.items() if button["style"] == 3] == ["B"]
    assert not buttons["Next"].get("disabled")
    unanswered = buttons_of(cards.pair_card(VIEW))
    assert [label for label, button in unanswered.items() if button["style"] == 3] == []
    assert unanswered["Next"]["disabled"]
    assert all(re.fullmatch(cards.BUTTON_ID, button["custom_id"]) for button in unanswered.values())
    assert re.fullmatch(cards.BUTTON_ID, "b1:c:4") is None


def test_the_verdict_prints_the_gates_sentences_and_numbers() -> None:
    """Evidence, win rate with interval and at equal motion, k, and what about pairs that were not shown."""
    text = text_of(cards.verdict_card(a_battle(RoundStatus.CLOSED), a_verdict(), PairCount(0, 4, 2, 1)))
    for words in (
        "undecided", "Undecided after 3 voters; about 40 are needed",
        "Win rate **61 %** (40 to 79 %), 58 % at equal motion",
        "Evidence **1.2** of 40 needed, without any 2 voters (k)", "2 of 7 pairs had to be left out",
        "A moderator removed 1 pair", "Registered before the first vote",
    ):  # fmt: skip
        assert words in text
    assert "left out" not in text_of(cards.verdict_card(a_battle(RoundStatus.CLOSED), a_verdict(), PairCount(0, 4)))
    assert "the candidate wins" in text_of(
        cards.verdict_card(a_battle(RoundStatus.CLOSED), a_verdict(VerdictState.RELEASED), PairCount(0, 4))
    )
