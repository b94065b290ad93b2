"""What members and moderators read of the model's releases."""

from __future__ import annotations

import json
from typing import Any

from discord import ui

from bot.cards import models as model_cards
from bot.domain.releases import Evidence, Margin, Release, ReleaseFacts
from migrations.states.learning import ReleaseState


def text_of(view: ui.LayoutView) -> str:
    texts: list[str] = []

    def walk(component: Any) -> None:
        texts.append(str(component.get("content", "")))
        for child in component.get("components", []):
            walk(child)

    for component in json.loads(json.dumps(view.to_components())):
        walk(component)
    return "\n".join(texts)


def a_release(number: int, state: ReleaseState) -> Release:
    return Release(
        "tiny", number, number, f"{number}d" * 32, None, None, None, None, state, 1_700_000_000_000, None, None
    )


def test_the_live_release_stands_first_with_what_shaped_it() -> None:
    """Votes, rounds and the margin of its battle; then all releases, with what became of each."""
    history = [
        ReleaseFacts(a_release(3, ReleaseState.ROLLED_BACK)),
        ReleaseFacts(a_release(2, ReleaseState.LIVE), 312, 4, Margin(41, 0.71, 0.6, 0.8)),
        ReleaseFacts(a_release(1, ReleaseState.REPLACED), 1, 1, Margin(1, 0.9)),
    ]
    text = text_of(model_cards.model_card("tiny", history, is_paused=True))
    head, rest = text.split("**Releases**")
    for words in ("tiny, release 2", "312 votes of 4 rounds", "won 71% (60% to 80%)", "41 voters", "2d" * 32):
        assert words in head
    assert "**3** · <t:1700000000:d> · taken back by a moderator · won its battle" in rest
    assert "1 vote of 1 round, won 90% of its battles before 1 voter" in rest
    assert "paused" in rest


def test_without_a_release_the_base_model_is_named() -> None:
    text = text_of(model_cards.model_card("tiny", [], is_paused=False))
    assert "No release is live" in text
    assert "**Releases**" not in text
    assert "paused" not in text


def test_moderators_read_what_they_did() -> None:
    """And how it is undone; what was so already is said to be."""
    second, first = a_release(2, ReleaseState.LIVE), a_release(1, ReleaseState.LIVE)
    assert "rollback release:2" in text_of(model_cards.released(second))
    assert "made by release 1" in text_of(model_cards.rolled_back(second, first))
    assert "made by the base model" in text_of(model_cards.rolled_back(first, None))
    assert "is paused" in text_of(model_cards.paused(changed=True))
    assert "paused already" in text_of(model_cards.paused(changed=False))
    assert "goes on" in text_of(model_cards.resumed(changed=True))
    assert "not paused" in text_of(model_cards.resumed(changed=False))


def test_the_post_of_a_release_says_what_votes_moved() -> None:
    """Votes, rounds, the battle's margin and members, the evidence, what changes, and the way back."""
    facts = ReleaseFacts(
        a_release(2, ReleaseState.LIVE), 312, 4, Margin(41, 0.71, 0.6, 0.8), Evidence(205, 41_500, 40, 2), 9
    )
    before = a_release(1, ReleaseState.REPLACED)
    view = model_cards.release_post(facts, before=before, filmstrip="filmstrip-2.png", prompt="a red ball")
    text = text_of(view)
    for words in (
        "Your votes moved this: release 2 is live", "312 votes from 4 rounds", "in round 9 71% (60% to 80%)",
        "41 voters", "41 of 40 needed, in 205 votes, without the 2 voters", "until now release 1 made them",
        "/admin model rollback release:2", "One prompt and seed through all releases: “a red ball”",
    ):  # fmt: skip
        assert words in text
    assert text.endswith(model_cards.release_mark(facts.release))
    assert "attachment://filmstrip-2.png" in json.dumps(view.to_components())


def test_the_post_says_nothing_of_what_is_not_known() -> None:
    """Neither figures nor a picture; the first release replaces the base model."""
    facts = ReleaseFacts(a_release(1, ReleaseState.LIVE))
    view = model_cards.release_post(facts, before=None, filmstrip=None, prompt="a red ball")
    text = text_of(view)
    assert "It won its battle." in text
    assert "until now the base model made them" in text
    assert "a red ball" not in text
    assert "attachment://" not in json.dumps(view.to_components())


def test_the_model_card_shows_the_filmstrip_where_there_is_one() -> None:
    """Of the live release; without one there is no picture."""
    history = [ReleaseFacts(a_release(2, ReleaseState.LIVE))]
    with_strip = model_cards.model_card("tiny", history, is_paused=False, filmstrip="filmstrip-2.png")
    assert "attachment://filmstrip-2.png" in json.dumps(with_strip.to_components())
    assert "attachment" not in json.dumps(model_cards.model_card("tiny", history, is_paused=False).to_components())
