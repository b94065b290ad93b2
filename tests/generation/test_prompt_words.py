"""The words of a prompt that a model knows, as a worker writes them and the bot reads them."""

from __future__ import annotations

import json

import pytest

from generation.prompt_words import MOST_PLACES, PromptWords
from generation.strict_json import ShapeError

PROMPT = "a red ball"


def test_places_are_read_as_they_were_written() -> None:
    words = PromptWords([[2, 5], [6, 10]], [[0, 1]], "colours", "a red ball")
    assert PromptWords.from_json(json.loads(json.dumps(words.to_json())), PROMPT) == words


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"known": "red"},
        {"known": [[2, "5"]]},
        {"known": [[2]]},
        {"known": [[5, 2]]},
        {"known": [[2, 2]]},
        {"known": [[-3, 2]]},
        {"known": [[2, 11]]},
        {"known": [[6, 10], [2, 5]]},
        {"unknown": [[0, 3], [2, 5]]},
        {"known": [[True, 5]]},
        {"known": [[0, 1]] * (MOST_PLACES + 1)},
        {"topics": "x" * 101},
        {"example": "x" * 101},
        {"topics": "a\ud800"},
        {"example": "a\0"},
        {"known": [], "also": 1},
    ],
)
def test_what_a_worker_made_up_is_not_read(data: object) -> None:
    """Places outside the prompt, in another order, too many; texts that are too long."""
    with pytest.raises(ShapeError):
        PromptWords.from_json(data, PROMPT)
