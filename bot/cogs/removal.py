"""`/video remove`: a moderator takes a video away, whether it is posted or still being made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cards import layout
from bot.cards import limits as card_limits
from bot.cogs.replies import answer
from bot.domain.errors import RemovalTooEarlyError, VideoUnknownError
from bot.domain.policy import clean_text
from bot.domain.videos import Video
from bot.store import videos

if TYPE_CHECKING:
    from bot.app import App

LONGEST_REASON = 200
SUGGESTED = 25  # the most that Discord shows
_LINK = re.compile(r"https://(?:\w+\.)?discord(?:app)?\.com/channels/[0-9]+/[0-9]+/(?P<message>[0-9]{1,20})")


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class Removal(commands.GroupCog, group_name="video", group_description="Take videos away."):
    """Moderators' commands about one video."""

    def __init__(self, app: App) -> None:
        self.app = app
        super().__init__()

    @app_commands.command(name="remove", description="Take a video away: its card, its votes in the round, its copy.")
    @app_commands.describe(
        video="Choose one, or paste the link of its message.",
        reason="A sentence for the member, such as: it shows a real person.",
    )
    async def remove(self, interaction: discord.Interaction[Any], video: str, reason: str) -> None:
        await answer(interaction, self._remove(interaction, video, reason))

    @remove.autocomplete("video")
    async def suggest(self, interaction: discord.Interaction[Any], typed: str) -> list[app_commands.Choice[str]]:
        latest = await videos.latest(self.app.database, interaction.guild_id or 0, typed[:100], SUGGESTED)
        return [
            app_commands.Choice(name=card_limits.plain(video.prompt, card_limits.MOST_NAME), value=video.id)
            for video in latest
        ]

    async def _remove(self, interaction: discord.Interaction[Any], named: str, reason: str) -> ui.LayoutView:
        app = self.app
        video = await self._find(interaction.guild_id or 0, named.strip())
        because = clean_text(reason)[:LONGEST_REASON] or "no reason was given"
        if await app.video_life.cancel(video.id, f"A moderator stopped this video: {because}"):
            return layout.note(f"🗑️ **{layout.quote(video.prompt, 80)}** will not be posted. Its member is told why.")
        async with app.database.begin() as connection:
            removed = await videos.remove(connection, video.id, because)
            if removed:
                await app.removal_life.begin(connection, video.id)
        status = "removed" if removed else (await videos.get(app.database, video.id)).status
        if status == "posting":
            raise RemovalTooEarlyError
        if status != "removed":  # it failed, or was cancelled: there is nothing to see of it
            raise VideoUnknownError
        return layout.note(
            f"🗑️ **{layout.quote(video.prompt, 80)}** is removed: from its thread, from the standings, and from the "
            "video host. Its member is told why. Its entry on the ledger stays, as everything there does; it holds "
            "hashes and votes, not the video."
        )

    async def _find(self, guild_id: int, named: str) -> Video:
        link = _LINK.fullmatch(named)
        found = (
            await videos.by_message_or_none(self.app.database, int(link["message"]))
            if link
            else await videos.get_or_none(self.app.database, named)
        )
        if found is None or found.guild_id != guild_id:
            raise VideoUnknownError
        return found
