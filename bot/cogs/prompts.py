"""`/prompt` and `/videos`: members ask for videos, look at theirs, and cancel them."""

from __future__ import annotations

import logging

import discord
from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.cards import reviews as review_cards
from bot.cards import videos as video_cards
from bot.client import Interaction
from bot.cogs.learning.training import Training
from bot.cogs.ledger_notices import LedgerNotices
from bot.cogs.replies import answer
from bot.domain.errors import (
    MemberError,
    PromptWaitsError,
    RoundClosedError,
    RoundNotOpenError,
    VideoNotYoursError,
    VideoOverError,
    VideoUnknownError,
)
from bot.domain.policy import LONGEST_PROMPT, Quota, read_prompt
from bot.domain.rounds import Round
from bot.prompt_filter.rules import PromptRules
from bot.retry import patiently
from bot.store import reviews as review_store
from bot.store import rounds, videos
from bot.workflows.review import ReviewWorkflow
from bot.workflows.video_queue import VideoQueue
from migrations.database import now_ms
from migrations.states.community import RoundStatus

log = logging.getLogger(__name__)

MOST_VIDEOS = 10  # in `/videos`
MOST_HELD_PROMPTS = 3  # likewise


class Prompts(commands.Cog):
    """Commands of members about their own videos."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        prompt_rules: PromptRules,
        reviews: ReviewWorkflow,
        queue: VideoQueue,
        notices: LedgerNotices,
        training: Training,
        quota: Quota,
        model_id: str,
        model_class: str,
    ) -> None:
        self._database = database
        self._prompt_rules = prompt_rules
        self._reviews = reviews
        self._queue = queue
        self._notices = notices
        self._training = training
        self._quota = quota
        self._model_id = model_id
        self._model_class = model_class

    @app_commands.command(name="prompt", description="Make a video from your prompt for the current round.")
    @app_commands.describe(text="What the video should show, and how it moves.")
    @app_commands.guild_only()
    async def prompt(self, interaction: Interaction, text: app_commands.Range[str, 1, LONGEST_PROMPT]) -> None:
        """Take a prompt. Discord shows how much of its length is used, and sends none that is longer.

        `read_prompt` refuses too long a one as well: a client may still have an earlier definition of the command.
        """
        video_id = str(interaction.id)
        await answer(interaction, self._ask_or_give_back(interaction, text, video_id), ephemeral=False)
        if await videos.get_or_none(self._database, video_id):
            await self._remember_progress_message(interaction, video_id)
            await self._training.tell_once(interaction)

    async def _ask_or_give_back(self, interaction: Interaction, text: str, video_id: str) -> ui.LayoutView:
        """Take a prompt. A refusal gives the member their text back: their client has cleared it already."""
        try:
            return await self._ask(interaction, text, video_id)
        except PromptWaitsError:  # it is kept
            raise
        except MemberError as error:
            error.typed = text
            raise

    async def _ask(self, interaction: Interaction, text: str, video_id: str) -> ui.LayoutView:
        prompt = read_prompt(text)
        guild_id, member_id = interaction.guild_id or 0, interaction.user.id
        member_name = interaction.user.display_name[:100]
        round_ = await rounds.open_in(self._database, guild_id)
        if round_ is None:
            await rounds.rounds_channel(self._database, guild_id)
            raise RoundNotOpenError
        _check_open(round_)
        finding = self._prompt_rules.look_at(prompt)
        if finding is not None:
            await self._reviews.hold_prompt(
                finding,
                interaction_id=interaction.id,
                guild_id=guild_id,
                member_id=member_id,
                member_name=member_name,
                channel_id=interaction.channel_id,
                prompt=prompt,
                round_id=round_.id,
            )
        async with self._database.begin() as connection:
            locked = await rounds.lock_for_read(connection, round_.id)
            created = await videos.add(
                connection,
                video_id=video_id,
                guild_id=guild_id,
                round_id=round_.id,
                member_id=member_id,
                member_name=member_name,
                prompt=prompt,
                model_id=self._model_id,
                quota=self._quota,
            )
            if created:
                _check_open(locked)  # by the time after all waits: a round that closed meanwhile takes no video
                await self._queue.begin(connection, video_id)
        video = await videos.get_or_none(self._database, video_id)
        if video is None:
            raise VideoUnknownError
        place = await videos.queue_place(self._database, video, self._model_class)
        return video_cards.progress_card(video_cards.progress_text(video, round_, place, None), video)

    async def _remember_progress_message(self, interaction: Interaction, video_id: str) -> None:
        """Record the answer as the video's progress message.

        It is an ordinary message, so it can still be edited when the interaction's 15 minutes are over.
        """
        try:
            message = await patiently("Discord", interaction.original_response)
        except discord.HTTPException as error:
            log.warning("Video %s has no progress message: HTTP %s.", video_id, error.status)
            return
        await videos.change(
            self._database, video_id, progress_channel_id=message.channel.id, progress_message_id=message.id
        )

    @app_commands.command(name="videos", description="Your latest videos, and buttons to cancel those in progress.")
    @app_commands.guild_only()
    async def my_videos(self, interaction: Interaction) -> None:
        await answer(interaction, self._my_videos(interaction))
        await self._notices.tell_rejected(interaction)

    async def _my_videos(self, interaction: Interaction) -> ui.LayoutView:
        guild_id, member_id = interaction.guild_id or 0, interaction.user.id
        latest = await videos.of_member(self._database, guild_id, member_id, MOST_VIDEOS)
        held_prompts = await review_store.prompts_of_member(self._database, guild_id, member_id, MOST_HELD_PROMPTS)
        return video_cards.my_videos(latest, [review_cards.held_line(review) for review in held_prompts])

    async def cancel(self, interaction: Interaction, video_id: str) -> ui.LayoutView:
        """Cancel a video for the member who pressed its cancel button, and return the answer.

        Raises VideoUnknownError, VideoNotYoursError or VideoOverError.
        """
        video = await videos.get_or_none(self._database, video_id)
        if video is None or video.guild_id != interaction.guild_id:
            raise VideoUnknownError
        if video.member_id != interaction.user.id:
            raise VideoNotYoursError
        if not await self._queue.cancel(video_id, "You cancelled this video. It doesn't count towards your limit."):
            raise VideoOverError
        return layout.note(
            f"🚫 **{layout.quote(video.prompt, 80)}** is being cancelled. It doesn't count towards your limit."
        )


def _check_open(round_: Round) -> None:
    """Raise RoundClosedError where a round takes no prompts any more."""
    if not round_.accepts_votes(now_ms()) and round_.status != RoundStatus.OPENING:
        raise RoundClosedError(number=round_.number)
