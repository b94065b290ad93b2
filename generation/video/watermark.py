"""The watermark: the words "AI-generated" in the picture itself, for operators who want it (FLOCK_LABEL_FRAMES)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORDS = "AI-generated"
SMALLEST_TYPE = 9  # pixels: below, the letters run together
HEIGHT_SHARE = 24  # the type has this part of the picture's height


def add_watermark(frames: NDArray[np.uint8], words: str = WORDS) -> NDArray[np.uint8]:
    """Return the frames with the words in the lower left corner, white on a dark ground, legible from 64 pixels up.

    If the words would be wider than the picture, only their first two letters are written.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = frames.shape[1:3]
    size = max(SMALLEST_TYPE, height // HEIGHT_SHARE)
    font = ImageFont.load_default(size)
    pad = max(1, size // 4)

    def box(text: str) -> tuple[int, int, int, int]:
        x0, y0, x1, y1 = font.getbbox(text)
        return int(x0), int(y0), int(x1) + 1, int(y1) + 1

    if box(words)[2] + 2 * pad > width:
        words = words[:2]
    x0, y0, x1, y1 = box(words)
    sign = Image.new("RGB", (x1 - x0 + 2 * pad, y1 - y0 + 2 * pad), (16, 16, 16))
    ImageDraw.Draw(sign).text((pad - x0, pad - y0), words, font=font, fill=(255, 255, 255))
    pixels = np.asarray(sign)[:height, :width]
    out = frames.copy()
    out[:, height - pixels.shape[0] :, : pixels.shape[1]] = pixels
    return out
