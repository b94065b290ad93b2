"""`/prompt` and `/videos`: members ask for videos, look at theirs, and cancel them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cards import layout
from bot.cards import reviews as review_cards
from bot.cards import videos as video_cards
from bot.cogs.ledger_notices import tell_refused
from bot.cogs.replies import answer
from bot.domain.errors import RoundClosedError, RoundNotOpenError, VideoNotYoursError, VideoOverError, VideoUnknownError
from bot.domain.policy import read_prompt
from bot.retry import patiently
from bot.store import reviews, rounds, videos
from migrations.database import now_ms

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

SHOWN = 10
HELD_SHOWN = 3


class Prompts(commands.Cog):
    """Commands about one's own videos."""

    def __init__(self, app: App) -> None:
        self.app = app

    @app_commands.command(name="prompt", description="Have a video made from your words, for the open round.")
    @app_commands.describe(text="What should be seen, and how it moves.")
    @app_commands.guild_only()
    async def prompt(self, interaction: discord.Interaction[Any], text: str) -> None:
        video_id = str(interaction.id)
        await answer(interaction, self._ask(interaction, text, video_id), ephemeral=False)
        if await videos.get_or_none(self.app.database, video_id):
            await self._remember_progress_message(interaction, video_id)

    async def _ask(self, interaction: discord.Interaction[Any], text: str, video_id: str) -> ui.LayoutView:
        app = self.app
        prompt = read_prompt(text)
        guild_id = interaction.guild_id or 0
        round_ = await rounds.open_in(app.database, guild_id)
        if round_ is None:
            await rounds.rounds_channel(app.database, guild_id)
            raise RoundNotOpenError
        if not round_.accepts_votes(now_ms()) and round_.status != "opening":
            raise RoundClosedError(number=round_.number)
        finding = app.prompt_rules.look_at(prompt)
        if finding is not None:
            await app.review_life.hold_prompt(finding, interaction, prompt, round_)
        async with app.database.begin() as connection:
            created = await videos.add(
                connection,
                video_id=video_id,
                guild_id=guild_id,
                round_id=round_.id,
                member_id=interaction.user.id,
                member_name=interaction.user.display_name[:100],
                prompt=prompt,
                model_id=app.settings.model_id,
                quota=app.quota,
            )
            if created:
                await app.video_life.begin(connection, video_id)
        video = await videos.get_or_none(app.database, video_id)
        if video is None:
            raise VideoUnknownError
        place = await videos.queue_place(app.database, video, app.settings.model_class)
        return video_cards.progress_card(video_cards.progress_text(video, round_, place, None), video)

    async def _remember_progress_message(self, interaction: discord.Interaction[Any], video_id: str) -> None:
        """The answer is an ordinary message: it can still be edited when the interaction's 15 minutes are over."""
        try:
            message = await patiently("Discord", interaction.original_response)
        except discord.HTTPException as error:
            log.warning("Video %s has no progress message: HTTP %s.", video_id, error.status)
            return
        await videos.change(
            self.app.database, video_id, progress_channel_id=message.channel.id, progress_message_id=message.id
        )

    @app_commands.command(name="videos", description="Your latest videos, and a way to cancel those on their way.")
    @app_commands.guild_only()
    async def videos(self, interaction: discord.Interaction[Any]) -> None:
        await answer(interaction, self._mine(interaction))
        await tell_refused(self.app, interaction)

    async def _mine(self, interaction: discord.Interaction[Any]) -> ui.LayoutView:
        mine = await videos.of_member(self.app.database, interaction.guild_id or 0, interaction.user.id, SHOWN)
        held = await reviews.prompts_of_member(
            self.app.database, interaction.guild_id or 0, interaction.user.id, HELD_SHOWN
        )
        return video_cards.my_videos(mine, [review_cards.held_line(review) for review in held])


async def cancel_video(app: App, interaction: discord.Interaction[Any], video_id: str) -> ui.LayoutView:
    """The cancel button."""
    video = await videos.get_or_none(app.database, video_id)
    if video is None or video.guild_id != interaction.guild_id:
        raise VideoUnknownError
    if video.member_id != interaction.user.id:
        raise VideoNotYoursError
    if not await app.video_life.cancel(video_id, "You cancelled this video. It does not count as a prompt."):
        raise VideoOverError
    return layout.note(f"🚫 **{layout.quote(video.prompt, 80)}** is being cancelled. It does not count as a prompt.")
