"""The file that is attached to a card. Its path comes from a worker and its address from a host: both are checked."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import re
from pathlib import Path
from typing import Protocol

import discord
import httpx

from bot.domain.videos import Video
from generation.hosting.guarded import TOTAL_S, Fetched, fetch
from generation.hosting.reach import ForbiddenAddressError, Reach
from generation.video.latents import latents_path

log = logging.getLogger(__name__)


class RenderedFile(Protocol):
    """A video as a worker rendered it: where its file is on that machine, and the hash of its bytes."""

    @property
    def id(self) -> str: ...
    @property
    def video_path(self) -> str | None: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def size_bytes(self) -> int | None: ...


async def attachment(video: Video, data_dir: Path, limit: int, reach: Reach) -> tuple[discord.File | None, str]:
    """Return the file if it fits into `limit` bytes (it then plays inline everywhere), else only the host's address.

    `reach` is what its host may have us ask. Raises httpx.TransportError when the host does not answer.
    """
    if (video.size_bytes or 0) > limit:
        return None, video.playback_url or ""
    name = attachment_name(video)
    data = await asyncio.to_thread(read_here, video, data_dir)
    if data is None:  # it could not be brought here either; the host's copy has no manifest any more
        data = await fetch_mp4(video.playback_url or "", limit, reach)
    if data is not None:
        return discord.File(io.BytesIO(data), filename=name), f"attachment://{name}"
    return None, video.playback_url or ""


def attachment_name(video: Video) -> str:
    """Return the name of the file on a card."""
    return f"flock-{video.id}.mp4"


def read_here(video: RenderedFile, data_dir: Path) -> bytes | None:
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


def delete_rendered(video: RenderedFile, data_dir: Path) -> None:
    """Delete a video with its poster, note and latents, if they are on this machine."""
    brought_path(video.id, data_dir).unlink(missing_ok=True)
    path = rendered_here(video.video_path, data_dir)
    if path is not None:
        for each in (path, path.with_suffix(".jpg"), path.with_suffix(".json"), latents_path(path)):
            each.unlink(missing_ok=True)


async def plays(url: str, reach: Reach) -> bool:
    """Return True if there is an mp4 at an address within reach. Raises httpx.TransportError when nothing answers.

    Discord plays no list of segments (HLS), and shows an empty frame for an address at which there is nothing.
    """
    found = await _fetch(url, reach, 12, headers={"Range": "bytes=0-11"})
    return found is not None and found.is_success and found.data[4:8] == b"ftyp"


async def fetch_mp4(url: str, limit: int, reach: Reach) -> bytes | None:
    """Return the mp4 at an address; None if there is none, or more than `limit` bytes, or anything but an mp4.

    An address beyond our reach, or whose host is too slow for a whole file, has none either. Raises
    httpx.TransportError when nothing answers.
    """
    found = await _fetch(url, reach, limit)
    if found is None or not found.is_success or not found.is_whole:
        return None
    return found.data if found.data[4:8] == b"ftyp" else None  # ISO 14496-12: the first box


async def _fetch(url: str, reach: Reach, most: int, *, headers: dict[str, str] | None = None) -> Fetched | None:
    if not url.startswith(("https://", "http://")):
        return None
    try:
        return await fetch(url, reach, most, headers=headers)
    except ForbiddenAddressError as error:
        log.warning("A video is not fetched. %s", error)
    except TimeoutError:
        log.warning("A video is not fetched: its host takes more than %d s for it.", TOTAL_S)
    except (httpx.InvalidURL, httpx.TooManyRedirects, httpx.DecodingError):
        pass
    return None
