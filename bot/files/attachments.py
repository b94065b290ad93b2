"""The file that is attached to a card. Its path comes from a worker and its address from a host: both are checked."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from pathlib import Path

import discord
import httpx

from bot.domain.videos import Video

TIMEOUT_S = 60.0


async def attachment(video: Video, data_dir: Path, limit: int) -> tuple[discord.File | None, str]:
    """Return the file if it fits into `limit` bytes (it then plays inline everywhere), else only the host's address.

    Raises httpx.TransportError when the host does not answer.
    """
    if (video.size_bytes or 0) > limit:
        return None, video.playback_url or ""
    name = attachment_name(video)
    data = await asyncio.to_thread(read_here, video, data_dir)
    if data is None:  # it could not be brought here either; the host's copy has no manifest any more
        data = await fetch_mp4(video.playback_url or "", limit)
    if data is not None:
        return discord.File(io.BytesIO(data), filename=name), f"attachment://{name}"
    return None, video.playback_url or ""


def attachment_name(video: Video) -> str:
    """Return the name of the file on a card."""
    return f"flock-{video.id}.mp4"


def read_here(video: Video, data_dir: Path) -> bytes | None:
    """Return the very bytes that were rendered and recorded, if this machine has them: rendered or brought here."""
    for path in (rendered_here(video.video_path, data_dir), brought_path(video.id, data_dir)):
        try:
            data = path.read_bytes() if path is not None else b""
        except OSError:
            continue
        if data and hashlib.sha256(data).hexdigest() == video.sha256:
            return data
    return None


def brought_path(video_id: str, data_dir: Path) -> Path:
    """Return the path of a file that is brought here from another machine. No worker chooses it."""
    if not re.fullmatch(r"[0-9]{1,20}", video_id):
        raise ValueError("A video id is a Discord interaction id.")
    return data_dir / "originals" / f"{video_id}.mp4"


def rendered_here(path_text: str | None, data_dir: Path) -> Path | None:
    """Return the path that a worker gave, if it is one of this machine's videos. No other file may ever be posted."""
    if not path_text or "\0" in path_text:
        return None
    path = Path(path_text).resolve()
    is_video = path.is_relative_to((data_dir / "videos").resolve()) and path.suffix == ".mp4"
    return path if is_video and path.is_file() else None


def delete_rendered(video: Video, data_dir: Path) -> None:
    """Delete a video with its poster and note, if they are on this machine."""
    brought_path(video.id, data_dir).unlink(missing_ok=True)
    path = rendered_here(video.video_path, data_dir)
    if path is not None:
        for each in (path, path.with_suffix(".jpg"), path.with_suffix(".json")):
            each.unlink(missing_ok=True)


async def plays(url: str) -> bool:
    """Return True if there is an mp4 at an address. Raises httpx.TransportError when nothing answers.

    Discord plays no list of segments (HLS), and shows an empty frame for an address at which there is nothing.
    """
    if not url.startswith(("https://", "http://")):
        return False
    try:
        async with (
            httpx.AsyncClient(follow_redirects=True, timeout=TIMEOUT_S) as client,
            client.stream("GET", url, headers={"Range": "bytes=0-11"}) as answer,
        ):
            async for part in answer.aiter_bytes(12):
                return answer.is_success and part[4:8] == b"ftyp"
    except (httpx.InvalidURL, httpx.TooManyRedirects, httpx.DecodingError):
        return False
    return False


async def fetch_mp4(url: str, limit: int) -> bytes | None:
    """Return the mp4 at an address; None if there is none, or more than `limit` bytes, or anything but an mp4.

    Raises httpx.TransportError when nothing answers.
    """
    if not url.startswith(("https://", "http://")):
        return None
    try:
        async with (
            httpx.AsyncClient(follow_redirects=True, timeout=TIMEOUT_S) as client,
            client.stream("GET", url) as answer,
        ):
            data = bytearray()
            async for part in answer.aiter_bytes():
                data += part
                if len(data) > limit:
                    return None
    except (httpx.InvalidURL, httpx.TooManyRedirects, httpx.DecodingError):
        return None
    return bytes(data) if answer.is_success and data[4:8] == b"ftyp" else None  # ISO 14496-12: the first box
