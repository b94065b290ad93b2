"""`/review list` and its buttons: moderators decide about what was held; members ask them to."""

from __future__ import annotations

import asyncio
import io
import logging
import re
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cards import layout
from bot.cards import reviews as review_cards
from bot.cogs.replies import answer, answer_error, first_text, insist
from bot.domain.errors import ModeratorsOnlyError, ReviewOverError, ReviewUnknownError, UnreadableButtonError
from bot.domain.policy import clean_text
from bot.files.attachments import attachment_name, read_here
from bot.posts.once import is_too_large, marks
from bot.store import reviews, videos

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

LONGEST_REASON = 200
ELSEWHERE = (
    "That video cannot be shown here: it is too large for Discord, or could not be brought from its worker's machine. "
    "The bot's log says which."
)


class ReviewButton(ui.DynamicItem[ui.Button[Any]], template=review_cards.BUTTON_ID):
    """Any button about a review. Its whole state is its custom id, so it answers after any restart."""

    def __init__(self, action: str, review_id: int) -> None:
        super().__init__(ui.Button(custom_id=f"r1:{action}:{review_id}"))
        self.action = action
        self.review_id = review_id

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction[Any], _item: ui.Item[Any], match: re.Match[str], /
    ) -> ReviewButton:
        return cls(match["action"], int(match["review"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await pressed(interaction.client.app, interaction, self.action, self.review_id)


async def pressed(app: App, interaction: discord.Interaction[Any], action: str, review_id: int) -> None:
    """A button about a review was pressed."""
    if action == "ask":
        await answer(interaction, _appeal(app, interaction, review_id))
    elif action == "page":
        await answer(interaction, _page(app, interaction, review_id))
    elif action == "watch":
        await _watch(app, interaction, review_id)
    else:
        await _ask_why(app, interaction, action, review_id)


async def _appeal(app: App, interaction: discord.Interaction[Any], review_id: int) -> ui.LayoutView:
    await app.review_life.appeal(review_id, interaction.guild_id or 0, interaction.user.id)
    return layout.note("📨 The moderators see your prompt now. You are told here; `/videos` shows how it stands.")


async def _page(app: App, interaction: discord.Interaction[Any], after: int) -> ui.LayoutView:
    _check_moderator(interaction)
    guild_id = interaction.guild_id or 0
    found, count = await reviews.list_waiting(app.database, guild_id, review_cards.SHOWN, after)
    passed = await reviews.count_waiting_up_to(app.database, guild_id, after)
    return review_cards.list_card(found, count, passed=passed)


def _check_moderator(interaction: discord.Interaction[Any]) -> None:
    """Discord lets only moderators run the command; a press may be forged. Raises ModeratorsOnlyError."""
    if interaction.guild_id is None or not interaction.permissions.manage_guild:
        raise ModeratorsOnlyError


async def _watch(app: App, interaction: discord.Interaction[Any], review_id: int) -> None:
    try:
        _check_moderator(interaction)
        await insist(lambda: interaction.response.defer(ephemeral=True, thinking=True))
        review = await reviews.get_or_none(app.database, review_id)
        if review is None or review.guild_id != interaction.guild_id or review.kind != "video":
            raise ReviewUnknownError
        video = await videos.get(app.database, review.video_id)
        data = await asyncio.to_thread(read_here, video, app.settings.data_dir)
        limit = interaction.guild.filesize_limit if interaction.guild else 0
        if data is None or len(data) > limit:
            log.warning(
                "A held video cannot be shown: %s.",
                "its file is not on this machine" if data is None else f"{len(data)} bytes, where {limit} are allowed",
            )
            await insist(lambda: interaction.followup.send(view=layout.note(ELSEWHERE), ephemeral=True))
            return
        name = attachment_name(video)
        card = review_cards.watch_card(review, name)
        try:
            await insist(
                lambda: interaction.followup.send(
                    view=card, file=discord.File(io.BytesIO(data), filename=name), ephemeral=True
                )
            )
        except discord.HTTPException as error:
            if not is_too_large(error):
                raise
            log.warning("Discord refused a file of %d bytes (HTTP %d, %d).", len(data), error.status, error.code)
            await insist(lambda: interaction.followup.send(view=layout.note(ELSEWHERE), ephemeral=True))
    except Exception as error:
        await answer_error(interaction, error)


async def _ask_why(app: App, interaction: discord.Interaction[Any], action: str, review_id: int) -> None:
    try:
        _check_moderator(interaction)
        async with asyncio.timeout(2):  # a modal must be the first answer, within Discord's 3 s
            review = await reviews.get_or_none(app.database, review_id)
        if review is None or review.guild_id != interaction.guild_id:
            raise ReviewUnknownError
        if review.state != "waiting":
            raise ReviewOverError
        modal = ui.Modal(
            title="Approve it" if action == "approve" else "Reject it", custom_id=f"r1:{action}:{review_id}"
        )
        why: ui.TextInput[Any] = ui.TextInput(
            custom_id="text",
            required=False,
            max_length=LONGEST_REASON,
            placeholder="Kept with your decision." if action == "approve" else "The member reads it.",
        )
        modal.add_item(ui.Label(text="Reason (optional)", component=why))
        modal.stop()  # answered by Reviews.on_interaction, also when the bot was restarted in between
        await insist(lambda: interaction.response.send_modal(modal))
    except Exception as error:
        await answer_error(interaction, error)


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class Reviews(commands.GroupCog, group_name="review", group_description="Decide about what was held."):
    """Moderators' commands about held prompts and videos."""

    def __init__(self, app: App) -> None:
        self.app = app
        super().__init__()

    @app_commands.command(name="list", description="Prompts and videos that wait for a moderator.")
    async def list(self, interaction: discord.Interaction[Any]) -> None:
        await answer(interaction, self._list(interaction))

    async def _list(self, interaction: discord.Interaction[Any]) -> ui.LayoutView:
        found, count = await reviews.list_waiting(self.app.database, interaction.guild_id or 0, review_cards.SHOWN)
        return review_cards.list_card(found, count)

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        data: dict[str, Any] = dict(interaction.data or {})
        custom_id = str(data.get("custom_id", ""))
        if not custom_id.startswith("r1:"):
            return
        match = re.fullmatch(review_cards.BUTTON_ID, custom_id)
        if interaction.type is discord.InteractionType.modal_submit and match:
            text = first_text(data.get("components", []))
            await answer(interaction, self._decide(interaction, match["action"], int(match["review"]), text))
        elif interaction.type is discord.InteractionType.component and match:
            if interaction.message is None or custom_id not in marks(interaction.message):
                # Forged, or of a message that changed: discord.py calls no DynamicItem for it.
                await pressed(self.app, interaction, match["action"], int(match["review"]))
        else:
            await answer_error(interaction, UnreadableButtonError())

    async def _decide(
        self, interaction: discord.Interaction[Any], action: str, review_id: int, text: str
    ) -> ui.LayoutView:
        _check_moderator(interaction)
        if action not in ("approve", "reject"):
            raise UnreadableButtonError
        decided = await self.app.review_life.decide(
            review_id,
            interaction.guild_id or 0,
            interaction.user.id,
            approve=action == "approve",
            reason=clean_text(text)[:LONGEST_REASON],
        )
        return layout.note(review_cards.decided_text(decided))
