"""The encoder of frames to an mp4 that plays everywhere: H.264 High, yuv420p, faststart, constant frame rate.

The same frames give the same bytes, before they are sealed, wherever the same build of PyAV (with its FFmpeg and x264)
and of NumPy encodes them, on any CPU: one thread, x264 without the shortcuts that differ from CPU to CPU, and a
conversion of colours that is exact. Another build may give other bytes. What a `seal` adds may differ each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from migrations.files import commit_draft, create_draft, draft_path, sha256_file

CRF = 18  # the eye cannot tell it from the frames
WORST_CRF = 38  # beyond it, a smaller picture looks better
GOP_S = 2  # Livepeer's segments, and HLS's, begin at a key frame
SHRINK = 0.7  # of width and height: half the pixels
SMALLEST = 32  # pixels of the shorter side
TRIES = 4  # encodings of one size
BT709 = 1  # as primaries, transfer curve and matrix, in H.264's own tables (ITU-T H.264, Annex E)
LIMITED = 1

# Exact on any CPU, where swscale's quick ways differ in the last bit.
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
EXACT_AREA = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

Seal = Callable[[Path], None]


@dataclass(frozen=True)
class Encoded:
    """A video on disk: sizes in pixels and bytes, the hash of the mp4 in hex."""

    sha256: str
    size_bytes: int
    width: int
    height: int
    fps: float
    frames: int


@dataclass(frozen=True)
class Fit:
    """A limit on the finished file: its bytes, of which `reserved` are kept free for the seal."""

    bytes: int
    reserved: int = 0

    @property
    def room(self) -> int:
        """The bytes that are left for the video itself."""
        return self.bytes - self.reserved


def encode(
    frames: NDArray[np.uint8],
    fps: int,
    video: Path,
    poster: Path,
    *,
    upscale: int = 1,
    fit: Fit | None = None,
    tags: Mapping[str, str] | None = None,
    seal: Seal | None = None,
) -> Encoded:
    """Write the mp4 and a JPEG poster; each appears whole or not at all.

    `frames` has the shape (frames, height, width, 3), RGB. Odd sizes lose their last row or column, which yuv420p
    cannot hold. `upscale` enlarges smoothly. A file beyond `fit` is encoded again, coarser and then with a smaller
    picture; one that does not fit even at the smallest is kept as it is. `tags` are the container's (title, comment).
    `seal` may change the finished mp4 before its hash is taken. Raises ValueError for frames of another shape, and
    whatever `seal` raises.
    """
    frames = _playable(frames, upscale)
    video.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    drafts = [draft_path(path) for path in (video, poster)]
    try:
        for draft in drafts:  # the muxer keeps the mode of an existing file
            create_draft(draft)
        width, height = _write_fitting(frames, fps, drafts[0], fit, tags or {})
        _write_poster(frames[best_frame(frames)], drafts[1])
        if seal is not None:
            seal(drafts[0])
        for draft, path in zip(drafts, (video, poster), strict=True):
            commit_draft(draft, path)
    finally:  # on a full disk a half draft would only make it worse
        for draft in drafts:
            draft.unlink(missing_ok=True)
    return Encoded(
        sha256=sha256_file(video),
        size_bytes=video.stat().st_size,
        width=width,
        height=height,
        fps=float(fps),
        frames=int(frames.shape[0]),
    )


def best_frame(frames: NDArray[np.uint8]) -> int:
    """Return the index of the frame that shows most: the middle one, unless another shows clearly more.

    Black, white and blank frames show nothing; a few bright dots on black show little.
    """
    contents = [_visible_content(frame) for frame in frames]
    middle = len(contents) // 2
    return middle if contents[middle] >= 0.9 * max(contents) else contents.index(max(contents))


def _visible_content(frame: NDArray[np.uint8]) -> float:
    """Return a measure of what a frame shows: its contrast, less if most of it is black or white."""
    step = max(1, min(frame.shape[:2]) // 256)
    grey = frame[::step, ::step].mean(axis=2)
    blank = max(float((grey < 16).mean()), float((grey > 239).mean()))
    return float(grey.std()) * (1.0 - blank)


def enlarge(frames: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return frames that are a whole factor larger, smoothly (bicubic): repeated pixels would look like a mosaic."""
    count, height, width = frames.shape[:3]
    larger = np.empty((count, height * factor, width * factor, 3), np.uint8)
    for number, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        resized = picture.reformat(width * factor, height * factor, interpolation="BICUBIC")
        larger[number] = resized.to_ndarray(format="rgb24")
    return larger


def _playable(frames: NDArray[np.uint8], upscale: int) -> NDArray[np.uint8]:
    if frames.ndim != 4 or frames.shape[3] != 3 or not frames.shape[0] or frames.dtype != np.uint8:
        raise ValueError("Frames must be uint8 of the shape (frames, height, width, 3).")
    if upscale > 1:
        frames = enlarge(frames, upscale)
    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    if not frames.size:
        raise ValueError("Frames must be at least two pixels wide and high.")
    return frames


def _write_fitting(
    frames: NDArray[np.uint8], fps: int, path: Path, fit: Fit | None, tags: Mapping[str, str]
) -> tuple[int, int]:
    """Encode until the file fits, and return the width and height that it then has."""
    width, height = int(frames.shape[2]), int(frames.shape[1])
    crf = float(CRF)
    while True:
        slope = 1 / 6  # halvings of the size per step of CRF: usually about this, then as measured
        previous: tuple[float, float] | None = None
        for _ in range(TRIES):
            _write_video(frames, fps, path, (width, height), crf, tags)
            excess = path.stat().st_size / max(1, fit.room) if fit is not None else 0.0
            if excess <= 1 or crf >= WORST_CRF:
                break
            halvings = math.log2(excess)
            if previous is not None:
                slope = min(1 / 3, max(1 / 20, (previous[1] - halvings) / (crf - previous[0])))
            previous = crf, halvings
            crf = min(float(WORST_CRF), round(crf + halvings / slope + 0.5, 1))
        smaller = (max(2, int(width * SHRINK) // 2 * 2), max(2, int(height * SHRINK) // 2 * 2))
        if excess <= 1 or min(smaller) < SMALLEST:
            return width, height
        (width, height), crf = smaller, min(crf, WORST_CRF - 6.0)


def _write_video(
    frames: NDArray[np.uint8], fps: int, path: Path, size: tuple[int, int], crf: float, tags: Mapping[str, str]
) -> None:
    gop = GOP_S * fps
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update(tags)
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.gop_size = gop
        stream.options = {
            "crf": str(crf),
            "preset": "medium",
            "profile": "high",
            "threads": "1",
            # Closed groups of one length, whatever the pictures show; and the same bytes on any CPU.
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:force-cfr=1:cpu-independent=1",
        }
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED
        same_size = size == (frames.shape[2], frames.shape[1])
        for number, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            # By the matrix that the tags name: by default FFmpeg converts by BT.601, which turns out wrong greens.
            frame = picture.reformat(
                width=size[0],
                height=size[1],
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                interpolation=EXACT if same_size else EXACT_AREA,
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
