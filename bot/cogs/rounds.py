"""`/setup` and `/round`: moderators choose the channel of the rounds, and open and close rounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import aiohttp
import discord
from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.cards import rounds as round_cards
from bot.client import Client, Interaction
from bot.cogs.replies import answer, insist
from bot.domain.errors import MissingPermissionsError, RoundNotOpenError
from bot.domain.policy import read_duration, read_task
from bot.domain.rounds import Round
from bot.ledger_status import LedgerStatus
from bot.permissions import in_words, missing_permissions
from bot.posts.obstacles import why_not_here
from bot.store import feedback, rounds, videos
from bot.sync.reactions import ReactionSync
from bot.workflows.recovery import Recovery
from bot.workflows.round import RoundWorkflow
from migrations.states.community import RoundStatus

log = logging.getLogger(__name__)

LONGEST_LOOK_S = 60.0  # at the cards of a round that is to be closed
ANSWER_S = 10.0  # an outcome that is not known by then comes in a second message
FOLLOW_S = 720.0  # an interaction can be answered for 15 minutes
AGAIN = "Then run `/round open` again."

ReadOutcome: TypeAlias = Callable[[Round], str | None]  # gives the outcome of a command, or None until it is known


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class Rounds(commands.GroupCog, group_name="round", group_description="Open and close rounds."):
    """Commands of moderators about rounds."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        client: Client,
        workflow: RoundWorkflow,
        recovery: Recovery,
        reactions: ReactionSync,
        ledger_status: LedgerStatus,
        grace_s: int,
    ) -> None:
        """`grace_s`: how many seconds later than on Discord a round closes on the ledger."""
        self._database = database
        self._client = client
        self._workflow = workflow
        self._recovery = recovery
        self._reactions = reactions
        self._ledger_status = ledger_status
        self._grace_s = grace_s
        super().__init__()

    @app_commands.command(name="open", description="Open a round: members send prompts and vote until it closes.")
    @app_commands.describe(
        task="What the videos of this round should show.",
        duration="How long the round lasts: 30m, 12h or 3d, for example.",
    )
    async def open(self, interaction: Interaction, task: str, duration: str) -> None:
        unsettled: list[int] = []
        await answer(interaction, self._open(interaction, task, duration, unsettled))
        await self._follow(interaction, unsettled, _opening_outcome)

    async def _open(self, interaction: Interaction, task: str, duration: str, unsettled: list[int]) -> ui.LayoutView:
        """Open a round. Add its id to `unsettled` if its outcome is not known yet."""
        guild_id = interaction.guild_id or 0
        clean_task, seconds = read_task(task), read_duration(duration)
        channel_id = await rounds.rounds_channel(self._database, guild_id)
        async with self._database.begin() as connection:
            await rounds.check_none_open(connection, guild_id)
        obstacle = await why_not_here(self._client, channel_id)
        if obstacle is not None:
            return layout.note(f"⚠️ No round was opened. {obstacle} {AGAIN}")
        async with self._database.begin() as connection:
            round_ = await rounds.open_round(
                connection,
                guild_id=guild_id,
                channel_id=channel_id,
                task=clean_task,
                opened_by=interaction.user.id,
                seconds=seconds,
                grace_s=self._grace_s,
            )
            await self._workflow.begin(connection, round_.id)
        log.info("Member %d opened the round in server %d.", interaction.user.id, guild_id, extra={"round": round_.id})
        unknown = (
            f"⏳ Round {round_.number} is being opened, but Discord hasn't accepted it yet. I'll tell you here what "
            "happens."
        )
        return await self._outcome_card(round_, _opening_outcome, unknown, unsettled)

    @app_commands.command(name="close", description="Close the open round now. Voting stops at once.")
    async def close(self, interaction: Interaction) -> None:
        unsettled: list[int] = []
        await answer(interaction, self._close(interaction, unsettled))
        await self._follow(interaction, unsettled, _closing_outcome)

    async def _close(self, interaction: Interaction, unsettled: list[int]) -> ui.LayoutView:
        """Close the open round. Add its id to `unsettled` if its outcome is not known yet."""
        round_ = await rounds.open_in(self._database, interaction.guild_id or 0)
        if round_ is None:
            raise RoundNotOpenError
        # Reactions from while the bot was away were made before this command: they count.
        if not await self._reactions.look_at_round(round_.id, LONGEST_LOOK_S):
            log.warning("Round %s is closed though not all of its cards could be looked at.", round_.id)
        await self._recovery.close_now(round_)
        log.info(
            "Member %d closed the round in server %d.",
            interaction.user.id,
            interaction.guild_id,
            extra={"round": round_.id},
        )
        unknown = (
            f"Round {round_.number} is closed for votes, and you can open the next one. Its result is not posted "
            "yet. I'll tell you here when it is; `/standings` shows it already."
        )
        return await self._outcome_card(round_, _closing_outcome, unknown, unsettled)

    async def _outcome_card(
        self, round_: Round, read_outcome: ReadOutcome, unknown: str, unsettled: list[int]
    ) -> ui.LayoutView:
        """Return the outcome of a command, or the sentence `unknown` if it is not known within ANSWER_S.

        In that case the round's id is added to `unsettled`.
        """
        sentence = await self._wait_for(round_.id, read_outcome, ANSWER_S)
        if sentence is None:
            unsettled.append(round_.id)
        return layout.note(unknown if sentence is None else sentence)

    async def _wait_for(
        self, round_id: int, read_outcome: ReadOutcome, seconds: float, every: float = 0.2
    ) -> str | None:
        """Wait for the outcome of a command, and return it; None if it is not known after so many seconds."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            sentence = read_outcome(await rounds.get(self._database, round_id))
            if sentence is not None or clock() >= deadline:
                return sentence
            await asyncio.sleep(every)

    async def _follow(self, interaction: Interaction, unsettled: list[int], read_outcome: ReadOutcome) -> None:
        """Tell the moderator an outcome that was not known when the command was answered.

        Raises nothing if that fails: `/round status` shows the outcome too.
        """
        for round_id in unsettled:
            try:
                sentence = await self._wait_for(round_id, read_outcome, FOLLOW_S, every=1.0)
                if sentence is not None:
                    await insist(partial(interaction.followup.send, view=layout.note(sentence), ephemeral=True))
            except (discord.HTTPException, aiohttp.ClientError, OSError, SQLAlchemyError) as error:
                log.warning("A moderator could not be told of round %s (%s).", round_id, type(error).__name__)

    @app_commands.command(name="status", description="The state of the current round, here and on the ledger.")
    async def status(self, interaction: Interaction) -> None:
        await answer(interaction, self._status(interaction))

    async def _status(self, interaction: Interaction) -> ui.LayoutView:
        round_ = await rounds.latest_or_none(self._database, interaction.guild_id or 0)
        if round_ is None:
            raise RoundNotOpenError
        posted = await videos.entries(self._database, round_.id)
        under_way = await videos.under_way(self._database, round_.id)
        feedback_count, report_count = await feedback.count_in_round(self._database, round_.id)
        ledger = await self._ledger_status.sentence(round_)
        return layout.note(
            round_cards.status_text(round_, len(posted), len(under_way), feedback_count, report_count, ledger)
        )


def _opening_outcome(round_: Round) -> str | None:
    """Return the outcome of `/round open`; None until it is known."""
    if round_.status == RoundStatus.OPENING:
        return None
    if round_.status == RoundStatus.OPEN:
        closes = f"It closes <t:{round_.closes_at_ms // 1000}:R>."
        return f"Round {round_.number} is open: <#{round_.thread_id}>. {closes}"
    if round_.opened:
        return f"Round {round_.number} was opened and is already closed."
    why = layout.sentence(round_.trouble or "It was closed before Discord had accepted it.")
    return f"⚠️ Round {round_.number} could **not** be opened. {why} {AGAIN}"


def _closing_outcome(round_: Round) -> str | None:
    """Return the outcome of `/round close`; None until it is known."""
    if not round_.opened:
        return f"Round {round_.number} was closed before it opened. You can open another one with `/round open`."
    if round_.result_message_id is not None:
        where = f"https://discord.com/channels/{round_.guild_id}/{round_.channel_id}/{round_.result_message_id}"
        return f"Round {round_.number} is closed for votes. [Its result]({where}) is posted in <#{round_.channel_id}>."
    if round_.trouble is None:
        return None
    return (
        f"Round {round_.number} is closed for votes. ⚠️ Its result could not be posted: "
        f"{layout.sentence(round_.trouble)} It will be posted as soon as that is fixed; `/standings` shows it already."
    )


class Setup(commands.Cog):
    """`/setup`, and the listeners for changes after which a post may succeed that failed before."""

    def __init__(self, *, database: AsyncEngine, recovery: Recovery) -> None:
        self._database = database
        self._recovery = recovery

    @app_commands.command(name="setup", description="Choose the channel for rounds. Run it again to change it.")
    @app_commands.describe(channel="The text channel for announcements of rounds and their voting threads.")
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    async def setup(self, interaction: Interaction, channel: discord.TextChannel) -> None:
        await answer(interaction, self._setup(interaction.user.id, channel))

    async def _setup(self, member_id: int, channel: discord.TextChannel) -> ui.LayoutView:
        missing = missing_permissions(channel)
        if missing:
            raise MissingPermissionsError(channel_id=channel.id, permissions=in_words(missing))
        await rounds.set_up_guild(self._database, channel.guild.id, channel.id, member_id)
        self._recovery.hurry(channel.guild.id)
        log.info("Member %d set up channel %d of server %d.", member_id, channel.id, channel.guild.id)
        return layout.note(f"Rounds will be posted in {channel.mention} from now on. Open one with `/round open`.")

    @commands.Cog.listener()
    async def on_guild_channel_update(self, _before: discord.abc.GuildChannel, after: discord.abc.GuildChannel) -> None:
        self._recovery.hurry(after.guild.id)

    @commands.Cog.listener()
    async def on_guild_role_update(self, _before: discord.Role, after: discord.Role) -> None:
        self._recovery.hurry(after.guild.id)

    @commands.Cog.listener()
    async def on_member_update(self, _before: discord.Member, after: discord.Member) -> None:
        if after.id == after.guild.me.id:  # Discord sends no updates of other members
            self._recovery.hurry(after.guild.id)
