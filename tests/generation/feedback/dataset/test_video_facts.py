"""What a data set takes from a provenance card, and what it does not."""

from __future__ import annotations

import json

from generation.feedback.dataset.video_facts import canonical, facts_of_card, repository, seed_of
from generation.video.provenance import read_card
from tests.builders.votes import CARD


def test_the_card_of_a_row_can_be_rendered_again() -> None:
    """`flock rerender` reads it: seed, settings, revision and hashes are there, under the words of the row."""
    facts = facts_of_card(CARD, "a red ball")
    card = read_card(str(facts["card"]))
    assert (card["seed"], card["settings"], card["model"]["revision"]) == (5, CARD["settings"], "r1")
    assert facts["settings"] == '{"guidance":3.0,"steps":16,"width":64}'
    assert (facts["frames_sha256"], facts["latents_sha256"]) == ("f" * 64, "e" * 64)
    assert facts["release"] is None
    released = {**CARD["model"], "release": {"number": 2, "adapter_sha256": "a" * 64}}
    assert facts_of_card({**CARD, "model": released}, "p")["release"] == "2"


def test_nothing_of_the_operators_machine_is_in_it() -> None:
    """No folder, no certificate; repositories stay."""
    text = str(facts_of_card(CARD, "a red ball")["card"])
    for private in ("/home", "/srv", "somebody", "signed_by"):
        assert private not in text
    card = json.loads(text)
    assert card["model"]["adapters"][0]["source"] == "org/style"
    assert card["model"]["components"]["vae"]["source"] is None
    assert repository("Wan-AI/Wan2.1-T2V-1.3B-Diffusers") == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert [repository(each) for each in ("/a/b", "a", "../b", None, 3)] == [None] * 5


def test_the_seed_is_that_of_the_take_that_was_kept() -> None:
    """Of the best of several that is another one than the video's own; without a usable card it is that one."""
    choice = {"count": 4, "index": 2, "first_seed": 5, "taste_sha256": "c" * 64}
    card = {**CARD, "seed": 77, "best_of": choice}
    assert seed_of(card, 5) == 77
    assert json.loads(str(facts_of_card(card, "p")["card"]))["best_of"] == choice
    assert [
        seed_of(each, 5) for each in (None, {}, {"seed": "7"}, {"seed": True}, {"seed": -1}, {"seed": 1 << 63})
    ] == [5] * 6


def test_a_video_without_a_card_has_empty_columns() -> None:
    """As those of the oldest workers; a card that is broken in parts gives what it has."""
    assert set(facts_of_card(None, "p").values()) == {None}
    odd = facts_of_card({"frames_sha256": 5, "model": "x", "latents": [], "settings": {}}, "p")
    assert odd["frames_sha256"] is odd["card"] is odd["latents_sha256"] is None
    assert odd["settings"] == "{}"


def test_json_has_one_form() -> None:
    """Whatever the order of its names."""
    assert canonical({"b": 1, "a": "é"}) == canonical({"a": "é", "b": 1}) == '{"a":"é","b":1}'
