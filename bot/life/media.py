"""The file that is attached to a card. A worker named its path and a host its address: neither is believed."""

from __future__ import annotations

import asyncio
import hashlib
import io
from pathlib import Path

import discord
import httpx

from bot.domain.videos import Video

TIMEOUT_S = 60.0


async def attachment(video: Video, data_dir: Path, limit: int) -> tuple[discord.File | None, str]:
    """The file where it fits into `limit` bytes (it then plays inline everywhere), else only its address at the host.

    Raises httpx.TransportError when the host does not answer.
    """
    if (video.size_bytes or 0) > limit:
        return None, video.playback_url or ""
    name = attachment_name(video)
    data = await asyncio.to_thread(read_here, video, data_dir)
    if data is None:
        data = await fetch_mp4(video.playback_url or "", limit)  # rendered on another machine: the host has it
    if data is not None:
        return discord.File(io.BytesIO(data), filename=name), f"attachment://{name}"
    return None, video.playback_url or ""


def attachment_name(video: Video) -> str:
    """What the file on a card is called."""
    return f"flock-{video.id}.mp4"


def read_here(video: Video, data_dir: Path) -> bytes | None:
    """The very bytes that were rendered and are recorded, if this machine has them."""
    path = rendered_here(video.video_path, data_dir)
    try:
        data = path.read_bytes() if path is not None else b""
    except OSError:
        return None
    return data if data and hashlib.sha256(data).hexdigest() == video.sha256 else None


def rendered_here(named: str | None, data_dir: Path) -> Path | None:
    """The file that a worker named, if this machine has it among its videos: no other file of ours may be posted."""
    if not named or "\0" in named:
        return None
    path = Path(named).resolve()
    ours = path.is_relative_to((data_dir / "videos").resolve()) and path.suffix == ".mp4"
    return path if ours and path.is_file() else None


async def fetch_mp4(url: str, limit: int) -> bytes | None:
    """The mp4 at an address; None where there is none, or more than `limit` bytes, or anything else than an mp4.

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
