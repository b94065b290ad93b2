"""Motion: nothing in a still clip, more in a quicker one, and nearly the same after encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from generation.video.motion import motion_of, motion_of_file
from tests.builders.clips import clip, finalized


def test_a_still_clip_has_none_and_a_flash_has_all() -> None:
    """The ends of the scale, and numbers by hand: half of the pixels from black to white are one half."""
    black, white = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 255, np.uint8)
    half = black.copy()
    half[:2] = 255
    assert motion_of([black, black, black]) == 0.0
    assert motion_of([black, white]) == 1.0
    assert motion_of([black, half]) == 0.5
    assert motion_of([black, half, half]) == 0.25
    assert motion_of([black]) == motion_of([]) == 0.0


def test_a_quicker_clip_has_more() -> None:
    """The same square, at twice the pace; and colours count by their brightness."""
    assert motion_of(clip(12)[::2]) > 1.5 * motion_of(clip(12))
    green, blue, black = (np.zeros((2, 2, 3), np.uint8) for _ in range(3))
    green[..., 1] = blue[..., 2] = 255
    assert motion_of([black, green]) == pytest.approx(0.587)
    assert motion_of([black, blue]) == pytest.approx(0.114)


def test_a_file_has_that_of_its_frames(tmp_path: Path) -> None:
    """Encoding adds a little; what is no video has none."""
    facts = finalized(tmp_path, clip())
    measured = motion_of_file(tmp_path / "videos" / "1.mp4")
    assert facts["provenance"]["motion"] == motion_of(clip())
    assert measured == pytest.approx(motion_of(clip()), rel=0.2)
    (tmp_path / "no.mp4").write_bytes(b"no video")
    assert motion_of_file(tmp_path / "no.mp4") is None
    assert motion_of_file(tmp_path / "none.mp4") is None
