"""`/review list` and its buttons: moderators decide about held prompts and videos; members ask them to."""

from __future__ import annotations

import asyncio
import io
import logging
import re
from pathlib import Path

import discord
from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.cards import reviews as review_cards
from bot.client import Interaction
from bot.cogs.replies import PATIENCE_S, answer, insist, send_form
from bot.domain.errors import ModeratorsOnlyError, ReviewOverError, ReviewUnknownError, UnreadableButtonError
from bot.domain.policy import clean_text
from bot.files.attachments import attachment_name, read_here
from bot.posts.once import is_too_large
from bot.store import reviews as review_store
from bot.store import videos
from bot.workflows.review import ReviewWorkflow
from migrations.states.community import ReviewKind, ReviewState

log = logging.getLogger(__name__)

LONGEST_REASON = 200
ELSEWHERE = (
    "That video can't be shown here. It is too large for Discord, or it could not be fetched from its worker's "
    "machine. The bot's log says which of the two."
)
_BUTTON_ID = re.compile(review_cards.BUTTON_ID)  # the forms have ids of the same kind


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class Reviews(commands.GroupCog, group_name="review", group_description="Review held prompts and videos."):
    """The command of moderators about held prompts and videos, and the route of its buttons and forms."""

    def __init__(self, *, database: AsyncEngine, reviews: ReviewWorkflow, data_dir: Path) -> None:
        self._database = database
        self._reviews = reviews
        self._data_dir = data_dir
        super().__init__()

    @app_commands.command(name="list", description="List the prompts and videos that wait for a moderator.")
    async def list_reviews(self, interaction: Interaction) -> None:
        await answer(interaction, self._first_page(interaction))

    async def _first_page(self, interaction: Interaction) -> ui.LayoutView:
        reviews, count = await review_store.list_waiting(self._database, interaction.guild_id or 0, review_cards.SHOWN)
        return review_cards.list_card(reviews, count)

    # ------------------------------------------------------------------ buttons and forms

    async def pressed(self, interaction: Interaction, custom_id: str) -> bool:
        """Answer a press. Return False if no button about a review has such an id."""
        match = _BUTTON_ID.fullmatch(custom_id)
        if match is None:
            return False
        action, review_id = match["action"], int(match["review"])
        if action == "ask":
            await answer(interaction, self._appeal(interaction, review_id))
        elif action == "page":
            await answer(interaction, self._page(interaction, review_id))
        elif action == "watch":
            await self._watch(interaction, review_id)
        else:
            await self._ask_for_reason(interaction, action, review_id)
        return True

    async def submitted(self, interaction: Interaction, custom_id: str, text: str) -> bool:
        """Answer a form. Return False if no form about a review has such an id."""
        match = _BUTTON_ID.fullmatch(custom_id)
        if match is None:
            return False
        await answer(interaction, self._decide(interaction, match["action"], int(match["review"]), text))
        return True

    async def _appeal(self, interaction: Interaction, review_id: int) -> ui.LayoutView:
        await self._reviews.appeal(review_id, interaction.guild_id or 0, interaction.user.id)
        return layout.note(
            "📨 Your prompt now waits for a moderator. You'll be told here; `/videos` shows where it stands."
        )

    async def _page(self, interaction: Interaction, after: int) -> ui.LayoutView:
        _check_moderator(interaction)
        guild_id = interaction.guild_id or 0
        reviews, count = await review_store.list_waiting(self._database, guild_id, review_cards.SHOWN, after)
        passed = await review_store.count_waiting_up_to(self._database, guild_id, after)
        return review_cards.list_card(reviews, count, passed=passed)

    async def _watch(self, interaction: Interaction, review_id: int) -> None:
        """Show a held video to a moderator."""
        _check_moderator(interaction)
        await insist(lambda: interaction.response.defer(ephemeral=True, thinking=True))
        review = await review_store.get_or_none(self._database, review_id)
        if review is None or review.guild_id != interaction.guild_id or review.kind != ReviewKind.VIDEO:
            raise ReviewUnknownError
        log.info("Member %d watches a held video.", interaction.user.id, extra={"video": review.video_id})
        video = await videos.get(self._database, review.video_id)
        data = await asyncio.to_thread(read_here, video, self._data_dir)
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

    async def _ask_for_reason(self, interaction: Interaction, action: str, review_id: int) -> None:
        """Send the form that goes with a decision."""
        _check_moderator(interaction)
        async with asyncio.timeout(PATIENCE_S):
            review = await review_store.get_or_none(self._database, review_id)
        if review is None or review.guild_id != interaction.guild_id:
            raise ReviewUnknownError
        if review.state != ReviewState.WAITING:
            raise ReviewOverError
        form = ui.Modal(
            title="Approve it" if action == "approve" else "Reject it", custom_id=f"r1:{action}:{review_id}"
        )
        field: ui.TextInput[ui.Modal] = ui.TextInput(
            custom_id="text",
            required=False,
            max_length=LONGEST_REASON,
            placeholder="Kept with your decision." if action == "approve" else "The member reads it.",
        )
        form.add_item(ui.Label(text="Reason (optional)", component=field))
        await send_form(interaction, form)

    async def _decide(self, interaction: Interaction, action: str, review_id: int, text: str) -> ui.LayoutView:
        _check_moderator(interaction)
        if action not in ("approve", "reject"):
            raise UnreadableButtonError
        review = await self._reviews.decide(
            review_id,
            interaction.guild_id or 0,
            interaction.user.id,
            approve=action == "approve",
            reason=clean_text(text)[:LONGEST_REASON],
        )
        log.info(
            "Member %d %s review %d of server %d.",
            interaction.user.id,
            "approved" if action == "approve" else "rejected",
            review_id,
            interaction.guild_id,
            extra={"video": review.video_id},
        )
        return layout.note(review_cards.decided_text(review))


def _check_moderator(interaction: Interaction) -> None:
    """Raise ModeratorsOnlyError for anybody else. Discord lets only them run the command, but a press may be forged."""
    if interaction.guild_id is None or not interaction.permissions.manage_guild:
        raise ModeratorsOnlyError
