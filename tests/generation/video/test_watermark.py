"""The watermark in the picture."""

from __future__ import annotations

import numpy as np

from generation.video.watermark import add_watermark


def test_the_words_are_in_the_corner() -> None:
    """White letters on a dark ground in the lower left corner at every size, and nothing else changes."""
    for height, width in ((64, 64), (480, 832), (64, 24)):
        frames = np.full((2, height, width, 3), 120, np.uint8)
        shown = add_watermark(frames)
        assert shown.shape == frames.shape
        corner = shown[0, height // 2 :]
        assert corner.max() > 200  # smoothed letters
        assert corner.min() < 40
        assert (shown[:, : height // 2] == 120).all()
        assert (frames == 120).all()
