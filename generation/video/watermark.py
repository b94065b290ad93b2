"""The words "AI-generated" in the picture itself, for those who ask for it (FLOCK_LABEL_FRAMES)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORDS = "AI-generated"
SMALLEST = 9  # pixels of type: below, its letters run together
PART = 24  # of the picture's height


def labelled(frames: NDArray[np.uint8], words: str = WORDS) -> NDArray[np.uint8]:
    """The frames with the words in the lower left corner, white on a dark ground, legible from 64 pixels up.

    Where the words would be wider than the picture, only the first two letters stand there.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = frames.shape[1:3]
    size = max(SMALLEST, height // PART)
    font = ImageFont.load_default(size)
    pad = max(1, size // 4)

    def box(text: str) -> tuple[int, int, int, int]:
        left, top, right, bottom = font.getbbox(text)
        return int(left), int(top), int(right) + 1, int(bottom) + 1

    if box(words)[2] + 2 * pad > width:
        words = words[:2]
    left, top, right, bottom = box(words)
    sign = Image.new("RGB", (right - left + 2 * pad, bottom - top + 2 * pad), (16, 16, 16))
    ImageDraw.Draw(sign).text((pad - left, pad - top), words, font=font, fill=(255, 255, 255))
    pixels = np.asarray(sign)[:height, :width]
    out = frames.copy()
    out[:, height - pixels.shape[0] :, : pixels.shape[1]] = pixels
    return out
