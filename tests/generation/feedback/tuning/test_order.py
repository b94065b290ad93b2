"""The order of a training: what the bot writes is what the other process reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from generation.feedback.tuning.order import Order
from generation.feedback.tuning.recipe import Recipe, RecipeError
from generation.models.registry import Model


def order(folder: Path) -> Order:
    return Order(str(folder / "data"), Model("m", "/models/m", revision="r"), str(folder / "out"), Recipe(steps=3))


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Model and recipe included."""
    written = order(tmp_path)
    assert Order.read(written.write()) == written


@pytest.mark.parametrize("text", ["[]", "{}", '{"model": {}}'])
def test_what_is_no_order_is_a_sentence(text: str, tmp_path: Path) -> None:
    """Nothing is guessed."""
    path = tmp_path / "order.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="holds no order"):
        Order.read(path)


def test_a_wrong_recipe_in_an_order_is_said(tmp_path: Path) -> None:
    """By the recipe itself."""
    values = asdict(order(tmp_path))
    values["recipe"]["steps"] = 0
    path = tmp_path / "order.json"
    path.write_text(json.dumps(values))
    with pytest.raises(RecipeError, match="steps must be above 0"):
        Order.read(path)
