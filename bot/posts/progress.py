"""The one message that shows the progress of a video. It is checked often and edited seldom."""

from __future__ import annotations

import asyncio
import logging
import time
from weakref import WeakValueDictionary

import aiohttp
import discord
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import videos as video_cards
from bot.client import Client
from bot.domain.videos import Video
from bot.retry import passes
from bot.store import rounds, videos
from migrations.states.community import VideoStatus

log = logging.getLogger(__name__)

# Discord allows about five edits per channel in five seconds; the rest is left to votes and posts.
MOST_EDITS_A_CHANNEL = 3


class ProgressMessages:
    """Keeps progress messages up to date.

    An edit that fails is only late: the last edit of a video, `finish`, is a durable step of its workflow.
    """

    def __init__(self, *, database: AsyncEngine, client: Client, progress_s: float, model_class: str) -> None:
        """`progress_s` is the least time between two edits of one message, in seconds."""
        self._database = database
        self._client = client
        self._progress_s = progress_s
        self._model_class = model_class
        self._last_edits: dict[str, tuple[float, str]] = {}  # by video: the time and the text of the last edit
        self._editing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def editing(self, video_id: str) -> asyncio.Lock:
        """Return the lock for edits of a video's messages: Discord may apply two concurrent edits in either order."""
        return self._editing.setdefault(video_id, asyncio.Lock())

    async def tick(self) -> None:
        """Edit the messages of videos whose progress has changed."""
        try:
            await self._tick()
        except (SQLAlchemyError, discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.warning("Progress could not be shown: %s", type(error).__name__)

    async def finish(self, video_id: str) -> None:
        """Make the last edit of a progress message: a link to the post, or the reason why there is none.

        Raises what passes by itself; the caller tries again.
        """
        try:
            async with self.editing(video_id):  # what is read here is what the last edit shows
                video = await videos.get(self._database, video_id)
                channel_id, message_id = video.progress_channel_id, video.progress_message_id
                if channel_id is None or message_id is None:
                    return
                round_ = await rounds.get(self._database, video.round_id)
                progress = (await videos.progress_of(self._database, [video.id])).get(video.id)
                card = video_cards.progress_card(video_cards.progress_text(video, round_, None, progress), video)
                channel = await self._client.channel(channel_id)
                await channel.get_partial_message(message_id).edit(view=card)
        except discord.HTTPException as error:
            if passes(error):
                raise
            log.info("The progress message of video %s is gone: HTTP %s.", video_id, error.status)

    async def _tick(self) -> None:
        under_way = await videos.under_way(self._database)
        self._last_edits = {v.id: self._last_edits[v.id] for v in under_way if v.id in self._last_edits}
        progress = await videos.progress_of(self._database, [v.id for v in under_way])
        edits: dict[int, int] = {}
        now = time.monotonic()
        # The message that was unchanged for longest goes first, so that all get their turn where edits are scarce.
        for video in sorted(under_way, key=lambda v: self._last_edits.get(v.id, (0.0, ""))[0]):
            if video.status == VideoStatus.QUEUED and video.id in progress:
                await videos.begin_rendering(self._database, video.id)
            last, text_then = self._last_edits.get(video.id, (0.0, ""))
            channel_id, message_id = video.progress_channel_id, video.progress_message_id
            if channel_id is None or message_id is None or now - last < self._progress_s:
                continue
            if edits.get(channel_id, 0) >= MOST_EDITS_A_CHANNEL:
                continue
            round_ = await rounds.get(self._database, video.round_id)
            place = None
            if video.status == VideoStatus.QUEUED:
                place = await videos.queue_place(self._database, video, self._model_class)
            text = video_cards.progress_text(video, round_, place, progress.get(video.id))
            if text == text_then:
                continue
            edits[channel_id] = edits.get(channel_id, 0) + 1
            self._last_edits[video.id] = (now, text)
            await self._edit(video, channel_id, message_id, text)

    async def _edit(self, video: Video, channel_id: int, message_id: int, text: str) -> None:
        try:
            channel = await self._client.channel(channel_id)
            async with self.editing(video.id):
                # The workflow may have ended in the meantime: its last edit must stay the last.
                now = await videos.get_or_none(self._database, video.id)
                if now is None or now.status != video.status:
                    return
                await channel.get_partial_message(message_id).edit(view=video_cards.progress_card(text, video))
        except (discord.NotFound, discord.Forbidden):
            await videos.change(self._database, video.id, progress_message_id=None, progress_channel_id=None)
