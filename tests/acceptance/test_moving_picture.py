"""The moving picture of README: the file that is there, how it is made of frames, and the recorder in a browser."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.acceptance.moving_picture import FRAMES_A_SECOND, SCENES, WIDTH, Figures, Film, faults, figures, write
from tests.acceptance.screenshots import FOLDER, take_moving_picture
from tests.chromium import needs_chromium

GOOD = Figures(seconds=10.0, frames=70, width=880, repeats=True, bytes=900_000)


def screen(shade: int) -> bytes:
    """Return a small picture with the shape of a window, as PNG."""
    file = io.BytesIO()
    Image.new("RGB", (208, 128), (shade, 40, 90)).save(file, "PNG")
    return file.getvalue()


def film_of(frames: int) -> Film:
    """Return a film of 60 seconds in which the screen changes so many times; each scene takes ten of them."""
    names = [name for name, _ in SCENES]
    scenes = {name: (10.0 * number, 10.0 * number + 10.0) for number, name in enumerate(names)}
    return Film([(60 * number / frames, screen(number * 67 % 251)) for number in range(frames)], scenes)


def test_the_picture_of_the_readme_can_be_shown() -> None:
    """Ten seconds that repeat for ever, in motion, not wider than README, and of at most 3 MB."""
    assert faults(figures(FOLDER / "demo.webp")) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"seconds": 12.0}, "it does not last ten seconds"),
        ({"frames": 1}, "it hardly moves"),
        ({"width": 1360}, "it is wider than README"),
        ({"repeats": False}, "it stops"),
        ({"bytes": 3_000_001}, "it is too large"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_noticed(change: dict[str, int], fault: str) -> None:
    """Each rule can be broken, and none of them breaks with a good picture."""
    assert faults(GOOD) == []
    assert faults(replace(GOOD, **change)) == [fault]


def test_a_long_film_becomes_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scene gets its share of the time, however long it took, in order; the file repeats.

    The picture is a small one here: a hundred frames of the full size take half a minute.
    """
    monkeypatch.setattr("tests.acceptance.moving_picture.WIDTH", 220)
    shots = film_of(150).cut()  # more often than a frame of the picture is taken
    assert len(shots) == 10 * FRAMES_A_SECOND
    assert list(dict.fromkeys(name for name, _ in shots)) == [name for name, _ in SCENES]
    write(shots, tmp_path / "a.webp")
    made = figures(tmp_path / "a.webp")
    assert (made.seconds, made.frames, made.width, made.repeats) == (10.0, len(shots), 220, True)
    assert faults(made) == []


def test_a_screen_that_stands_still_is_no_moving_picture(tmp_path: Path) -> None:
    """Equal frames become one, so that only the names of the scenes move; the time stays the same."""
    write(film_of(1).cut(), tmp_path / "a.webp")
    made = figures(tmp_path / "a.webp")
    assert (made.seconds, made.frames, made.width, made.repeats) == (10.0, len(SCENES), WIDTH, True)
    assert faults(made) == ["it hardly moves"]


@needs_chromium
@pytest.mark.usefixtures("in_a_long_run")
async def test_the_recorder_works_on_the_page_of_today(tmp_path: Path) -> None:
    """It types, waits, plays, votes and closes in the real page, and what it writes can be shown."""
    path = tmp_path / "demo.webp"
    await take_moving_picture(path)
    assert faults(figures(path)) == []
