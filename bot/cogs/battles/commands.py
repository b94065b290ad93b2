"""`/battle` for members, and what `/admin model battle` does for moderators."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.client import Client, Interaction
from bot.cogs.battles.voting import BattleVoting
from bot.domain.battles import BallotSize, BattlePlan, Contender, plan_pairs
from bot.domain.errors import (
    AdapterMissingError,
    BattlePromptsMissingError,
    CandidateBehindError,
    CandidateNotReadyError,
    CandidateUnknownError,
)
from bot.domain.policy import read_duration
from bot.domain.releases import Candidate
from bot.posts.obstacles import why_not_here
from bot.store import rounds
from bot.store.battles import rounds as battles
from bot.store.learning import candidates, releases
from bot.store.learning.candidates import WrongStateError
from bot.workflows.battle import BattleWorkflow
from generation.adapters.file import AdapterError, adapter_path
from generation.adapters.transfer import offer
from generation.feedback.registration import Eligibility, RegistrationError
from migrations.database import now_ms
from migrations.states.learning import CandidateState

log = logging.getLogger(__name__)

PAIRS, FEWEST_PAIRS, MOST_PAIRS = 100, 1, 300  # a community's rule may ask for more than the fewest
SEED_BYTES = 16
CATCH_ONE_IN = 6  # of all pairs, at least one
MOST_PROMPTS = 300


class BattleMembers(commands.Cog):
    """`/battle`."""

    def __init__(self, *, voting: BattleVoting) -> None:
        self._voting = voting

    @app_commands.command(name="battle", description="Compare a new model with the live one: your next two videos.")
    @app_commands.guild_only()
    async def battle(self, interaction: Interaction) -> None:
        await self._voting.send_latest(interaction)


class BattleOpening:
    """Begins battle rounds, as moderators ask for them."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        client: Client,
        workflow: BattleWorkflow,
        model_id: str,
        data_dir: Path,
        size: BallotSize,
        eligibility: Eligibility,
    ) -> None:
        """The candidate has to win against the live release of the model, or against the model by itself."""
        self._database = database
        self._client = client
        self._workflow = workflow
        self._model_id = model_id
        self._data_dir = data_dir
        self._size = size
        self._eligibility = eligibility

    async def begin(self, interaction: Interaction, candidate_id: int, duration: str, pairs: int) -> ui.LayoutView:
        """Begin the battle round of a candidate, and return the answer for the moderator. Raises MemberError."""
        guild_id = interaction.guild_id or 0
        seconds = read_duration(duration)
        channel_id = await rounds.rounds_channel(self._database, guild_id)
        candidate = await self._candidate(candidate_id)
        obstacle = await why_not_here(self._client, channel_id)
        if obstacle is not None:
            return layout.note(f"⚠️ No battle round was opened. {obstacle}")
        plan = await self._plan(guild_id, candidate, seconds, pairs)
        await self._offer(candidate_id, plan)
        try:
            async with self._database.begin() as connection:
                battle = await self._workflow.begin(
                    connection, plan, guild_id=guild_id, channel_id=channel_id, opened_by=interaction.user.id
                )
        except WrongStateError as error:
            raise CandidateNotReadyError(number=candidate_id, state=error.state) from None
        except RegistrationError as error:
            return layout.note(f"⚠️ No battle round was opened. {error}")
        log.info(
            "Member %d opened a battle round in server %d.",
            interaction.user.id,
            guild_id,
            extra={"round": battle.round.id},
        )
        return layout.note(
            f"⚔️ Battle round {battle.round.number} is registered: {len(plan.pairs)} pairs are made now, and voting "
            f"opens in <#{channel_id}> when they are here and the registration stands on the ledger. The round closes "
            f"<t:{battle.round.closes_at_ms // 1000}:R>.\n-# Registration `{battle.registration_hash}`"
        )

    async def _candidate(self, candidate_id: int) -> Candidate:
        """Return a candidate of the model. Raises CandidateUnknownError or CandidateNotReadyError."""
        try:
            async with self._database.connect() as connection:
                candidate = await candidates.get(connection, candidate_id)
        except LookupError:
            raise CandidateUnknownError(number=candidate_id) from None
        if candidate.model_id != self._model_id:
            raise CandidateUnknownError(number=candidate_id)
        if candidate.state != CandidateState.READY or candidate.adapter_sha256 is None:
            raise CandidateNotReadyError(number=candidate_id, state=candidate.state)
        return candidate

    async def _plan(self, guild_id: int, candidate: Candidate, seconds: int, pairs: int) -> BattlePlan:
        async with self._database.connect() as connection:
            live = await releases.live_or_none(connection, self._model_id)
        if candidate.parent != (None if live is None else live.number):
            raise CandidateBehindError(number=candidate.id)
        prompts = await battles.prompts_of_members(self._database, guild_id, MOST_PROMPTS)
        opens = now_ms()
        catches = max(self._size.catches, pairs // CATCH_ONE_IN)
        try:
            planned = plan_pairs(prompts, pairs, catches, secrets.token_hex(SEED_BYTES))
            return BattlePlan(
                candidate_id=candidate.id,
                candidate=Contender(self._model_id, candidate.adapter_sha256),
                live=Contender(self._model_id, None if live is None else live.adapter_sha256),
                pairs=planned,
                size=self._size,
                eligibility=self._eligibility,
                opens_ms=opens,
                closes_ms=opens + seconds * 1000,
            )
        except ValueError:
            raise BattlePromptsMissingError from None

    async def _offer(self, candidate_id: int, plan: BattlePlan) -> None:
        """Offer both adapters to the workers, before anything is registered. Raises AdapterMissingError."""
        for sha256 in filter(None, (plan.candidate.adapter, plan.live.adapter)):
            try:
                await offer(self._database, adapter_path(self._data_dir, sha256), sha256)
            except AdapterError as error:
                log.error("Candidate %d cannot battle: %s", candidate_id, error)
                raise AdapterMissingError(number=candidate_id) from error
