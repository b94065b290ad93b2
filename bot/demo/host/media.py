"""The way from uploaded bytes to what browsers play, with PyAV: check, HLS by stream copy, static mp4, poster, index.

PyAV is imported by the functions that need it: a process that lacks it can begin, and say what to install.
Nothing here trusts the file: only mp4 and Matroska are opened at all, by their first bytes, since FFmpeg's other
formats include lists that name further files and addresses.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from bot.demo.host.store import Mp4, VideoSpec, fresh_file, sync_file, sync_folder

if TYPE_CHECKING:
    from av import Packet

POSTER = "thumbnails/keyframes_0.jpg"
_LONGEST_SIDE = 4096


class UnplayableError(Exception):
    """The upload is not a video that this host can serve; the message becomes the asset's errorMessage."""


@dataclass(frozen=True)
class Probe:
    """The facts of a valid upload."""

    format: str  # "mp4" or "matroska"
    duration_s: float
    bitrate: int
    width: int
    height: int
    fps: float
    codec: str
    pixel_format: str
    audio: str | None

    def video_spec(self) -> VideoSpec:
        """Return the facts as the API shows them."""
        tracks: list[dict[str, object]] = [
            {
                "type": "video", "codec": self.codec, "duration": self.duration_s, "bitrate": self.bitrate,
                "width": self.width, "height": self.height, "pixelFormat": self.pixel_format, "fps": self.fps,
            }
        ]  # fmt: skip
        if self.audio:
            tracks.append({"type": "audio", "codec": self.audio})
        return {"format": self.format, "duration": self.duration_s, "bitrate": self.bitrate, "tracks": tracks}


def probe(path: Path) -> Probe:
    """Read every packet and decode the first picture. Raises UnplayableError with a sentence."""
    import av
    from av.error import FFmpegError

    form = _format(path)
    try:
        with av.open(str(path), format=form) as container:
            if not container.streams.video:
                raise UnplayableError("The file holds no video track.")
            video = container.streams.video[0]
            codec = video.codec_context.name
            if codec != "h264":
                raise UnplayableError(f"The video codec {codec} is not supported; upload H.264.")
            picture = next(container.decode(video), None)
            if picture is None:
                raise UnplayableError("The video holds no picture.")
            if max(picture.width, picture.height) > _LONGEST_SIDE:
                raise UnplayableError(f"The video is larger than {_LONGEST_SIDE} pixels on a side.")
            container.seek(0)
            packets = [p for p in container.demux(video) if p.pts is not None]
            duration = _duration(packets, video.time_base)
            if duration <= 0:
                raise UnplayableError("The video has no duration.")
            return Probe(
                format=form,
                duration_s=round(duration, 3),
                bitrate=int(path.stat().st_size * 8 / duration),
                width=picture.width,
                height=picture.height,
                fps=round(float(video.average_rate or 0), 3),
                codec=codec,
                pixel_format=str(picture.format.name),
                audio=next((s.codec_context.name for s in container.streams.audio if s.codec_context.name), None),
            )
    except FFmpegError as error:
        raise UnplayableError(f"The file cannot be read as a video ({type(error).__name__}).") from error


def write_hls(source: Path, form: str, folder: Path) -> None:
    """Write index.m3u8 and its segments, MPEG-TS, without encoding anew. The playlist comes last, by rename."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "hls_time": "2",
        "hls_playlist_type": "vod",
        "hls_list_size": "0",
        "hls_flags": "independent_segments",
        "hls_segment_filename": str(folder / "segment_%04d.ts"),
    }
    with fresh_file(folder / "index.m3u8") as playlist:
        _copy(source, form, playlist, "hls", options)
        for segment in folder.glob("segment_*.ts"):
            sync_file(segment)


def write_mp4(source: Path, form: str, target: Path) -> None:
    """Copy an uploaded mp4 byte for byte (a signature in it stays valid); put Matroska into an mp4, moov first."""
    with fresh_file(target) as draft:
        if form == "mp4":
            shutil.copyfile(source, draft)
        else:
            _copy(source, form, draft, "mp4", {"movflags": "+faststart"})


def write_poster(source: Path, probed: Probe, folder: Path) -> None:
    """Write keyframes_0.jpg of the first picture, and thumbnails.vtt that names it, as Livepeer lays them out."""
    import av

    (folder / "thumbnails").mkdir(mode=0o700, exist_ok=True)
    with av.open(str(source), format=probed.format) as container:
        picture = next(container.decode(video=0)).reformat(format="yuvj420p")
    with fresh_file(folder / POSTER) as draft, av.open(str(draft), "w", format="mjpeg") as out:
        stream = out.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuvj420p"
        stream.options = {"qmin": "2", "qmax": "4"}
        picture.pts, picture.time_base = 0, Fraction(1, 1)
        out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    minutes, seconds = divmod(probed.duration_s, 60)
    hours, minutes = divmod(int(minutes), 60)
    with fresh_file(folder / "thumbnails/thumbnails.vtt") as draft:
        draft.write_text(f"WEBVTT\n\n00:00:00.000 --> {hours:02d}:{minutes:02d}:{seconds:06.3f}\nkeyframes_0.jpg\n")
    sync_folder(folder)


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mp4_facts(target: Path, probed: Probe) -> Mp4:
    """Return what the playback endpoint says of the static mp4."""
    size = target.stat().st_size
    bitrate = int(size * 8 / probed.duration_s)
    return {"file": target.name, "size": size, "width": probed.width, "height": probed.height, "bitrate": bitrate}


def _format(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    raise UnplayableError("The file is not a video: upload an mp4 or a Matroska file.")


def _duration(packets: list[Packet], time_base: Fraction | None) -> float:
    if not packets or time_base is None:
        return 0.0
    first = min(p.pts for p in packets)
    last = max(p.pts + (p.duration or 0) for p in packets)
    return float((last - first) * time_base)


def _copy(source: Path, form: str, target: Path, container: str, options: dict[str, str]) -> None:
    import av
    from av.error import FFmpegError

    try:
        with (
            av.open(str(source), format=form) as original,
            av.open(str(target), "w", format=container, options=options) as out,
        ):
            streams = [
                original.streams.video[0],
                *[s for s in original.streams.audio if s.codec_context.name == "aac"][:1],
            ]
            copies = {stream.index: out.add_stream_from_template(stream) for stream in streams}
            for packet in original.demux(streams):
                if packet.dts is not None:  # the demuxer's end marks have none
                    packet.stream = copies[packet.stream.index]
                    out.mux(packet)
    except FFmpegError as error:
        raise UnplayableError(f"The video cannot be copied into {container} ({type(error).__name__}).") from error
