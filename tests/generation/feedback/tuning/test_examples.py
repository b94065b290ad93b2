"""The examples of a data set: read as they were written, and only with the latents that belong to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generation.feedback.tuning.examples import (
    LIST,
    Example,
    ExamplesError,
    groups_of,
    identity_of,
    path_of_latents,
    read_examples,
    read_latents,
    write_examples,
    write_latents,
)


def test_examples_and_latents_are_read_as_they_were_written(tmp_path: Path) -> None:
    """In their order; one whose latents were not kept has none."""
    latents = np.arange(6, dtype=np.float16).reshape(1, 2, 3)
    kept = Example("v-1", "a “red” circle", 7, 2.5, 0, write_latents(tmp_path, "v-1", latents))
    examples = [kept, Example("v-0", "a cat", 1, 0, 1)]
    write_examples(tmp_path, examples)
    assert read_examples(tmp_path) == examples
    np.testing.assert_array_equal(read_latents(tmp_path, kept), latents)
    assert read_latents(tmp_path, examples[1]) is None
    assert identity_of(examples) == identity_of(read_examples(tmp_path))
    assert identity_of(examples) != identity_of([replace(kept, up=3.5), examples[1]])


def test_latents_of_another_video_are_not_taken(tmp_path: Path) -> None:
    """Changed or missing files are a sentence."""
    latents = np.zeros((1, 2), np.float32)
    example = Example("v", "a", 1, 1, 0, write_latents(tmp_path, "v", latents))
    write_latents(tmp_path, "v", latents + 1)
    with pytest.raises(ExamplesError, match="other latents"):
        read_latents(tmp_path, example)
    path_of_latents(tmp_path, "v").unlink()
    with pytest.raises(ExamplesError, match="is missing"):
        read_latents(tmp_path, example)


def test_near_duplicates_of_a_prompt_are_one_group() -> None:
    """By the data set's id of a prompt, else by the prompt itself."""
    rows = [("a", None), ("b", "1"), ("B!", "1"), ("a", None), ("c", "2")]
    examples = [Example(f"v{k}", prompt, k, 1, 0, prompt_id=name) for k, (prompt, name) in enumerate(rows)]
    assert groups_of(examples) == [0, 1, 1, 0, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "holds no data set for tuning"),
        ("", "holds no video"),
        ("{}\n", "Line 1"),
        ("[1]\n", "Line 1"),
        ('{"video": "../a", "prompt": "", "seed": 1, "up": 1, "down": 0}\n', "no id"),
        ('{"video": "a", "prompt": "", "seed": 1, "up": -1, "down": 0}\n', "no numbers of votes"),
        ('{"video": "a", "prompt": "", "seed": 1, "up": 1, "down": 0}\n' * 2, "a video twice"),
    ],
)
def test_what_is_no_data_set_is_a_sentence(text: str | None, words: str, tmp_path: Path) -> None:
    """It names the place."""
    if text is not None:
        (tmp_path / LIST).write_text(text)
    with pytest.raises(ExamplesError, match=words):
        read_examples(tmp_path)
