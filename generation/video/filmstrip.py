"""The filmstrip of releases: one prompt and seed through all of them, a labelled row of frames for each, as a PNG.

NumPy, PyAV and Pillow: it is drawn where videos are rendered, since a bot has none of them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

FRAMES = 5  # of each video
MOST_ROWS = 8  # the base model and the latest releases; more than these cannot be told apart on a phone
WIDTHS = (192, 144, 96, 64)  # of a frame, in pixels: the widest with which the picture is small enough
MOST_BYTES = 600_000  # it travels as the result of a job
GAP, TYPE = 4, 13  # pixels
GROUND, INK = (24, 25, 28), (240, 240, 240)


class FilmstripError(Exception):
    """A filmstrip cannot be drawn; str() is a sentence."""


@dataclass(frozen=True)
class Row:
    """A row of the filmstrip: its label, and the mp4 that its frames are from."""

    label: str
    video: Path


def draw(rows: Sequence[Row], most_bytes: int = MOST_BYTES) -> bytes:
    """Return the PNG of some rows, the first on top. The same videos give the same picture.

    Raises FilmstripError where a video cannot be read, or the picture is too large at every width.
    """
    pictures = [(row.label, frames_of(row.video)) for row in rows]
    for width in WIDTHS:
        data = _png(pictures, width)
        if len(data) <= most_bytes:
            return data
    raise FilmstripError("The filmstrip has too many bytes, even with small frames.")


def frames_of(video: Path, count: int = FRAMES) -> list[Image.Image]:
    """Return so many frames of a video, spread evenly from its first to its last. Raises FilmstripError."""
    import av

    try:
        with av.open(str(video)) as container:
            frames = [frame.to_image() for frame in container.decode(video=0)]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise FilmstripError(f"A video of the filmstrip cannot be read ({type(error).__name__}).") from error
    if not frames:
        raise FilmstripError("A video of the filmstrip has no frame.")
    return [frames[round(k * (len(frames) - 1) / max(1, count - 1))] for k in range(count)]


def _png(rows: Sequence[tuple[str, Sequence[Image.Image]]], width: int) -> bytes:
    """Return the rows as a PNG: above each row its label, below it the frames, all of the same width."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TYPE)
    head = TYPE + 2 * GAP
    heights = [max(1, round(width * frames[0].height / frames[0].width)) for _, frames in rows]
    size = (GAP + FRAMES * (width + GAP), sum(head + height + GAP for height in heights))
    sheet = Image.new("RGB", size, GROUND)
    pen, top = ImageDraw.Draw(sheet), 0
    for (label, frames), height in zip(rows, heights, strict=True):
        pen.text((GAP, top + GAP // 2), label, font=font, fill=INK)
        for number, frame in enumerate(frames):
            sheet.paste(frame.resize((width, height)), (GAP + number * (width + GAP), top + head))
        top += head + height + GAP
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()
