"""The winner's video on the post of a result: its file where Discord takes it, else an address that plays."""

from __future__ import annotations

import asyncio
import io
import logging
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import discord
import httpx

from bot.client import Client
from bot.domain.videos import Video
from bot.files.attachments import attachment_name, fetch_mp4, plays, read_here
from bot.posts.once import is_too_large
from bot.posts.videos import VideoPosts
from bot.retry import UNREADABLE, passes
from generation.hosting.reach import PUBLIC, Reach

log = logging.getLogger(__name__)

HOST_S = 10.0  # for each place where a video may be: a result does not wait long for its video


@dataclass(frozen=True)
class Media:
    """A video for a message: a file to attach, or only the address that the message shows; neither where it is gone."""

    file: discord.File | None = None
    url: str | None = None


class WinnerVideos:
    """Finds the video of a winner. Nothing here keeps a result from being posted: without a video it is posted too."""

    def __init__(self, *, client: Client, posts: VideoPosts, data_dir: Path, reach: Reach = PUBLIC) -> None:
        """`reach` is what a video host may have us ask."""
        self._client = client
        self._posts = posts
        self._data_dir = data_dir
        self._reach = reach

    async def media(self, video: Video, guild: discord.Guild) -> Media:
        """Return the video from this machine, from its card, or from its host: as a file, or as the host's address."""
        limit = self._posts.limit_of(guild)
        data = await self._file_of(video, limit) if (video.size_bytes or 0) <= limit else None
        if data is not None and len(data) <= limit:
            name = attachment_name(video)
            return Media(discord.File(io.BytesIO(data), filename=name), f"attachment://{name}")
        return await self.address(video)

    async def address(self, video: Video) -> Media:
        """Return the video by its host's address alone, if that can be played in a message."""
        try:
            async with asyncio.timeout(HOST_S):
                is_there = await plays(video.playback_url or "", self._reach)
                return Media(url=video.playback_url) if is_there else Media()
        except (httpx.TransportError, TimeoutError):
            return Media()

    async def without_file(self, video: Video, guild: discord.Guild, error: discord.HTTPException) -> Media:
        """Return the video for a message whose file Discord refused by `error`. Raises what passes by itself."""
        if passes(error):
            raise error
        if is_too_large(error):
            self._posts.note_refusal(guild, video.size_bytes or 0)
        log.warning("A result is posted without its video's file (HTTP %d, %d).", error.status, error.code)
        return await self.address(video)

    async def _file_of(self, video: Video, limit: int) -> bytes | None:
        data = await asyncio.to_thread(read_here, video, self._data_dir) or await self._file_of_card(video)
        if data is None:
            try:
                async with asyncio.timeout(HOST_S):
                    data = await fetch_mp4(video.playback_url or "", limit, self._reach)
            except (httpx.TransportError, TimeoutError):
                data = None
        return data

    async def _file_of_card(self, video: Video) -> bytes | None:
        """Return the file that is attached to the video's card; None where there is none."""
        try:
            async with asyncio.timeout(HOST_S):
                thread = await self._client.thread(video.thread_id or 0)
                message = await thread.fetch_message(video.message_id or 0)
                for attached in message.attachments:
                    if attached.filename == attachment_name(video):
                        return await attached.read()
        except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, *UNREADABLE) as error:
            log.info("The card of video %s could not be read (%s).", video.id, type(error).__name__)
        return None
