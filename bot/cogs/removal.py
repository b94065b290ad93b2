"""`/video remove`: a moderator takes a video away, whether it is posted or still being made."""

from __future__ import annotations

import logging
import re

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.cards import limits as card_limits
from bot.client import Interaction
from bot.cogs.replies import answer
from bot.domain.errors import RemovalTooEarlyError, VideoUnknownError
from bot.domain.policy import clean_text
from bot.domain.videos import Video
from bot.store import videos
from bot.workflows.removal import RemovalWorkflow
from bot.workflows.video_queue import VideoQueue
from migrations.states.community import VideoStatus

log = logging.getLogger(__name__)

LONGEST_REASON = 200
MOST_SUGGESTIONS = 25  # Discord shows no more
_LINK = re.compile(r"https://(?:\w+\.)?discord(?:app)?\.com/channels/[0-9]+/[0-9]+/(?P<message>[0-9]{1,20})")


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class Removal(commands.GroupCog, group_name="video", group_description="Remove videos."):
    """Commands of moderators about one video."""

    def __init__(self, *, database: AsyncEngine, queue: VideoQueue, removals: RemovalWorkflow) -> None:
        self._database = database
        self._queue = queue
        self._removals = removals
        super().__init__()

    @app_commands.command(
        name="remove", description="Remove a video: its card, its votes in this round, and the hosted copy."
    )
    @app_commands.describe(
        video="Choose a video, or paste the link to its message.",
        reason="The reason that the member reads, such as: it shows a real person.",
    )
    async def remove(self, interaction: Interaction, video: str, reason: str) -> None:
        await answer(interaction, self._remove(interaction, video.strip(), reason))

    @remove.autocomplete("video")
    async def suggest(self, interaction: Interaction, text: str) -> list[app_commands.Choice[str]]:
        matches = await videos.latest(self._database, interaction.guild_id or 0, text[:100], MOST_SUGGESTIONS)
        return [
            app_commands.Choice(name=card_limits.plain(video.prompt, card_limits.MOST_NAME), value=video.id)
            for video in matches
        ]

    async def _remove(self, interaction: Interaction, reference: str, reason: str) -> ui.LayoutView:
        guild_id = interaction.guild_id or 0
        video = await self._find(guild_id, reference)
        clean_reason = clean_text(reason)[:LONGEST_REASON] or "no reason was given"
        prompt = layout.quote(video.prompt, 80)
        by = (interaction.user.id, guild_id)
        if await self._queue.cancel(video.id, f"A moderator stopped this video: {clean_reason}"):
            log.info("Member %d stopped a video in server %d.", *by, extra={"video": video.id})
            return layout.note(f"🗑️ **{prompt}** won't be posted. Its author will be told why.")
        async with self._database.begin() as connection:
            removed = await videos.remove(connection, video.id, clean_reason)
            if removed:
                await self._removals.begin(connection, video.id)
        if removed:
            log.info("Member %d removed a video in server %d.", *by, extra={"video": video.id})
        status = VideoStatus.REMOVED if removed else (await videos.get(self._database, video.id)).status
        if status == VideoStatus.POSTING:
            raise RemovalTooEarlyError
        if status != VideoStatus.REMOVED:  # it failed, or was cancelled: nothing of it can be seen
            raise VideoUnknownError
        return layout.note(
            f"🗑️ **{prompt}** is being removed from its thread, from the standings, and from the "
            "video host. Its author will be told why. Its entry on the ledger stays, as everything there does; it "
            "holds hashes and votes, not the video."
        )

    async def _find(self, guild_id: int, reference: str) -> Video:
        """Return a guild's video by its id or by the link of its message. Raises VideoUnknownError."""
        link = _LINK.fullmatch(reference)
        video = (
            await videos.by_message_or_none(self._database, int(link["message"]))
            if link
            else await videos.get_or_none(self._database, reference)
        )
        if video is None or video.guild_id != guild_id:
            raise VideoUnknownError
        return video
