"""A file's hash is of all of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from generation.hosting.fingerprint import sha256_of


@pytest.mark.parametrize("size", [0, 1, 3 * 1024 * 1024 + 1])
def test_the_hash_is_of_the_whole_file_wherever_it_was_read_up_to(tmp_path: Path, size: int) -> None:
    """Asked twice it is the same, and one byte more is another."""
    path = tmp_path / "video.mp4"
    path.write_bytes(b"x" * size)
    with path.open("rb") as file:
        file.read(size // 2)
        assert sha256_of(file) == sha256_of(file) == hashlib.sha256(b"x" * size).hexdigest()
    path.write_bytes(b"x" * (size + 1))
    with path.open("rb") as file:
        assert sha256_of(file) != hashlib.sha256(b"x" * size).hexdigest()
