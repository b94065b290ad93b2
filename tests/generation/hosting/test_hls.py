"""HLS of a finished mp4."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.hosting.hls import write_hls


def test_hls_of_a_video_is_the_same_each_time(video: Path, tmp_path: Path) -> None:
    """Without encoding anew, and in bytes that a repetition makes again; what is no video is an OSError."""
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        with video.open("rb") as file:
            write_hls(file, folder)
        made.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert made[0] == made[1]
    assert b"#EXT-X-BYTERANGE" in made[0][0]
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"no video")
    with fake.open("rb") as file, pytest.raises(OSError, match="HLS"):
        write_hls(file, tmp_path / "a")
