"""What a finished file costs: encoded, signed and hashed, over a bare call of the same encoder on the same frames."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render_messages import RenderRequest, Signing
from generation.video.finalize import finalize
from tests.benchmarks.figures import Figure

FPS = 16


def moving(frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """A clip of soft waves with a little grain, always the same."""
    rng = np.random.default_rng(1)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    out = np.empty((frames, height, width, 3), np.uint8)
    for number in range(frames):
        for colour in range(3):
            wave = np.sin((across + 5 * number) / (30 + 11 * colour)) * np.cos((down - 3 * number) / 41)
            out[number, :, :, colour] = 128 + 90 * wave
        out[number] += rng.integers(0, 6, (height, width, 1), np.uint8)
    return out


def bare(frames: NDArray[np.uint8], path: Path) -> None:
    """What anybody would write with PyAV: x264 at the same quality and preset, nothing else."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "medium", "threads": "1"}
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


async def measure(*, frames: int = 49, height: int = 480, width: int = 832, times: int = 3) -> list[Figure]:
    """Medians of seconds on one thread each, in turns."""
    return await asyncio.to_thread(_measure, frames, height, width, times)


def _measure(frames: int, height: int, width: int, times: int) -> list[Figure]:
    clip = moving(frames, height, width)
    model = Model(id="bench", source="bench")
    preset = Preset(family="Bench", width=width, height=height, frames=frames, fps=FPS, steps=1, guidance=1.0)
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        request = RenderRequest("waves", 1, f"{folder}/a.mp4", f"{folder}/a.jpg", signing=Signing(folder))
        for _ in range(times):
            begun = time.perf_counter()
            finalize(clip, request, model=model, revision="0" * 40, preset=preset, device="cpu")
            between = time.perf_counter()
            bare(clip, Path(folder, "bare.mp4"))
            ours.append(between - begun)
            plain.append(time.perf_counter() - between)
    seconds, beside = statistics.median(ours), statistics.median(plain)
    said = f"{frames} frames of {width}x{height}: encoded, signed, hashed, with poster and card"
    return [
        Figure("encode_s", seconds, said),
        Figure("encode_vs_bare", seconds / beside, f"over PyAV and x264 alone, {beside:.2f} s"),
    ]
