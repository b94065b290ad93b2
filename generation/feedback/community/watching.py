"""The watching of a video file: its frames, decoded as anybody would who has the file, read by arithmetic.

Imports PyAV where it is needed.
"""

from __future__ import annotations

import io

import numpy as np

from generation.feedback.community.tastes import Facts, Frames, facts_of
from generation.tiny.training.world import SIZE


class UnwatchableError(ValueError):
    """A file that cannot be played as a video of the tiny model."""


def watch(data: bytes) -> Facts:
    """Return the facts of an mp4. Raises UnwatchableError."""
    return facts_of(frames_of_file(data))


def frames_of_file(data: bytes) -> Frames:
    """Return the frames of an mp4, one pixel for each of the model's own. Raises UnwatchableError."""
    import av

    try:
        with av.open(io.BytesIO(data)) as container:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise UnwatchableError("The file cannot be played.") from error
    _, height, width, _ = frames.shape
    if height != width or height % SIZE:
        raise UnwatchableError(f"A video of {width} × {height} pixels is none of the tiny model's.")
    zoom = height // SIZE
    return np.ascontiguousarray(frames[:, zoom // 2 :: zoom, zoom // 2 :: zoom])
