"""The taste scorer: stored without pickles, for one model; it orders videos, and never counts as a vote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generation.feedback.scoring.reward import fit
from generation.feedback.scoring.taste import (
    Taste,
    TasteError,
    best_of,
    load_taste,
    nobody_asked_for,
    ordered,
    save_taste,
    seeds_of,
    share_above,
    unseen,
)
from generation.feedback.tensor_files import read_tensors, write_tensors

FEATURES = np.random.default_rng(0).normal(size=(40, 6))


def a_taste() -> Taste:
    up = (FEATURES[:, 0] > 0).astype(float)
    return Taste(fit(FEATURES, up, 1 - up, np.repeat(np.arange(10), 4)), "tiny@abc", (0, 1, 2))


def test_a_stored_scorer_scores_as_before(tmp_path: Path) -> None:
    """In a safetensors file, with the channels that it looks at."""
    taste, path = a_taste(), tmp_path / "taste.safetensors"
    sha256 = save_taste(taste, path)
    again = load_taste(path, "tiny@abc")
    np.testing.assert_array_equal(again.score(FEATURES), taste.score(FEATURES))
    assert (again.channels, again.is_useful) == ((0, 1, 2), taste.is_useful)
    assert save_taste(again, tmp_path / "again.safetensors") == sha256


def test_a_scorer_of_another_model_is_not_used(tmp_path: Path) -> None:
    """Nor one of another kind, nor a file that is none."""
    path = tmp_path / "taste.safetensors"
    save_taste(a_taste(), path)
    with pytest.raises(TasteError, match="is the taste of tiny@abc, and not of wan@1"):
        load_taste(path, "wan@1")
    arrays, metadata = read_tensors(path)
    write_tensors(path, arrays, {"taste": metadata["taste"].replace("scorer 1", "scorer 2")})
    with pytest.raises(TasteError, match="no taste scorer"):
        load_taste(path, "tiny@abc")
    write_tensors(path, {}, metadata)
    with pytest.raises(TasteError, match="no taste scorer"):
        load_taste(path, "tiny@abc")


def test_the_best_of_several_is_kept() -> None:
    """The first of equal ones; where scores are no better than chance only the first seed is rendered."""
    values = {1: 0.2, 2: 0.9, 3: 0.9}
    rendered: list[int] = []

    def render(seed: int) -> int:
        rendered.append(seed)
        return seed

    assert best_of([1, 2, 3], render, lambda video: values[video]) == (2, 2)
    assert rendered == [1, 2, 3]
    assert best_of([1, 2, 3], render, lambda video: values[video], worth=False) == (1, 1)
    assert rendered == [1, 2, 3, 1]
    with pytest.raises(ValueError, match="no seed"):
        best_of([], render, lambda _: 0.0)


def test_seeds_to_choose_from_begin_with_the_prompts_own() -> None:
    """All different, and none larger than a seed may be."""
    seeds = seeds_of(7, 5)
    assert seeds[0] == 7
    assert len(set(seeds)) == 5
    assert all(0 <= seed < 1 << 31 for seed in seeds_of((1 << 31) - 1, 9))


def test_the_pool_is_shown_with_the_fewest_votes_first() -> None:
    """Only among videos with as many votes does the taste decide."""
    assert ordered(["a", "b", "c", "d"], [0.1, 0.5, 0.9, 0.5], {"c": 1, "a": 0}) == ["b", "d", "a", "c"]


def test_what_nobody_has_seen_is_said() -> None:
    """Votes cannot teach it; what was shown often enough is not mentioned."""
    readings = [{"shape": "circle"}] * 5 + [{"shape": "star"}, {"shape": None}]
    values = unseen(readings, {"shape": ["circle", "star", "heart"]})
    assert [(each.value, each.shown) for each in values] == [("star", 1), ("heart", 0)]
    assert values[1].sentence == "Nobody has seen shape 'heart' yet: votes cannot teach what no video shows."
    assert values[0].sentence.startswith("Only one video showed shape 'star' so far")
    assert replace(values[0], shown=2).sentence.startswith("Only 2 videos")


def test_what_nobody_asked_for_is_one_sentence() -> None:
    """With as many values as can be read; where each was asked for, nothing is said."""
    known = {"colour": ["red", "blue"], "shape": ["ball", "star", "heart"]}
    asked = [[("colour", "red"), ("shape", "ball")], []]
    assert nobody_asked_for(asked, known, most=2) == (
        "Nobody has asked for colour 'blue', shape 'star' and 1 more yet: votes cannot teach what no video shows."
    )
    assert nobody_asked_for(asked, {"colour": ["red"]}) is None


def test_a_share_above_counts_ties_as_halves() -> None:
    """Two videos against two."""
    assert share_above(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == pytest.approx(0.875)
