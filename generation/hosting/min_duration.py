"""The copy of a short video that goes to its host: the same, over and over, until it is long enough.

Livepeer is said to fail what is shorter than three seconds (github.com/livepeer/studio/issues/1328). Nothing is encoded
anew, and the same video gives the same copy, so that an upload that was cut can go on. What is posted stays as it is.
"""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.error import FFmpegError

from migrations.files import sha256_stream

log = logging.getLogger(__name__)


def long_enough(path: Path, sha256: str, least_s: float, folder: Path) -> tuple[Path, str]:
    """The file to upload and its hash: a video of at least `least_s` seconds, or a copy in `folder` that is.

    Raises OSError for the local files, also where the file is another one than `sha256` says.
    """
    with path.open("rb") as file:
        if sha256_stream(file) != sha256:
            raise OSError(f"The file {path.name} is another one than the one to upload.")
        try:
            seconds = _seconds(file)
            if least_s <= 0 or not 0 < seconds < least_s:
                return path, sha256
            copy = folder / path.name
            _repeat(file, copy, math.ceil(least_s / seconds))
        except FFmpegError as error:  # then the host gets what there is
            log.warning("%s could not be made longer for its host (%s).", path.name, type(error).__name__)
            return path, sha256
    with copy.open("rb") as made:
        return copy, sha256_stream(made)


def _seconds(file: BinaryIO) -> float:
    file.seek(0)
    with av.open(file, format="mp4") as given:
        video = given.streams.video[0]
        return float(_length(video, list(given.demux(video))) * (video.time_base or Fraction(0)))


def _length(stream: Any, packets: list[Any]) -> int:
    """In the stream's own units."""
    shown = [packet for packet in packets if packet.pts is not None]
    return max((p.pts + (p.duration or 0) for p in shown), default=0) - min((p.pts for p in shown), default=0)


def _repeat(file: BinaryIO, target: Path, times: int) -> None:
    """Packets as they are, each round of them later by the length of the video. Sound is left out: clips have none."""
    file.seek(0)
    with (
        av.open(file, format="mp4") as given,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as out,
    ):
        video = given.streams.video[0]
        packets = [packet for packet in given.demux(video) if packet.dts is not None]
        length = _length(video, packets)
        copy = out.add_stream_from_template(video)
        times_of = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(times):
            for packet, (pts, dts) in zip(packets, times_of, strict=True):
                packet.stream, packet.time_base = copy, video.time_base
                packet.pts, packet.dts = pts + turn * length, dts + turn * length
                out.mux(packet)
