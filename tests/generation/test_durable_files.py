"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.durable_files import publish


def test_a_whole_file_takes_its_name(tmp_path: Path) -> None:
    """In place of an older one, for its owner alone, and no draft stays behind."""
    draft, path = tmp_path / ".draft", tmp_path / "video.mp4"
    path.write_bytes(b"old")
    draft.write_bytes(b"new")
    draft.chmod(0o644)
    publish(draft, path)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_draft_the_old_file_stays(tmp_path: Path) -> None:
    """The twin: nothing is published, and nothing is lost."""
    path = tmp_path / "video.mp4"
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / ".draft", path)
    assert path.read_bytes() == b"old"
