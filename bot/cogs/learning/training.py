"""`/training`: members choose whether what they give trains the model; and the notice that each of them reads once."""

from __future__ import annotations

import logging

import aiohttp
import discord
from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import training as training_cards
from bot.client import Interaction
from bot.cogs.replies import answer, insist
from bot.domain.training import TrainingState
from bot.store.learning import choices
from migrations.states.community import TrainingChoice

log = logging.getLogger(__name__)

MOST_KEPT = 100_000  # members of whom this process knows that they have read the notice


class Training(commands.GroupCog, group_name="training", group_description="What yours is used for."):
    """The commands, and the notice."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database
        self._readers: set[tuple[int, int]] = set()  # guild and member: those who have read, or are being told
        super().__init__()

    @app_commands.command(name="opt-out", description="Leave your prompts, votes and feedback out of training.")
    @app_commands.guild_only()
    async def opt_out(self, interaction: Interaction) -> None:
        await answer(interaction, self._choose(interaction, TrainingChoice.OUT))

    @app_commands.command(name="opt-in", description="Let your prompts, votes and feedback train the model.")
    @app_commands.guild_only()
    async def opt_in(self, interaction: Interaction) -> None:
        await answer(interaction, self._choose(interaction, TrainingChoice.IN))

    async def _choose(self, interaction: Interaction, choice: TrainingChoice) -> ui.LayoutView:
        await choices.choose(self._database, interaction.guild_id or 0, interaction.user.id, choice)
        return training_cards.opted_in() if choice is TrainingChoice.IN else training_cards.opted_out()

    async def state_of(self, guild_id: int, member_id: int) -> TrainingState:
        """Return a member's state."""
        return await choices.state_of(self._database, guild_id, member_id)

    async def tell_once(self, interaction: Interaction) -> None:
        """Send the notice to a member who has not read it, after the answer to what they did.

        The answer never waits for it. Raises nothing: a notice that cannot be sent now comes after the next answer.
        """
        member = (interaction.guild_id or 0, interaction.user.id)
        if member in self._readers or not interaction.response.is_done():
            return
        self._readers.add(member)  # two presses at once cause one notice
        try:
            if not (await choices.state_of(self._database, *member)).has_read:
                await insist(lambda: interaction.followup.send(view=training_cards.notice(), ephemeral=True))
                await choices.record_notice(self._database, *member)
        except (discord.HTTPException, aiohttp.ClientError, OSError, SQLAlchemyError) as error:
            self._readers.discard(member)
            log.info("A member could not be told now what theirs is used for (%s).", type(error).__name__)
        if len(self._readers) > MOST_KEPT:
            self._readers.clear()  # they are looked up again
