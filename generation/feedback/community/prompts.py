"""Prompts as the members of a scripted community write them, with what each of them asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

import numpy as np

from generation.feedback.community.tastes import Facts, Taste
from generation.tiny.training import captions, world
from generation.tiny.training.captions import Caption

READ = ("colour", "shape", "motion")  # the attributes that can be read off a clip as they are asked for
_SAYS = (*READ, "background", "size", "speed")


def captions_for(
    taste: Taste, count: int, seed: int, *, held_out: bool = False, plain: bool = False
) -> Mapping[str, Caption]:
    """Return prompts that leave the taste's attribute open, all different, with what they name.

    `plain` ones have no words that mean nothing in the tiny model's world, and ask for two things that can be read.
    """
    dice = np.random.default_rng([seed, held_out])
    out: dict[str, Caption] = {}
    while len(out) < count:
        caption = captions.write(world.random_scene(dice, unseen=held_out, two=False), dice, unseen=held_out)
        says = {name: getattr(caption, name) for name in _SAYS}
        if says[taste.opens] is not None or not any(says.values()):
            continue
        if plain and not (_words(caption.text) <= _known_words() and len(asked_of(caption)) >= 2):
            continue
        out.setdefault(caption.text, caption)
    return out


def prompts_for(taste: Taste, count: int, seed: int, *, held_out: bool) -> list[str]:
    """Return such prompts without what they name."""
    return list(captions_for(taste, count, seed, held_out=held_out))


def asked_of(caption: Caption) -> Mapping[str, str]:
    """Return the attributes that a prompt names and that can be read off a clip."""
    named = {name: getattr(caption, name) for name in READ}
    return {name: value for name, value in named.items() if value is not None}


def followed(caption: Caption, facts: Facts) -> int:
    """Return how many of these attributes a clip shows as the prompt names them."""
    return sum(getattr(facts, name) == value for name, value in asked_of(caption).items())


@cache
def _known_words() -> frozenset[str]:
    """Return the words of the world, of the sentence patterns, and of things without a name."""
    texts = [text for text in captions.corpus() if text not in {*captions.NOISE, *captions.FILLERS}]
    places = [re.sub(r"\{\w+\}", " ", pattern) for pattern in captions.HELD_OUT]
    return frozenset(_words(" ".join([*texts, *places, "a an the thing shape object something"])))


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", text.lower()))
