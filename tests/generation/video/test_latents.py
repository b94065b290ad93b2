"""Latents on disk: the same numbers give the same bytes and hash, and only those of the hash are read back."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import numpy as np

from generation.video.latents import describe_latents, latents_hash, latents_path, read_latents, write_latents

LATENTS = np.arange(12, dtype=np.float16).reshape(1, 3, 4)


def test_the_hash_is_what_the_page_says() -> None:
    """Dtype and shape in words, a newline, the numbers; another shape, dtype or number has another."""
    expected = hashlib.sha256(b"float16 1 3 4\n" + LATENTS.tobytes()).hexdigest()
    assert latents_hash(LATENTS) == expected
    assert describe_latents(LATENTS) == {"sha256": expected, "dtype": "float16", "shape": [1, 3, 4]}
    others = (LATENTS.reshape(1, 4, 3), LATENTS.astype(np.float32), LATENTS + np.float16(1))
    assert expected not in {latents_hash(other) for other in others}
    assert latents_hash(np.asfortranarray(LATENTS)) == latents_hash(LATENTS.astype(">f2").astype("<f2")) == expected
    assert describe_latents(None) is None


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Beside the mp4, for its owner alone, the same bytes each time."""
    path = latents_path(tmp_path / "videos" / "1.mp4")
    assert path == tmp_path / "videos" / "1.latents.safetensors"
    write_latents(path, LATENTS)
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_latents(path, latents_hash(LATENTS))
    assert found is not None
    assert np.array_equal(found, LATENTS)
    write_latents(path, np.asfortranarray(LATENTS))  # the same numbers, in another order in memory
    assert path.read_bytes() == first


def test_others_are_not_taken_for_them(tmp_path: Path) -> None:
    """A file of other latents, a damaged one and none at all."""
    path = tmp_path / "1.latents.safetensors"
    assert read_latents(path, latents_hash(LATENTS)) is None
    write_latents(path, LATENTS + np.float16(1))
    assert read_latents(path, latents_hash(LATENTS)) is None
    path.write_bytes(b"no tensors")
    assert read_latents(path, latents_hash(LATENTS)) is None
