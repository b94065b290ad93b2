"""Votes: the buttons of a card, the 👍 and 👎 on it, and what members write about a video."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING, Any

import discord
from discord import ui
from discord.ext import commands

from bot.cards import layout
from bot.cards import videos as video_cards
from bot.cogs.ledger_notices import tell_refused
from bot.cogs.prompts import cancel_video
from bot.cogs.replies import answer, answer_error, first_text, insist
from bot.cogs.wallet import chosen_answer
from bot.domain.errors import ElsewhereError, FeedbackEmptyError, UnreadableButtonError, VideoUnknownError
from bot.domain.policy import clean_text
from bot.domain.videos import Video
from bot.domain.votes import Choice, Reaction, Vote, choice_of_emoji
from bot.posts.once import marks
from bot.store import feedback as words
from bot.store import videos
from bot.sync.reactions import record
from migrations.states_community import VoteSource

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

_CHOICES = {"up": Choice.UP, "down": Choice.DOWN, "withdraw": Choice.WITHDRAWN}
_MODAL_ID = re.compile(r"v1:(?P<kind>feedback|report):(?P<video>[0-9]{1,20})")
LONGEST_TEXT = 1000


class VideoButton(ui.DynamicItem[ui.Button[Any]], template=video_cards.BUTTON_ID):
    """Any button about a video. Its whole state is its custom id, so it answers after any restart."""

    def __init__(self, action: str, video_id: str) -> None:
        super().__init__(ui.Button(custom_id=video_cards.custom_id(action, video_id)))
        self.action = action
        self.video_id = video_id

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction[Any], _item: ui.Item[Any], match: re.Match[str], /
    ) -> VideoButton:
        return cls(match["action"], match["video"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await pressed(interaction.client.app, interaction, self.action, self.video_id)


async def pressed(app: App, interaction: discord.Interaction[Any], action: str, video_id: str) -> None:
    """A button about a video was pressed."""
    if action in _CHOICES:
        await answer(interaction, _vote(app, interaction, video_id, _CHOICES[action]))
        await tell_refused(app, interaction)
    elif action == "cancel":
        await answer(interaction, cancel_video(app, interaction, video_id))
    else:
        await _ask_for_words(app, interaction, action, video_id)


async def _vote(app: App, interaction: discord.Interaction[Any], video_id: str, choice: Choice) -> ui.LayoutView:
    vote = Vote(interaction.guild_id or 0, video_id, interaction.user.id, choice, VoteSource.BUTTON)
    standing = await app.votes.cast(vote)
    if standing.wallet is not None:
        return await chosen_answer(app, interaction, standing)
    return video_cards.vote_answer(standing, video_id, app.on_chain_s)


async def _video_here(app: App, interaction: discord.Interaction[Any], video_id: str) -> Video:
    video = await videos.get_or_none(app.database, video_id)
    if video is None or video.status != "published":
        raise VideoUnknownError
    if video.guild_id != interaction.guild_id:
        raise ElsewhereError
    return video


async def _ask_for_words(app: App, interaction: discord.Interaction[Any], kind: str, video_id: str) -> None:
    try:
        with contextlib.suppress(TimeoutError):  # then whether there is such a video is asked when the words come
            async with asyncio.timeout(2):  # a modal must be the first answer, within Discord's 3 s
                await _video_here(app, interaction, video_id)
        feedback = kind == "feedback"
        modal = ui.Modal(
            title="Feedback on this video" if feedback else "Report this video", custom_id=f"v1:{kind}:{video_id}"
        )
        words_input: ui.TextInput[Any] = ui.TextInput(
            style=discord.TextStyle.paragraph,
            custom_id="text",
            max_length=LONGEST_TEXT,
            placeholder="What works, and what does not?" if feedback else "What is wrong with it?",
        )
        modal.add_item(ui.Label(text="Your words", component=words_input))
        modal.stop()  # answered by Voting.on_interaction, also when the bot was restarted in between
        await insist(lambda: interaction.response.send_modal(modal))
    except Exception as error:
        await answer_error(interaction, error)


class Voting(commands.Cog):
    """Listens to modals and reactions."""

    def __init__(self, app: App) -> None:
        self.app = app

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        data: dict[str, Any] = dict(interaction.data or {})
        if str(data.get("custom_id", "")).startswith(("w1:", "r1:")):  # wallets' and reviews'
            return
        if interaction.type is discord.InteractionType.modal_submit:
            match = _MODAL_ID.fullmatch(str(data.get("custom_id", "")))
            if match:
                text = first_text(data.get("components", []))
                await answer(interaction, self._keep(interaction, match["kind"], match["video"], text))
            else:
                await answer_error(interaction, UnreadableButtonError())
        elif interaction.type is discord.InteractionType.component:
            custom_id = str(data.get("custom_id", ""))
            match = re.fullmatch(video_cards.BUTTON_ID, custom_id)
            if match is None:
                await answer_error(interaction, UnreadableButtonError())
            elif interaction.message is None or custom_id not in marks(interaction.message):
                # Forged, or of a card that was edited meanwhile: discord.py calls no DynamicItem for it.
                await pressed(self.app, interaction, match["action"], match["video"])

    async def _keep(self, interaction: discord.Interaction[Any], kind: str, video_id: str, text: str) -> ui.LayoutView:
        text = clean_text(text)[:LONGEST_TEXT]
        if not text:
            raise FeedbackEmptyError
        video = await _video_here(self.app, interaction, video_id)
        prompt = layout.quote(video.prompt, 80)
        if kind == "feedback":
            await words.save_feedback(self.app.database, video_id, interaction.user.id, text)
            return layout.note(f"💬 Thank you: your feedback on **{prompt}** is kept. Sending it again replaces it.")
        await words.save_report(self.app.database, video_id, interaction.user.id, text)
        return layout.note(f"🚩 Your report of **{prompt}** is kept for the moderators of this server.")

    # ------------------------------------------------------------------ reactions

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        if payload.member is not None and payload.member.bot:
            return
        await self._reacted(payload, "added")

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        await self._reacted(payload, "removed")

    async def _reacted(self, payload: discord.RawReactionActionEvent, change: Any) -> None:
        choice = choice_of_emoji(payload.emoji.name or "") if payload.emoji.is_unicode_emoji() else None
        if choice is None or payload.guild_id is None:
            return
        await record(self.app, Reaction(payload.guild_id, payload.message_id, payload.user_id, choice, change))

    @commands.Cog.listener()
    async def on_connect(self) -> None:
        self.app.catching_up.begin_session()

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        await self.app.catching_up.all()
