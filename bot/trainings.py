"""The parts of trainings, built by hand for the composition root: lessons, workflow, and what begins them."""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.cogs.learning.trainings import TrainingOpening
from bot.files.lessons import Lessons
from bot.posts.training import TrainingPosts
from bot.settings import Settings, reveal
from bot.workflows.automatic_training import AutomaticTraining
from bot.workflows.training import BeginBattle, TrainingWorkflow
from generation.feedback.tuning.recipe import Recipe
from generation.queue.engine import Engine


class Trainings:
    """All that a bot has for trainings."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: AsyncEngine,
        engine: Engine,
        client: Client,
        begin_battle: BeginBattle | None = None,
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
