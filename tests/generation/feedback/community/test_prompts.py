"""Prompts of scripted members leave open what their taste is about, and say what they ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from generation.feedback.community.prompts import asked_of, captions_for, followed, prompts_for
from generation.feedback.community.tastes import TASTES, Facts
from generation.tiny.training.captions import FILLERS, Caption

CLIP = Facts("red", "star", "jump", 0.7, 0.1, 0.01, 0.5, 0.05)


@pytest.mark.parametrize("name", TASTES)
def test_prompts_leave_open_what_the_taste_is_about(name: str) -> None:
    """All different, and none of the held-out ones among those that are voted on."""
    voted = prompts_for(TASTES[name], 20, 1, held_out=False)
    held_out = prompts_for(TASTES[name], 20, 1, held_out=True)
    assert len(set(voted)) == 20
    assert not set(voted) & set(held_out)


@pytest.mark.parametrize("name", TASTES)
def test_plain_prompts_ask_for_what_can_be_seen(name: str) -> None:
    """At least two attributes, no word that means nothing, and never the attribute of the taste."""
    plain = captions_for(TASTES[name], 20, 1, plain=True)
    assert len(plain) == 20
    for text, caption in plain.items():
        assert text == caption.text
        assert len(asked_of(caption)) >= 2
        assert getattr(caption, TASTES[name].opens) is None
        assert not set(text.lower().split()) & set(FILLERS) - {"video"}


def test_other_prompts_have_words_that_mean_nothing() -> None:
    """And some of them ask for hardly anything."""
    others = captions_for(TASTES["warm"], 200, 1)
    assert any(set(text.lower().split()) & set(FILLERS) for text in others)
    assert any(len(asked_of(caption)) < 2 for caption in others.values())


def test_a_prompt_is_followed_as_far_as_a_clip_shows_what_it_names() -> None:
    """What it leaves open is neither right nor wrong."""
    asked = Caption("a star that jumps", shape="star", motion="jump")
    assert asked_of(asked) == {"shape": "star", "motion": "jump"}
    assert followed(asked, CLIP) == 2
    assert followed(asked, replace(CLIP, colour="blue")) == 2
    assert followed(asked, replace(CLIP, shape=None, motion=None)) == 0
    assert followed(replace(asked, colour="blue"), CLIP) == 2
