"""Captions: the held-out wordings are in no caption of the training set, and a caption says what it is taught as."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.tiny.training import captions, world

SEEDS = st.integers(0, 2**32 - 1)


def test_held_out_wordings_are_in_no_caption_of_the_training_set() -> None:
    """Their patterns begin with words, and in an order, that training never shows."""
    assert not set(captions.TRAINING) & set(captions.HELD_OUT)
    assert not set(captions.TRAINING_TWO) & set(captions.HELD_OUT_TWO)
    dice = np.random.default_rng(1)
    texts = [captions.write(world.random_scene(dice), dice).text.lower() for _ in range(3000)]
    for words in (
        "please draw",
        "watch how",
        "somewhere",
        "i would like a clip",
        "can be seen",
        "look:",
        "once more",
        "together with",
        "plus",
    ):
        assert not [text for text in texts if words in text]
    asked = [captions.write(world.random_scene(dice), dice, unseen=True, full=True).text.lower() for _ in range(200)]
    assert [text for text in asked if "watch how" in text]


@given(SEEDS)
def test_a_full_caption_names_colour_shape_and_motion(seed: int) -> None:
    """In one of their words each; and says so in its fields."""
    dice = np.random.default_rng(seed)
    chosen = world.random_scene(dice, unseen=True)
    caption = captions.write(chosen, dice, unseen=True, full=True)
    assert (caption.colour, caption.shape, caption.motion) == (chosen.colour, chosen.shape, chosen.motion)
    text = caption.text.lower()
    assert any(word in text for word in captions.COLOUR_WORDS[chosen.colour])
    assert any(word in text for word in captions.SHAPE_WORDS[chosen.shape])
    assert (caption.second_colour, caption.second_shape) == (chosen.second_colour, chosen.second_shape)
    if chosen.second_colour and chosen.second_shape:
        assert any(word in text for word in captions.COLOUR_WORDS[chosen.second_colour])
        assert any(word in text for word in captions.SHAPE_WORDS[chosen.second_shape])


@given(SEEDS)
def test_a_caption_of_one_shape_names_no_second(seed: int) -> None:
    """The twin: another world's "and a cat" asks for nothing."""
    dice = np.random.default_rng(seed)
    caption = captions.write(world.random_scene(dice, two=False), dice)
    assert (caption.second_colour, caption.second_shape) == (None, None)


@given(SEEDS)
def test_a_pair_names_both_shapes_in_order_and_nothing_else(seed: int) -> None:
    """The first is before the word between them, the second after; no held-out word is between them."""
    dice = np.random.default_rng(seed)
    scene = world.random_scene(dice, two=True)
    caption = captions.write_pair(scene, dice)
    first, _, second = next(caption.text.partition(f" {word} ") for word in ("and", "with", "beside", "next to")
                            if f" {word} " in caption.text)  # fmt: skip
    for part, (colour, shape) in zip((first, second), scene.shapes, strict=True):
        assert any(word in part for word in captions.COLOUR_WORDS[colour])
        assert any(word in part for word in captions.SHAPE_WORDS[shape])
    assert (caption.motion, caption.background, caption.size, caption.speed) == (None,) * 4


@given(SEEDS)
def test_an_open_caption_names_one_attribute_at_most(seed: int) -> None:
    """The others are left to the model."""
    dice = np.random.default_rng(seed)
    caption = captions.write_open(world.random_scene(dice), dice)
    assert caption.text
    assert sum(value is not None for name, value in vars(caption).items() if name != "text") <= 1


@pytest.mark.parametrize("seed", range(20))
def test_a_prompt_of_another_world_asks_for_nothing(seed: int) -> None:
    """It may be empty, or in another script."""
    caption = captions.noise(np.random.default_rng(seed))
    assert (caption.colour, caption.shape, caption.motion, caption.background) == (None,) * 4
