"""Frames to an mp4 that plays everywhere: H.264 High, yuv420p, faststart, constant frame rate; poster and hash."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

CRF = 18
BT709 = 1  # as primaries, transfer curve and matrix, in H.264's own tables (ITU-T H.264, Annex E)
LIMITED = 1


@dataclass(frozen=True)
class Encoded:
    """What lies on disk: sizes in pixels and bytes, the hash of the mp4 in hex."""

    sha256: str
    size_bytes: int
    width: int
    height: int
    fps: float
    frames: int


def encode(frames: NDArray[np.uint8], fps: int, video: Path, poster: Path, *, upscale: int = 1) -> Encoded:
    """Writes the mp4 and a JPEG poster; each appears whole or not at all.

    `frames` has the shape (frames, height, width, 3), RGB. Odd sizes lose their last row or column, which yuv420p
    cannot hold. `upscale` repeats pixels. Raises ValueError for frames of another shape.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or not frames.shape[0] or frames.dtype != np.uint8:
        raise ValueError("Frames must be uint8 of the shape (frames, height, width, 3).")
    if upscale > 1:
        frames = frames.repeat(upscale, axis=1).repeat(upscale, axis=2)
    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    if not frames.size:
        raise ValueError("Frames must be at least two pixels wide and high.")
    video.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    drafts = [path.with_name(f".{path.name}.{os.getpid()}{path.suffix}") for path in (video, poster)]
    try:
        for draft in drafts:  # ours alone from the first byte; the muxer keeps the mode of a file that is there
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        _write_video(frames, fps, drafts[0])
        _write_poster(frames[best_frame(frames)], drafts[1])
        for draft, path in zip(drafts, (video, poster), strict=True):
            _settle(draft, path)
    finally:  # on a full disk a half draft would only make it worse
        for draft in drafts:
            draft.unlink(missing_ok=True)
    with video.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Encoded(
        sha256=digest,
        size_bytes=video.stat().st_size,
        width=int(frames.shape[2]),
        height=int(frames.shape[1]),
        fps=float(fps),
        frames=int(frames.shape[0]),
    )


def best_frame(frames: NDArray[np.uint8]) -> int:
    """The index of the frame that shows most: the greatest contrast, the middle of the clip where all are alike."""
    contrast = [float(frame[::4, ::4].std()) for frame in frames]
    middle = len(contrast) // 2
    return middle if contrast[middle] >= 0.9 * max(contrast) else contrast.index(max(contrast))


def _write_video(frames: NDArray[np.uint8], fps: int, path: Path) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.gop_size = 2 * fps
        # One thread: the same frames give the same bytes on any machine with this encoder.
        stream.options = {"crf": str(CRF), "preset": "medium", "profile": "high", "threads": "1"}
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED
        for number, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            # By the matrix that the tags name: left alone, FFmpeg would convert by BT.601, and greens turn out wrong.
            frame = picture.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts = number
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_poster(pixels: NDArray[np.uint8], path: Path) -> None:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream: Any = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height = pixels.shape[1], pixels.shape[0]
        stream.pix_fmt = "yuvj420p"
        stream.options = {"qmin": "2", "qmax": "4"}
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _settle(draft: Path, path: Path) -> None:
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.chmod(0o600)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)  # the new name too must survive a power cut
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
