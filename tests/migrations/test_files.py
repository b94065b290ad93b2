"""A file's hash is of all of it; a private file appears whole, for its owner alone."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from migrations import files


@pytest.mark.parametrize("size", [0, 1, 3 * 1024 * 1024 + 1])
def test_the_hash_is_of_the_whole_file_wherever_it_was_read_up_to(tmp_path: Path, size: int) -> None:
    """Asked twice it is the same, and one byte more is another."""
    path = tmp_path / "video.mp4"
    path.write_bytes(b"x" * size)
    with path.open("rb") as file:
        file.read(size // 2)
        assert files.sha256_stream(file) == files.sha256_stream(file) == hashlib.sha256(b"x" * size).hexdigest()
    assert files.sha256_file(path) == hashlib.sha256(b"x" * size).hexdigest()
    path.write_bytes(b"x" * (size + 1))
    with path.open("rb") as file:
        assert files.sha256_stream(file) != hashlib.sha256(b"x" * size).hexdigest()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_replaces_an_older_one_for_its_owner_alone(tmp_path: Path) -> None:
    """Also where the older one could be read by others; no draft stays."""
    path = tmp_path / "note.json"
    path.write_text("old, and longer than the new one")
    path.chmod(0o644)
    files.write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure while the draft is written, as on a full disk, loses nothing, and leaves no draft behind."""
    path = tmp_path / "note.json"
    files.write_private(path, b"old")

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        files.write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_created_is_never_written_over(tmp_path: Path) -> None:
    """The second one is told that it came too late."""
    path = tmp_path / "key"
    files.create_private(path, b"first")
    assert mode(path) == 0o600
    with pytest.raises(FileExistsError):
        files.create_private(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_is_private_from_its_first_byte_and_gets_its_name_at_the_end(tmp_path: Path) -> None:
    """What a draft of an earlier attempt held is gone; whatever mode the draft was given, the file is its owner's."""
    path = tmp_path / "video.mp4"
    draft = files.draft_path(path)
    assert draft.parent == tmp_path
    assert draft.name.startswith(".video.mp4.")
    assert draft.suffix == ".mp4"
    draft.write_bytes(b"half of an earlier attempt")
    draft.unlink()
    files.create_draft(draft)
    assert (mode(draft), draft.stat().st_size) == (0o600, 0)
    draft.write_bytes(b"half")
    files.create_draft(draft)
    assert draft.stat().st_size == 0
    draft.write_bytes(b"whole")
    draft.chmod(0o644)
    files.commit_draft(draft, path)
    assert (path.read_bytes(), mode(path)) == (b"whole", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_two_folders_exchange_their_names_at_once(tmp_path: Path) -> None:
    """With all that lies in them; where one of them is missing nothing is changed, and it is told."""
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "what").write_text(name)
    assert files.exchange_names(tmp_path / "new", tmp_path / "old")
    assert [(tmp_path / name / "what").read_text() for name in ("new", "old")] == ["old", "new"]
    assert not files.exchange_names(tmp_path / "new", tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
