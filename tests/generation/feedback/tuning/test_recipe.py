"""The recipe: its numbers make sense, and its hash is that of all of them."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from generation.feedback.tuning.recipe import Recipe, RecipeError


def test_a_recipe_is_the_same_after_it_was_stored() -> None:
    """And one number more or less has another hash, as has another model."""
    recipe = Recipe(method="dpo", steps=7)
    assert Recipe.of(asdict(recipe)) == recipe
    assert recipe.identity("a") == Recipe.of(asdict(recipe)).identity("a")
    assert len({recipe.identity("a"), recipe.identity("b"), replace(recipe, steps=8).identity("a")}) == 3


@pytest.mark.parametrize(
    "values",
    [
        {"method": "grpo"}, {"precision": "fp8"}, {"steps": 0}, {"rate": 0.0}, {"drift_cap": -1.0}, {"tracked": 1.5},
        {"best_share": 0.0}, {"motion": -1.0}, {"rounds": -1}, {"method": "dpo", "batch": 1}, {"stepz": 1},
    ],
)  # fmt: skip
def test_a_number_that_makes_no_sense_is_a_sentence(values: dict[str, object]) -> None:
    """It is said before anything is loaded."""
    with pytest.raises(RecipeError):
        Recipe.of(dict(values))


def test_the_rate_rises_shortly_and_falls_to_nothing() -> None:
    """Up in ten steps, level, and down over the second half."""
    recipe = Recipe(rate=1.0, warm_up=10)
    rates = [recipe.rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:51] == [1.0] * 42
    assert rates[75] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.03
