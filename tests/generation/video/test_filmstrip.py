"""The filmstrip: a labelled row of frames for each release, small enough to travel, the same each time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.video.encode import encode
from generation.video.filmstrip import FRAMES, WIDTHS, FilmstripError, Row, draw, frames_of
from tests.builders.clips import clip


def video(path: Path, shade: int = 0) -> Path:
    frames = clip() if shade == 0 else np.full_like(clip(), shade)
    encode(frames, 8, path, path.with_suffix(".jpg"))
    return path


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_each_release_has_a_row(tmp_path: Path) -> None:
    """Two rows are twice as high as one; the second shows the second video; the same videos give the same bytes."""
    first, second = Row("base model", video(tmp_path / "a.mp4")), Row("release 1", video(tmp_path / "b.mp4", 250))
    alone, both = picture(draw([first])), picture(draw([first, second]))
    assert both.size == (alone.width, 2 * alone.height)
    red, green, blue = both.convert("RGB").getpixel((both.width // 2, both.height - 20))  # type: ignore[misc]  # a pixel
    assert min(red, green, blue) > 200
    assert draw([first, second]) == draw([first, second])
    assert draw([first, second]) != draw([first, Row("release 2", second.video)])


def test_frames_are_from_the_first_to_the_last(tmp_path: Path) -> None:
    """Spread evenly, also where the video has fewer."""
    frames = frames_of(video(tmp_path / "a.mp4"))
    assert len(frames) == FRAMES
    assert frames[0].tobytes() != frames[-1].tobytes()
    encode(clip(2), 8, tmp_path / "short.mp4", tmp_path / "short.jpg")
    assert len(frames_of(tmp_path / "short.mp4")) == FRAMES


def test_a_large_picture_becomes_smaller_and_one_that_cannot_is_an_error(tmp_path: Path) -> None:
    """By narrower frames; a video that cannot be read is an error as well."""
    row = Row("base model", video(tmp_path / "a.mp4"))
    whole = draw([row])
    small = draw([row], len(whole) - 1)
    assert picture(small).width < picture(whole).width
    assert picture(whole).width > FRAMES * WIDTHS[0]
    with pytest.raises(FilmstripError, match="too many bytes"):
        draw([row], 100)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(FilmstripError, match="cannot be read"):
        draw([Row("release 1", tmp_path / "b.mp4")])
