"""The examples of a data set: its training split of one model, by votes; too few say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.feedback.dataset.files import rows_of, write
from generation.feedback.dataset.tables import tables_of
from generation.feedback.tuning.from_votes import TooFewVotesError, lesson_of
from tests.builders.votes import busy_community


def test_a_lesson_is_the_training_split_of_one_model(tmp_path: Path) -> None:
    """In the order of its keys; the votes of the split are the sum of the weighted ones."""
    write(tmp_path / "votes", tables_of(busy_community(0), b"k" * 32))
    rows = list(rows_of(tmp_path / "votes", "videos"))
    model = str(rows[0]["model"])
    lesson = lesson_of(tmp_path / "votes", model)
    keys = [example.video for example in lesson.examples]
    assert keys == sorted(keys)
    assert set(keys) <= {str(row["video"]) for row in rows if row["model"] == model}
    assert sum(each.up + each.down for each in lesson.examples) == pytest.approx(lesson.votes, abs=0.01)


def test_no_votes_are_no_lesson(tmp_path: Path) -> None:
    """Another model has no videos here."""
    write(tmp_path / "votes", tables_of(busy_community(0), b"k" * 32))
    with pytest.raises(TooFewVotesError, match="0 votes on 0 videos"):
        lesson_of(tmp_path / "votes", "another")
