"""A file is read as its frames were drawn; what is no video of the tiny model is refused."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest

from generation.feedback.community.tastes import facts_of
from generation.feedback.community.watching import UnwatchableError, watch
from generation.tiny.training import world


def mp4(frames: np.ndarray, zoom: int = 6) -> bytes:
    """An mp4 of the frames, each pixel drawn large, as workers make them."""
    large = frames.repeat(zoom, axis=1).repeat(zoom, axis=2)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = large.shape[2], large.shape[1], "yuv420p"
        for picture in large:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def test_a_file_is_read_as_it_was_drawn() -> None:
    """Colour, shape and motion outlive the encoding, and so does what tastes measure."""
    dice = np.random.default_rng(3)
    anything = world.random_scene(dice, two=False)
    scene = replace(anything, colour="red", shape="circle", motion="right", background="dark")
    frames = world.render(scene, dice)
    seen, drawn = watch(mp4(frames)), facts_of(frames)
    assert (seen.colour, seen.shape, seen.motion) == (drawn.colour, drawn.shape, drawn.motion)
    assert seen.colour == "red"
    assert seen.warm == pytest.approx(drawn.warm, abs=0.08)
    assert seen.area == pytest.approx(drawn.area, abs=0.01)


@pytest.mark.parametrize("data", [b"", b"no video", mp4(np.zeros((3, 60, 60, 3), np.uint8), zoom=1)])
def test_other_files_are_refused(data: bytes) -> None:
    """With a sentence, and no reading."""
    with pytest.raises(UnwatchableError):
        watch(data)
