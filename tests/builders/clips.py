"""Clips for tests: frames, small real videos, finished files with their cards, and what an mp4 consists of."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render_messages import RenderRequest, Signing
from generation.video.finalize import finalize

MODEL = Model(id="tiny", source="tiny", adapters=[{"source": "org/style", "revision": "1" * 40, "scale": 0.5}])
PRESET = Preset(family="Tiny", width=96, height=64, frames=12, fps=8, steps=2, guidance=1.0)
PROMPT = "a red circle moves right"


def finalized(folder: Path, frames: NDArray[np.uint8], *, latents: Any = None, **request: Any) -> dict[str, Any]:
    """The facts of `videos/1.mp4` in the folder, signed with the folder's own certificate, and its card."""
    paths = {"video_path": str(folder / "videos" / "1.mp4"), "poster_path": str(folder / "videos" / "1.jpg")}
    whole = RenderRequest(**{"prompt": PROMPT, "seed": 2**62 + 1, **paths, "signing": Signing(str(folder)), **request})
    about: dict[str, Any] = {"model": MODEL, "revision": "r" * 40, "preset": PRESET, "device": "cpu"}
    encoded, card = finalize(frames, whole, **about, latents=latents)
    return {**asdict(encoded), "provenance": card}


def clip(frames: int = 12, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    """A bright square that moves over a grey ground."""
    pictures = np.full((frames, height, width, 3), 60, np.uint8)
    for number in range(frames):
        pictures[number, 8:24, 2 * number : 2 * number + 16] = (250, 220, 40)
    return pictures


def boxes(path: Path) -> list[bytes]:
    """The kinds of an mp4's top-level boxes, in their order (ISO/IEC 14496-12)."""
    data, at, kinds = path.read_bytes(), 0, []
    while at < len(data):
        kinds.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    return kinds


def decoded(path: Path) -> list[bytes]:
    """The frames of a video as they are shown."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def make_video(path: Path, *, frames: int = 48, noise: bool = False, codec: str = "libx264") -> Path:
    """128x96 at 24 frames a second; with noise, about 13 kB a frame."""
    rng = np.random.default_rng(1)
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as out:
        stream = out.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.options = {"g": "24", "crf": "1" if noise else "23", "preset": "ultrafast"}
        for i in range(frames):
            shade = np.full((96, 128, 3), i * 5 % 255, np.uint8)
            picture = rng.integers(0, 255, (96, 128, 3), np.uint8) if noise else shade
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return path
