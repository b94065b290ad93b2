"""The minimum duration of a video at its host: a shorter one is uploaded as a copy that repeats.

Livepeer is reported to fail videos under three seconds (github.com/livepeer/studio/issues/1328). Nothing is encoded
again, and the same video gives the same copy, so that an interrupted upload can go on. The posted file stays as it is.
"""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

import av
from av.error import FFmpegError

from migrations.files import sha256_file, sha256_stream

log = logging.getLogger(__name__)


def extend_to_min_duration(path: Path, sha256: str, least_s: float, folder: Path) -> tuple[Path, str]:
    """Return the file to upload and its hash: the video if it lasts `least_s` seconds, else a longer copy in `folder`.

    Raises OSError for the local files, also if the file does not have the hash `sha256`.
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
        except FFmpegError as error:  # then the host gets the video as it is
            log.warning("%s could not be made longer for its host (%s).", path.name, type(error).__name__)
            return path, sha256
    return copy, sha256_file(copy)


def _seconds(file: BufferedReader) -> float:
    file.seek(0)
    with av.open(file, format="mp4") as source:
        video = source.streams.video[0]
        return float(_length(list(source.demux(video))) * (video.time_base or Fraction(0)))


def _length(packets: list[av.Packet]) -> int:
    """Return the duration of packets in their stream's own units."""
    timed = [packet for packet in packets if packet.pts is not None]
    return max((p.pts + (p.duration or 0) for p in timed), default=0) - min((p.pts for p in timed), default=0)


def _repeat(file: BufferedReader, target: Path, times: int) -> None:
    """Copy the packets `times` times, each time later by the video's length. Sound is left out: clips have none."""
    file.seek(0)
    with (
        av.open(file, format="mp4") as source,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as out,
    ):
        video = source.streams.video[0]
        packets = [packet for packet in source.demux(video) if packet.dts is not None]
        length = _length(packets)
        copy = out.add_stream_from_template(video)
        times_of = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(times):
            for packet, (pts, dts) in zip(packets, times_of, strict=True):
                packet.stream, packet.time_base = copy, video.time_base
                packet.pts, packet.dts = pts + turn * length, dts + turn * length
                out.mux(packet)
