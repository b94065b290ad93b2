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
from bot.domain.battles import BallotSize, Battle, BattlePlan, Contender, fewest_prompts, plan_pairs
from bot.domain.errors import (
    AdapterMissingError,
    BattlePlaceError,
    BattlePromptsMissingError,
    BattleRegistrationError,
    CandidateBehindError,
    CandidateNotReadyError,
    CandidateUnknownError,
)
from bot.domain.policy import read_duration
from bot.domain.releases import Candidate
from bot.files.battle_prompts import prompts_for
from bot.posts.obstacles import why_not_here
from bot.store import rounds
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
USUAL_S = 3 * 24 * 3600  # of a round that begins by itself
NOBODY = 0  # in place of the member who opened a round


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
        usual: tuple[int, int] = (USUAL_S, PAIRS),
    ) -> None:
        """The candidate has to win against the live release of the model, or against the model by itself.

        `usual` are the seconds and the pairs of a round that begins by itself.
        """
        self._database = database
        self._client = client
        self._workflow = workflow
        self._model_id = model_id
        self._data_dir = data_dir
        self._size = size
        self._eligibility = eligibility
        self._usual = usual

    async def begin(self, interaction: Interaction, candidate_id: int, duration: str, pairs: int) -> ui.LayoutView:
        """Begin the battle round of a candidate, and return the answer for the moderator. Raises MemberError."""
        guild_id, member_id = interaction.guild_id or 0, interaction.user.id
        battle, plan = await self._open(guild_id, candidate_id, read_duration(duration), pairs, member_id)
        log.info("Member %d opened a battle round in server %d.", member_id, guild_id, extra={"round": battle.round.id})
        prompts, closes_s = len({pair.prompt for pair in plan.pairs}), battle.round.closes_at_ms // 1000
        return layout.note(
            f"⚔️ Battle round {battle.round.number} is registered: {len(plan.pairs)} pairs are made now, of {prompts} "
            f"prompts that the candidate was not trained on. Voting opens in <#{battle.round.channel_id}> when they "
            f"are here and the registration stands on the ledger. The round closes <t:{closes_s}:R>."
            f"\n-# Registration `{battle.registration_hash}`"
        )

    async def open_by_itself(self, guild_id: int, candidate_id: int) -> Battle:
        """Begin the battle round of a candidate as the settings say: nobody asked for it. Raises MemberError."""
        seconds, pairs = self._usual
        battle, _ = await self._open(guild_id, candidate_id, seconds, pairs, NOBODY)
        return battle

    async def _open(
        self, guild_id: int, candidate_id: int, seconds: int, pairs: int, opened_by: int
    ) -> tuple[Battle, BattlePlan]:
        channel_id = await rounds.rounds_channel(self._database, guild_id)
        candidate = await self._candidate(candidate_id)
        obstacle = await why_not_here(self._client, channel_id)
        if obstacle is not None:
            raise BattlePlaceError(obstacle=obstacle)
        plan = await self._plan(guild_id, candidate, seconds, pairs)
        await self._offer(candidate_id, plan)
        try:
            async with self._database.begin() as connection:
                battle = await self._workflow.begin(
                    connection, plan, guild_id=guild_id, channel_id=channel_id, opened_by=opened_by
                )
        except WrongStateError as error:
            raise CandidateNotReadyError(number=candidate_id, state=error.state) from None
        except RegistrationError as error:
            raise BattleRegistrationError(reason=error) from None
        return battle, plan

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
        chosen = await prompts_for(self._database, self._data_dir, guild_id, candidate, MOST_PROMPTS)
        needed = fewest_prompts(pairs)
        if len(chosen.prompts) < needed:
            raise BattlePromptsMissingError(
                pairs=pairs, needed=needed, number=candidate.id, here=len(chosen.prompts), trained=chosen.trained
            )
        opens = now_ms()
        catches = max(self._size.catches, pairs // CATCH_ONE_IN)
        return BattlePlan(
            candidate_id=candidate.id,
            candidate=Contender(self._model_id, candidate.adapter_sha256),
            live=Contender(self._model_id, None if live is None else live.adapter_sha256),
            pairs=plan_pairs(chosen.prompts, pairs, catches, secrets.token_hex(SEED_BYTES)),
            size=self._size,
            eligibility=self._eligibility,
            opens_ms=opens,
            closes_ms=opens + seconds * 1000,
        )

    async def _offer(self, candidate_id: int, plan: BattlePlan) -> None:
        """Offer both adapters to the workers, before anything is registered. Raises AdapterMissingError."""
        for sha256 in filter(None, (plan.candidate.adapter, plan.live.adapter)):
            try:
                await offer(self._database, adapter_path(self._data_dir, sha256), sha256)
            except AdapterError as error:
                log.error("Candidate %d cannot battle: %s", candidate_id, error)
                raise AdapterMissingError(number=candidate_id) from error
