"""Filmstrips on the bot's disk: read as they came, and only if they are small PNGs."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from bot.files.filmstrips import MOST_BYTES, keep_filmstrip, read_filmstrip

PNG = b"\x89PNG\r\n\x1a\n and more"


def test_a_filmstrip_is_read_as_it_came(tmp_path: Path) -> None:
    """Of its release alone; keeping it twice is harmless."""
    for _ in range(2):
        assert keep_filmstrip(tmp_path, "tiny", 2, base64.b64encode(PNG).decode())
    assert read_filmstrip(tmp_path, "tiny", 2) == PNG
    assert read_filmstrip(tmp_path, "tiny", 1) is None


@pytest.mark.parametrize("data", [b"GIF89a", PNG + bytes(MOST_BYTES)])
def test_what_is_no_small_png_is_not_kept(data: bytes, tmp_path: Path) -> None:
    """Nor what is no base64: a worker may send anything."""
    assert not keep_filmstrip(tmp_path, "tiny", 2, base64.b64encode(data).decode())
    assert not keep_filmstrip(tmp_path, "tiny", 2, "no base64!")
    assert read_filmstrip(tmp_path, "tiny", 2) is None
