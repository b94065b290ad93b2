"""The motion of a clip: the mean change of brightness of a pixel from one frame to the next, 0 to 1.

Brightness is luma (ITU-R BT.601). The sum is one of whole numbers, so that the same frames give the same bits anywhere.
Imports NumPy and PyAV where they are needed: whoever lacks them can still import this.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIGITS = 6
_WEIGHTS = (299, 587, 114)  # thousandths


def motion_of(frames: Iterable[NDArray[np.uint8]]) -> float:
    """Return the motion of frames of the shape (height, width, 3), rounded; 0 for fewer than two."""
    import numpy as np

    weights = np.array(_WEIGHTS, np.int32)
    previous, total, pixels = None, 0, 0
    for frame in frames:
        luma = frame.astype(np.int32) @ weights
        if previous is not None:
            total += int(np.abs(luma - previous).sum(dtype=np.int64))
            pixels += luma.size
        previous = luma
    return round(total / (pixels * 255 * sum(_WEIGHTS)), DIGITS) if pixels else 0.0


def motion_of_file(path: Path) -> float | None:
    """Return the motion of an mp4 as it is decoded; None where it cannot be read. Needs PyAV."""
    import av

    try:
        with av.open(str(path)) as container:
            return motion_of(frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
    except (av.FFmpegError, OSError, IndexError):
        return None
