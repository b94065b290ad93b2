"""HLS of a finished mp4, without another encoding: one fragmented file, and a playlist that names its pieces by bytes.

Two files however long the video is (RFC 8216, EXT-X-BYTERANGE and EXT-X-MAP), so that the issuer of upload
addresses knows them beforehand. The same video gives the same bytes, so that an interrupted upload can go on.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import av
from av.error import FFmpegError

from generation.hosting.upload_plan import PLAYLIST, STREAM

PIECE_S = 2  # seconds of a piece, at least: pieces begin at key frames


def write_hls(video: BinaryIO, folder: Path) -> None:
    """Write PLAYLIST and STREAM into a folder. Raises OSError for any file but an mp4, and for a full disk."""
    options = {
        "hls_time": str(PIECE_S),
        "hls_playlist_type": "vod",
        "hls_list_size": "0",
        "hls_segment_type": "fmp4",
        "hls_flags": "single_file+independent_segments",
        "hls_segment_filename": str(folder / STREAM),
    }
    video.seek(0)
    try:
        with (
            av.open(video, format="mp4") as source,
            av.open(str(folder / PLAYLIST), "w", format="hls", options=options) as out,
        ):
            streams = [source.streams.video[0], *[s for s in source.streams.audio if s.codec_context.name == "aac"][:1]]
            copies = {stream.index: out.add_stream_from_template(stream) for stream in streams}
            for packet in source.demux(streams):
                if packet.dts is not None:  # the demuxer's end marks have none
                    packet.stream = copies[packet.stream.index]
                    out.mux(packet)
    except (FFmpegError, IndexError) as error:
        raise OSError(f"The video cannot be made into HLS ({type(error).__name__}).") from error
