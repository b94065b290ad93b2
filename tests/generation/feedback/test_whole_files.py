"""A file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.feedback.whole_files import write_whole


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """The new bytes are there, and no draft is left."""
    path = tmp_path / "a.json"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert path.read_bytes() == b"new"


def test_a_file_stays_as_it_was_where_writing_fails(tmp_path: Path) -> None:
    """A draft that cannot be written takes nothing away."""
    path = tmp_path / "a.json"
    write_whole(path, b"old")
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]  # what a mistake would hand over
    assert path.read_bytes() == b"old"
