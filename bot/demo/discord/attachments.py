"""Uploaded files: kept on disk, described as Discord describes them, served with ranges."""

from __future__ import annotations

import asyncio
import io
import mimetypes
import os
import re
import secrets
from fractions import Fraction
from pathlib import Path

import av
import av.error
from aiohttp import web

MOST_BYTES = 10 * 1024 * 1024  # of one file, in a guild without boosts
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_INLINE = ("image/", "video/", "audio/")


def safe_name(filename: str) -> str:
    """Return the name under which a file is kept: Discord too replaces what an address cannot hold."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", filename).lstrip(".")[-100:] or "file"


class Attachments:
    """The store of files, in place of simcord's own. Addresses are on this server and do not expire."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.base_url = base_url
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def store_attachment(
        self, attachment_id: int, channel_id: int, filename: str, data: bytes, description: str | None
    ) -> dict[str, object]:
        """Store a file, and return its attachment object (https://discord.com/developers/docs/resources/message)."""
        name = safe_name(filename)
        path = self.folder / f"{attachment_id}-{name}"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        url = f"{self.base_url}/attachments/{channel_id}/{attachment_id}/{name}"
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        attachment: dict[str, object] = {
            "id": str(attachment_id),
            "filename": name,
            "description": description,
            "size": len(data),
            "url": url,
            "proxy_url": url,
            "content_type": content_type,
        }
        if size := _picture_size(content_type, data):
            attachment["width"], attachment["height"] = size
        return attachment

    def path(self, attachment_id: str, name: str) -> Path | None:
        """Return the path of a file, if there is one of that name."""
        if not re.fullmatch(r"[0-9]{1,20}", attachment_id) or not _NAME.fullmatch(name):
            return None
        path = self.folder / f"{attachment_id}-{name}"
        return path if path.is_file() else None

    def get(self, url: str) -> bytes | None:
        """Return the bytes behind one of our addresses (simcord asks)."""
        attachment_id, _, name = url.removeprefix(f"{self.base_url}/attachments/").partition("/")[2].partition("/")
        path = self.path(attachment_id, name)
        return path.read_bytes() if path else None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer GET and HEAD /attachments/{channel}/{id}/{name}, with ranges.

        With `format=jpeg` a video's beginning comes as a picture, as from Discord's media proxy.
        """
        name = request.match_info["name"]
        path = self.path(request.match_info["id"], name)
        if path is None:
            raise web.HTTPNotFound
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        if request.query.get("format") == "jpeg" and content_type.startswith("video/"):
            path, content_type = await asyncio.to_thread(_still_of, path), "image/jpeg"
        # Members' files must never run as a page of this origin.
        headers = {
            "Content-Type": content_type,
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; media-src 'self'; sandbox",
            "Cache-Control": "private, max-age=31536000, immutable",
        }
        if not content_type.startswith(_INLINE):
            headers["Content-Disposition"] = "attachment"
        return web.FileResponse(path, headers=headers)


def _still_of(video: Path) -> Path:
    """Return the path of a JPEG of a video's first frame, which is made once. Raises HTTPNotFound."""
    still = video.with_name(f"{video.name}.still.jpg")
    if not still.is_file():
        try:
            with av.open(str(video)) as media:
                frame = next(media.decode(video=0))
            codec = av.CodecContext.create("mjpeg", "w")
            codec.width, codec.height, codec.pix_fmt = frame.width, frame.height, "yuvj420p"
            codec.time_base = Fraction(1, 1)
            packets = [*codec.encode(frame.reformat(format="yuvj420p")), *codec.encode(None)]
        except (av.error.FFmpegError, IndexError, StopIteration, ValueError) as error:
            raise web.HTTPNotFound from error
        draft = still.with_name(f"{still.name}.{secrets.token_hex(4)}")
        draft.write_bytes(b"".join(bytes(packet) for packet in packets))
        draft.replace(still)
    return still


def _picture_size(content_type: str, data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels of an image or video, as Discord measures them; None if it cannot be read."""
    if not content_type.startswith(("image/", "video/")):
        return None
    try:
        with av.open(io.BytesIO(data)) as media:
            stream = media.streams.video[0]
            return (int(stream.width), int(stream.height)) if stream.width and stream.height else None
    except (av.error.FFmpegError, IndexError, ValueError):
        return None
