"""`/battle` for members, and `/admin model battle` for moderators."""

from __future__ import annotations

import logging

from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.client import Client, Interaction
from bot.cogs.battles.voting import BattleVoting
from bot.cogs.replies import answer
from bot.domain.battles import BallotSize, BattlePlan, Contender, Eligibility, plan_pairs
from bot.domain.errors import BattleModelError, BattlePromptsMissingError
from bot.domain.policy import read_duration
from bot.posts.obstacles import why_not_here
from bot.store import rounds
from bot.store.battles import rounds as battles
from bot.workflows.battle import BattleWorkflow
from contracts.outbox.entries import text_hash
from generation.jobs import gpu_queue
from migrations.database import now_ms

log = logging.getLogger(__name__)

PAIRS, FEWEST_PAIRS, MOST_PAIRS = 100, 1, 300
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
        live: Contender,
        size: BallotSize,
        eligibility: Eligibility,
    ) -> None:
        """`live` is what the candidate has to win against."""
        self._database = database
        self._client = client
        self._workflow = workflow
        self._live = live
        self._size = size
        self._eligibility = eligibility

    async def begin(self, interaction: Interaction, candidate: str, duration: str, pairs: int) -> ui.LayoutView:
        """Begin a battle round, and return the answer for the moderator. Raises MemberError."""
        guild_id = interaction.guild_id or 0
        seconds = read_duration(duration)
        channel_id = await rounds.rounds_channel(self._database, guild_id)
        contender = self._contender(candidate)
        obstacle = await why_not_here(self._client, channel_id)
        if obstacle is not None:
            return layout.note(f"⚠️ No battle round was opened. {obstacle}")
        plan = await self._plan(guild_id, contender, seconds, pairs)
        async with self._database.begin() as connection:
            battle = await self._workflow.begin(
                connection, plan, guild_id=guild_id, channel_id=channel_id, opened_by=interaction.user.id
            )
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

    def _contender(self, name: str) -> Contender:
        """Return the candidate of a name. Raises BattleModelError for a name that workers cannot have."""
        try:
            gpu_queue("any", name)
        except ValueError:
            raise BattleModelError(model=layout.quote(name, 60), live=self._live.model_id) from None
        if name == self._live.model_id:
            raise BattleModelError(model=name, live=self._live.model_id)
        return Contender(name, text_hash(name))

    async def _plan(self, guild_id: int, candidate: Contender, seconds: int, pairs: int) -> BattlePlan:
        prompts = await battles.prompts_of_members(self._database, guild_id, MOST_PROMPTS)
        opens = now_ms()
        catches = max(self._size.catches, pairs // CATCH_ONE_IN)
        try:
            planned = plan_pairs(prompts, pairs, catches, f"{guild_id}:{opens}")
        except ValueError:
            raise BattlePromptsMissingError from None
        return BattlePlan(
            candidate=candidate,
            live=self._live,
            pairs=planned,
            size=self._size,
            eligibility=self._eligibility,
            opens_ms=opens,
            closes_ms=opens + seconds * 1000,
        )


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class BattleCommands(commands.GroupCog, group_name="admin", group_description="Decide about the model."):
    """Commands of moderators about battle rounds."""

    model = app_commands.Group(name="model", description="The model that renders, and its candidates.")

    def __init__(self, *, opening: BattleOpening) -> None:
        self._opening = opening
        super().__init__()

    @model.command(name="battle", description="Let members compare a candidate with the live model, blind.")
    @app_commands.describe(
        candidate="The candidate, by the name under which workers render with it.",
        duration="How long members can vote at most: 12h or 3d, for example.",
        pairs="How many pairs of videos are made; 100 if you don't say.",
    )
    async def battle(
        self,
        interaction: Interaction,
        candidate: str,
        duration: str,
        pairs: app_commands.Range[int, FEWEST_PAIRS, MOST_PAIRS] = PAIRS,
    ) -> None:
        await answer(interaction, self._opening.begin(interaction, candidate.strip(), duration, pairs))
