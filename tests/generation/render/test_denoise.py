"""The frames in a pipeline's output, whatever form it has."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from generation.render.denoise import NoPictureError, frames_of, peak_memory

FRAMES = np.linspace(0, 1, 2 * 4 * 6 * 3).reshape(2, 4, 6, 3)


@pytest.mark.parametrize(
    "output",
    [
        SimpleNamespace(frames=FRAMES[None]),
        SimpleNamespace(frames=None, videos=[list(FRAMES)]),
        SimpleNamespace(images=[torch.from_numpy(FRAMES)]),
        SimpleNamespace(frames=FRAMES.transpose(0, 3, 1, 2)[None]),
        SimpleNamespace(frames=(FRAMES * 255).round().astype(np.uint8)[None]),
    ],
    ids=["array", "list", "tensor", "channels first", "bytes"],
)
def test_frames_are_found_in_any_output(output: object) -> None:
    """Of the first video: uint8, channels last."""
    frames = frames_of(output)
    assert (frames.dtype, frames.shape) == (np.uint8, (2, 4, 6, 3))
    assert np.array_equal(frames, (FRAMES * 255).round().astype(np.uint8))


@pytest.mark.parametrize(
    "output",
    [object(), SimpleNamespace(frames=[]), SimpleNamespace(frames=np.full((1, 2, 4, 6, 3), np.nan))],
    ids=["nothing", "empty", "overflowed"],
)
def test_no_picture_is_an_error(output: object) -> None:
    """Black frames would be taken for the model's."""
    with pytest.raises(NoPictureError):
        frames_of(output)


def test_peak_memory_is_counted_here() -> None:
    memory = peak_memory()
    assert memory.process is None or memory.process > 10
    assert (memory.gpu is None) == (not torch.cuda.is_available())
