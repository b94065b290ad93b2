"""The one message that shows how a video comes along: looked at often, edited seldom."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import aiohttp
import discord
from sqlalchemy.exc import SQLAlchemyError

from bot.cards import videos as video_cards
from bot.domain.videos import Video
from bot.store import rounds, videos

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

# Discord allows about five edits per channel in five seconds; the rest is left to votes and posts.
MOST_EDITS_A_CHANNEL = 3


class ProgressBoard:
    """Brings progress messages up to date. What is missed is only late: the last edit of a video is a durable step."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._shown: dict[str, tuple[float, str]] = {}  # video -> when it was last edited, and with what text
        self._editing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def editing(self, video_id: str) -> asyncio.Lock:
        """Held while a video's message is edited: of two edits on their way, Discord may take the older one last."""
        return self._editing.setdefault(video_id, asyncio.Lock())

    async def tick(self) -> None:
        """One look at all videos on their way."""
        try:
            await self._tick()
        except (SQLAlchemyError, discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.warning("Progress could not be shown: %s", type(error).__name__)

    async def _tick(self) -> None:
        under_way = await videos.under_way(self.app.database)
        self._shown = {v.id: self._shown[v.id] for v in under_way if v.id in self._shown}
        progress = await videos.progress_of(self.app.database, [v.id for v in under_way])
        edits: dict[int, int] = {}
        now = time.monotonic()
        # The longest unchanged first, so that everybody gets their turn where edits are short.
        for video in sorted(under_way, key=lambda v: self._shown.get(v.id, (0.0, ""))[0]):
            if video.status == "queued" and video.id in progress:
                await videos.begin_rendering(self.app.database, video.id)
            last, text_then = self._shown.get(video.id, (0.0, ""))
            channel_id, message_id = video.progress_channel_id, video.progress_message_id
            if channel_id is None or message_id is None or now - last < self.app.settings.progress_s:
                continue
            if edits.get(channel_id, 0) >= MOST_EDITS_A_CHANNEL:
                continue
            round_ = await rounds.get(self.app.database, video.round_id)
            place = None
            if video.status == "queued":
                place = await videos.queue_place(self.app.database, video, self.app.settings.model_class)
            text = video_cards.progress_text(video, round_, place, progress.get(video.id))
            if text == text_then:
                continue
            edits[channel_id] = edits.get(channel_id, 0) + 1
            self._shown[video.id] = (now, text)
            await self._edit(video, channel_id, message_id, text)

    async def _edit(self, video: Video, channel_id: int, message_id: int, text: str) -> None:
        try:
            channel = await self.app.client.channel(channel_id)
            async with self.editing(video.id):
                # The life of the video may have ended while we were looking: its last edit must stay the last.
                now = await videos.get_or_none(self.app.database, video.id)
                if now is None or now.status != video.status:
                    return
                await channel.get_partial_message(message_id).edit(view=video_cards.progress_card(text, video))
        except (discord.NotFound, discord.Forbidden):
            await videos.change(self.app.database, video.id, progress_message_id=None, progress_channel_id=None)
