"""The beginning of a training, as `/admin model train` asks for it."""

from __future__ import annotations

import logging

from discord import ui
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import candidates as cards
from bot.cards import layout
from bot.client import Client, Interaction
from bot.posts.obstacles import why_not_here
from bot.store import rounds
from bot.workflows.training import TrainingWorkflow

log = logging.getLogger(__name__)


class TrainingOpening:
    """Begins trainings for moderators."""

    def __init__(self, *, database: AsyncEngine, client: Client, workflow: TrainingWorkflow) -> None:
        self._database = database
        self._client = client
        self._workflow = workflow

    async def begin(self, interaction: Interaction) -> ui.LayoutView:
        """Begin a training of the votes of all closed rounds; return the answer. Raises MemberError."""
        guild_id = interaction.guild_id or 0
        channel_id = await rounds.rounds_channel(self._database, guild_id)
        obstacle = await why_not_here(self._client, channel_id)
        if obstacle is not None:
            return layout.note(f"⚠️ No training was begun. {obstacle}")
        async with self._database.begin() as connection:
            await self._workflow.begin(connection, guild_id=guild_id, channel_id=channel_id, key=str(interaction.id))
        log.info("Member %d asked for a training in server %d.", interaction.user.id, guild_id)
        return cards.begun(channel_id)
