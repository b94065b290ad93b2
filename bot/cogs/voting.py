"""Votes: the buttons of a card, the 👍 and 👎 on it, and what members write about a video."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Literal

import discord
from discord import ui
from discord.ext import commands
from sqlalchemy.exc import SQLAlchemyError

from bot import cards
from bot.cogs.answers import answer, answer_error, insist
from bot.cogs.prompts import cancel_video
from bot.domain.errors import ElsewhereError, FeedbackEmptyError, MemberError, UnreadableButtonError, VideoUnknownError
from bot.domain.policy import clean_text
from bot.domain.videos import Video
from bot.domain.votes import EMOJI, Choice, Vote, choice_of_emoji
from bot.life.posting import marks
from bot.store import videos, words
from bot.store.votes import Reaction, known_reactions

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

_CHOICES = {"up": Choice.UP, "down": Choice.DOWN, "withdraw": Choice.WITHDRAWN}
_MODAL_ID = re.compile(r"v1:(?P<kind>feedback|report):(?P<video>[0-9]{1,20})")
LONGEST_TEXT = 1000


class VideoButton(ui.DynamicItem[ui.Button[Any]], template=cards.BUTTON_ID):
    """Any button about a video. Its whole state is its custom id, so it answers after any restart."""

    def __init__(self, action: str, video_id: str) -> None:
        super().__init__(ui.Button(custom_id=cards.custom_id(action, video_id)))
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
    elif action == "cancel":
        await answer(interaction, cancel_video(app, interaction, video_id))
    else:
        await _ask_for_words(app, interaction, action, video_id)


async def _vote(app: App, interaction: discord.Interaction[Any], video_id: str, choice: Choice) -> ui.LayoutView:
    vote = Vote(interaction.guild_id or 0, video_id, interaction.user.id, choice, "button")
    return cards.vote_answer(await app.votes.cast(vote), video_id)


async def _video_here(app: App, interaction: discord.Interaction[Any], video_id: str) -> Video:
    video = await videos.get(app.database, video_id)
    if video is None or video.status != "published":
        raise VideoUnknownError
    if video.guild_id != interaction.guild_id:
        raise ElsewhereError
    return video


async def _ask_for_words(app: App, interaction: discord.Interaction[Any], kind: str, video_id: str) -> None:
    try:
        async with asyncio.timeout(2):  # a modal must be the first answer, within Discord's 3 s
            video = await _video_here(app, interaction, video_id)
        feedback = kind == "feedback"
        modal = ui.Modal(
            title="Feedback on this video" if feedback else "Report this video", custom_id=f"v1:{kind}:{video.id}"
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
        self._reconciling = asyncio.Lock()

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        data: dict[str, Any] = dict(interaction.data or {})
        if interaction.type is discord.InteractionType.modal_submit:
            match = _MODAL_ID.fullmatch(str(data.get("custom_id", "")))
            if match:
                text = _first_text(data.get("components", []))
                await answer(interaction, self._keep(interaction, match["kind"], match["video"], text))
            else:
                await answer_error(interaction, UnreadableButtonError())
        elif interaction.type is discord.InteractionType.component:
            custom_id = str(data.get("custom_id", ""))
            match = re.fullmatch(cards.BUTTON_ID, custom_id)
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
        prompt = cards.quote(video.prompt, 80)
        if kind == "feedback":
            await words.give_feedback(self.app.database, video_id, interaction.user.id, text)
            return cards.note(f"💬 Thank you: your feedback on **{prompt}** is kept. Sending it again replaces it.")
        await words.report(self.app.database, video_id, interaction.user.id, text)
        return cards.note(f"🚩 Your report of **{prompt}** is kept for the moderators of this server.")

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
        await self._record(Reaction(payload.guild_id, payload.message_id, payload.user_id, choice, change))

    async def _record(self, reaction: Reaction) -> None:
        try:
            await self.app.votes.react(reaction)
        except MemberError:
            pass  # no card of ours, or of a closed round: nobody can be told but by spamming the thread
        except SQLAlchemyError as error:
            # Not lost: what stands on the card is compared with what we know at the next start.
            log.error("A reaction could not be recorded: %s", type(error).__name__)

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        """After every new session: Discord does not tell again what it told while we were away."""
        async with self._reconciling:
            for video in await videos.open_for_votes(self.app.database):
                try:
                    await self._reconcile(video)
                except discord.NotFound:
                    log.info("The card of video %s was deleted.", video.id)
                except discord.HTTPException as error:
                    log.warning("The reactions on video %s could not be read: HTTP %s.", video.id, error.status)

    async def _reconcile(self, video: Video) -> None:
        channel = await self.app.client.channel(video.thread_id or 0)
        message = await channel.fetch_message(video.message_id or 0)
        standing: set[tuple[int, Choice]] = set()
        for reaction in message.reactions:
            choice = EMOJI.get(str(reaction.emoji)[:1])
            if choice is not None:
                standing |= {(user.id, choice) async for user in reaction.users() if not user.bot}
        known = await known_reactions(self.app.database, video.id)
        changes: list[tuple[set[tuple[int, Choice]], Literal["added", "removed"]]]
        changes = [(known - standing, "removed"), (standing - known, "added")]
        for found, change in changes:
            for member_id, choice in sorted(found):
                await self._record(Reaction(video.guild_id, message.id, member_id, choice, change))


def _first_text(components: Any) -> str:
    """The value of the first text input in a modal's nested components."""
    for component in components if isinstance(components, list) else [components]:
        if isinstance(component, dict):
            if isinstance(component.get("value"), str):
                return str(component["value"])
            found = _first_text(component.get("components", [])) or _first_text(component.get("component", []))
            if found:
                return found
    return ""
