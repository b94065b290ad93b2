"""`/model` for members, and `/admin model` for moderators: the live release, its history, and the way back."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import models as model_cards
from bot.client import Interaction
from bot.cogs.battles.commands import FEWEST_PAIRS, MOST_PAIRS, PAIRS, BattleOpening
from bot.cogs.learning.trainings import TrainingOpening
from bot.cogs.replies import Reply, answer
from bot.domain.errors import NotLiveError
from bot.files.filmstrips import read_filmstrip
from bot.store.learning import candidates, releases
from bot.workflows.learning.releasing import Releasing
from migrations.states.learning import CandidateState, ReleaseState

log = logging.getLogger(__name__)


class Model(commands.Cog):
    """The command that shows which release renders, and what shaped it."""

    def __init__(self, *, database: AsyncEngine, model_id: str, data_dir: Path) -> None:
        self._database = database
        self._model_id = model_id
        self._data_dir = data_dir

    @app_commands.command(
        name="model", description="The model that makes the videos now, and what shaped it. Only you see it."
    )
    @app_commands.guild_only()
    async def model(self, interaction: Interaction) -> None:
        await answer(interaction, self._model())

    async def _model(self) -> ui.LayoutView | Reply:
        async with self._database.connect() as connection:
            shown = await releases.history(connection, self._model_id)
            history = await releases.facts(connection, shown)
            is_paused = await releases.is_paused(connection, self._model_id)
        live = next((each for each in shown if each.state == ReleaseState.LIVE), None)
        data: bytes | None = None
        if live is not None:
            data = await asyncio.to_thread(read_filmstrip, self._data_dir, self._model_id, live.number)
        if live is None or data is None:
            return model_cards.model_card(self._model_id, history, is_paused=is_paused)
        name = model_cards.filmstrip_name(live)
        card = model_cards.model_card(self._model_id, history, is_paused=is_paused, filmstrip=name)
        return Reply(card, name, data)


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class Admin(commands.GroupCog, group_name="admin", group_description="What moderators decide about the model."):
    """Commands of moderators about the model. Each one that changed something stands in the log, with its member."""

    of_model = app_commands.Group(name="model", description="Releases of the model, and its learning.")

    def __init__(
        self,
        *,
        database: AsyncEngine,
        model_id: str,
        data_dir: Path,
        training: TrainingOpening,
        releasing: Releasing,
        battles: BattleOpening,
    ) -> None:
        self._database = database
        self._model_id = model_id
        self._data_dir = data_dir
        self._training = training
        self._releasing = releasing
        self._battles = battles
        super().__init__()

    @of_model.command(name="train", description="Train a candidate on the votes of all closed rounds.")
    async def train(self, interaction: Interaction) -> None:
        await answer(interaction, self._training.begin(interaction))

    @of_model.command(name="rollback", description="Take the live release back: the next video is made without it.")
    @app_commands.describe(release="The number of the live release, as /model shows it.")
    async def rollback(self, interaction: Interaction, release: int) -> None:
        await answer(interaction, self._rollback(interaction, release))

    async def _rollback(self, interaction: Interaction, number: int) -> ui.LayoutView:
        async with self._database.begin() as connection:
            changed = await releases.roll_back(connection, self._model_id, number=number, by=interaction.user.id)
        if changed is None:
            raise NotLiveError(number=number)
        live, before = changed
        now = "the base model" if before is None else f"release {before.number}"
        self._log(interaction, f"took release {live.number} back; {now} is in use")
        return model_cards.rolled_back(live, before)

    @of_model.command(name="release", description="Release a candidate that won its battle.")
    @app_commands.describe(candidate="The number of the candidate.")
    async def release(self, interaction: Interaction, candidate: int) -> None:
        await answer(interaction, self._release(interaction, candidate))

    @release.autocomplete("candidate")
    async def suggest(self, interaction: Interaction, text: str) -> list[app_commands.Choice[int]]:
        return await self._suggest(text, CandidateState.WON)

    @of_model.command(name="battle", description="Let members compare a candidate with the live model, blind.")
    @app_commands.describe(
        candidate="The number of the candidate.",
        duration="How long members can vote at most: 12h or 3d, for example.",
        pairs="How many pairs of videos are made; 100 if you don't say.",
    )
    async def battle(
        self,
        interaction: Interaction,
        candidate: int,
        duration: str,
        pairs: app_commands.Range[int, FEWEST_PAIRS, MOST_PAIRS] = PAIRS,
    ) -> None:
        await answer(interaction, self._battles.begin(interaction, candidate, duration, pairs))

    @battle.autocomplete("candidate")
    async def suggest_ready(self, interaction: Interaction, text: str) -> list[app_commands.Choice[int]]:
        return await self._suggest(text, CandidateState.READY)

    async def _suggest(self, text: str, state: CandidateState) -> list[app_commands.Choice[int]]:
        async with self._database.connect() as connection:
            there = await candidates.in_states(connection, self._model_id, state)
        return [
            app_commands.Choice(name=f"Candidate {each.id}", value=each.id)
            for each in there
            if str(each.id).startswith(text.strip())
        ]

    async def _release(self, interaction: Interaction, candidate_id: int) -> ui.LayoutView:
        made = await self._releasing.release(candidate_id, interaction.guild_id or 0)
        self._log(interaction, f"released candidate {candidate_id} as release {made.release.number}")
        return model_cards.released(made.release, made.obstacle)

    @of_model.command(name="pause", description="Pause learning: nothing is trained, battled or released by itself.")
    async def pause(self, interaction: Interaction) -> None:
        await answer(interaction, self._pause(interaction))

    async def _pause(self, interaction: Interaction) -> ui.LayoutView:
        async with self._database.begin() as connection:
            changed = await releases.pause(connection, self._model_id, by=interaction.user.id)
        if changed:
            self._log(interaction, "paused learning")
        return model_cards.paused(changed=changed)

    @of_model.command(name="resume", description="Let learning go on after a pause.")
    async def resume(self, interaction: Interaction) -> None:
        await answer(interaction, self._resume(interaction))

    async def _resume(self, interaction: Interaction) -> ui.LayoutView:
        async with self._database.begin() as connection:
            changed = await releases.resume(connection, self._model_id)
        if changed:
            self._log(interaction, "let learning go on")
        return model_cards.resumed(changed=changed)

    def _log(self, interaction: Interaction, act: str) -> None:
        log.info("Member %d %s for %s in server %d.", interaction.user.id, act, self._model_id, interaction.guild_id)
