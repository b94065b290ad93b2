"""Votes: the buttons of a card, the 👍 and 👎 on it, and what members write about a video."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import Literal

import discord
from discord import ui
from discord.ext import commands
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.cards import videos as video_cards
from bot.client import Interaction
from bot.cogs.ledger_notices import LedgerNotices
from bot.cogs.prompts import Prompts
from bot.cogs.replies import PATIENCE_S, Confirmations, answer, send_form
from bot.cogs.wallet import Wallets
from bot.domain.errors import ElsewhereError, FeedbackEmptyError, VideoUnknownError
from bot.domain.policy import clean_text
from bot.domain.videos import Video
from bot.domain.votes import Choice, Reaction, Standing, Vote, choice_of_emoji
from bot.store import feedback, videos
from bot.store.vote_writer import VoteWriter
from bot.sync.reactions import ReactionSync
from migrations.states.community import VideoStatus, VoteSource

log = logging.getLogger(__name__)

_CHOICES = {"up": Choice.UP, "down": Choice.DOWN, "withdraw": Choice.WITHDRAWN}
_BUTTON_ID = re.compile(video_cards.BUTTON_ID)
_MODAL_ID = re.compile(r"v1:(?P<kind>feedback|report):(?P<video>[0-9]{1,20})")
LONGEST_TEXT = 1000


class Voting(commands.Cog):
    """The route of all buttons and forms about a video, and the listener for reactions."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        votes: VoteWriter,
        reactions: ReactionSync,
        notices: LedgerNotices,
        wallets: Wallets,
        prompts: Prompts,
        on_ledger_s: float,
    ) -> None:
        """`on_ledger_s` is about how many seconds a vote takes to the ledger."""
        self._database = database
        self._votes = votes
        self._reactions = reactions
        self._notices = notices
        self._wallets = wallets
        self._prompts = prompts
        self._on_ledger_s = on_ledger_s
        self._confirmations = Confirmations()

    # ------------------------------------------------------------------ buttons and forms

    async def pressed(self, interaction: Interaction, custom_id: str) -> bool:
        """Answer a press. Return False if no button about a video has such an id."""
        match = _BUTTON_ID.fullmatch(custom_id)
        if match is None:
            return False
        action, video_id = match["action"], match["video"]
        if action in _CHOICES:
            await self._confirmations.answer(interaction, video_id, self._vote(interaction, video_id, _CHOICES[action]))
            await self._notices.tell_rejected(interaction)
        elif action == "cancel":
            await answer(interaction, self._prompts.cancel(interaction, video_id))
        else:
            await self._ask_for_text(interaction, action, video_id)
        return True

    async def submitted(self, interaction: Interaction, custom_id: str, text: str) -> bool:
        """Answer a form. Return False if no form about a video has such an id."""
        match = _MODAL_ID.fullmatch(custom_id)
        if match is None:
            return False
        await answer(interaction, self._keep(interaction, match["kind"], match["video"], text))
        return True

    async def _vote(self, interaction: Interaction, video_id: str, choice: Choice) -> ui.LayoutView:
        vote = Vote(interaction.guild_id or 0, video_id, interaction.user.id, choice, VoteSource.BUTTON)
        standing = await self._votes.cast(vote)
        if standing.wallet is not None:
            return await self._wallets.chosen_answer(interaction, standing)
        return video_cards.vote_answer(standing, video_id, self._on_ledger_s)

    async def _ask_for_text(self, interaction: Interaction, kind: str, video_id: str) -> None:
        """Send the form for feedback or for a report."""
        with contextlib.suppress(TimeoutError):  # the video is then checked when the text comes
            async with asyncio.timeout(PATIENCE_S):
                await self._video_here(interaction, video_id)
        is_feedback = kind == "feedback"
        form = ui.Modal(
            title="Feedback on this video" if is_feedback else "Report this video", custom_id=f"v1:{kind}:{video_id}"
        )
        field: ui.TextInput[ui.Modal] = ui.TextInput(
            style=discord.TextStyle.paragraph,
            custom_id="text",
            max_length=LONGEST_TEXT,
            placeholder="What works, and what doesn't?" if is_feedback else "What is wrong with it?",
        )
        form.add_item(ui.Label(text="Your words", component=field))
        await send_form(interaction, form)

    async def _keep(self, interaction: Interaction, kind: str, video_id: str, text: str) -> ui.LayoutView:
        """Record feedback or a report."""
        text = clean_text(text)[:LONGEST_TEXT]
        if not text:
            raise FeedbackEmptyError
        video = await self._video_here(interaction, video_id)
        prompt = layout.quote(video.prompt, 80)
        if kind == "feedback":
            await feedback.save_feedback(self._database, video_id, interaction.user.id, text)
            return layout.note(f"💬 Thank you for your feedback on **{prompt}**. Sending feedback again replaces it.")
        await feedback.save_report(self._database, video_id, interaction.user.id, text)
        log.info(
            "Member %d reported a video in server %d.",
            interaction.user.id,
            interaction.guild_id,
            extra={"video": video_id},
        )
        return layout.note(f"🚩 Your report of **{prompt}** is recorded. Only the operator can read it at the moment.")

    async def _video_here(self, interaction: Interaction, video_id: str) -> Video:
        """Return a posted video of the guild in which the member is. Raises VideoUnknownError or ElsewhereError."""
        video = await videos.get_or_none(self._database, video_id)
        if video is None or video.status != VideoStatus.PUBLISHED:
            raise VideoUnknownError
        if video.guild_id != interaction.guild_id:
            raise ElsewhereError
        return video

    # ------------------------------------------------------------------ reactions

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        if payload.member is not None and payload.member.bot:
            return
        await self._record(payload, "added")

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        await self._record(payload, "removed")

    async def _record(self, payload: discord.RawReactionActionEvent, change: Literal["added", "removed"]) -> None:
        choice = choice_of_emoji(payload.emoji.name or "") if payload.emoji.is_unicode_emoji() else None
        if choice is None or payload.guild_id is None:
            return
        reaction = Reaction(payload.guild_id, payload.message_id, payload.user_id, choice, change)
        standing = await self._reactions.record(reaction)
        if standing is not None and standing.changed and self._confirmations.exist(reaction.member_id):
            await self._confirm(reaction, standing)

    async def _confirm(self, reaction: Reaction, standing: Standing) -> None:
        """Let the member's confirmation of an earlier press say what the vote is now. Raises nothing."""
        try:
            video = await videos.by_message_or_none(self._database, reaction.message_id)
        except (SQLAlchemyError, OSError) as error:
            log.info("A confirmation could not be brought up to date (%s).", type(error).__name__)
            return
        if video is not None and standing.wallet is None:
            view = video_cards.vote_answer(standing, video.id, self._on_ledger_s)
            await self._confirmations.show(reaction.member_id, video.id, view)

    @commands.Cog.listener()
    async def on_connect(self) -> None:
        self._reactions.begin_session()

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        await self._reactions.look_at_all()
