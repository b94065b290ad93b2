"""Trainings: `/admin model train` begins one, and so do new votes. Their parts are built here, by hand."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from discord import ui
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import candidates as cards
from bot.cards import layout
from bot.client import Client, Interaction
from bot.files.lessons import Lessons
from bot.posts.obstacles import why_not_here
from bot.posts.training import TrainingPosts
from bot.settings import Settings, reveal
from bot.store import rounds
from bot.workflows.automatic_training import AutomaticTraining
from bot.workflows.training import BeginBattle, TrainingWorkflow
from generation.feedback.tuning.recipe import Recipe
from generation.queue.engine import Engine

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


class Trainings:
    """All that a bot has for trainings."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: AsyncEngine,
        engine: Engine,
        client: Client,
        begin_battle: BeginBattle,
    ) -> None:
        """`begin_battle` begins the battle of a candidate; it is asked only where the settings say so."""
        self.workflow = TrainingWorkflow(
            database=database,
            engine=engine,
            posts=TrainingPosts(client=client),
            lessons=Lessons(
                database=database,
                data_dir=settings.data_dir,
                models_file=settings.models_file,
                pepper=reveal(settings.voter_pepper).encode(),
            ),
            recipe=asdict(Recipe.of(json.loads(settings.train_recipe))),
            model_id=settings.model_id,
            model_class=settings.model_class,
            progress_s=settings.progress_s,
            begin_battle=begin_battle if settings.battle_after_training else None,
        )
        self.workflow.register(engine)
        self.opening = TrainingOpening(database=database, client=client, workflow=self.workflow)
        self.automatic = AutomaticTraining(
            database=database,
            workflow=self.workflow,
            model_id=settings.model_id,
            after_votes=settings.train_after_votes,
        )
