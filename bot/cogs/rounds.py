"""`/setup` and `/round`: moderators say where rounds are posted, and open and close them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
from discord import app_commands, ui
from discord.ext import commands
from sqlalchemy.exc import SQLAlchemyError

from bot.cards import layout
from bot.cards import rounds as round_cards
from bot.cogs.replies import answer, insist
from bot.domain.errors import MissingPermissionsError, RoundNotOpenError
from bot.domain.policy import read_duration, read_task
from bot.domain.rounds import Round
from bot.permissions import in_words, missing_permissions
from bot.posts.obstacles import why_not_here
from bot.store import feedback as words
from bot.store import rounds, videos

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

LONGEST_LOOK_S = 60.0  # at the cards of a round that is to be closed
ANSWER_S = 10.0  # an outcome that is not known by then is told in a second message
FOLLOW_S = 720.0  # an interaction can be answered for 15 minutes
AGAIN = "Then run `/round open` again."


@app_commands.default_permissions(manage_guild=True)
@app_commands.guild_only()
class Rounds(commands.GroupCog, group_name="round", group_description="Open and close rounds."):
    """Moderators' commands."""

    def __init__(self, app: App) -> None:
        self.app = app
        super().__init__()

    @app_commands.command(name="open", description="Open a round: members prompt and vote until it closes.")
    @app_commands.describe(
        task="What the videos of this round should show.", duration="How long, such as 30m, 12h, 3d."
    )
    async def open(self, interaction: discord.Interaction[Any], task: str, duration: str) -> None:
        begun: list[int] = []
        await answer(interaction, self._open(interaction, task, duration, begun))
        await self._follow(interaction, begun, self._opened)

    async def _open(
        self, interaction: discord.Interaction[Any], task: str, duration: str, begun: list[int]
    ) -> ui.LayoutView:
        """`begun` gets the round's id where its outcome is not known yet."""
        app = self.app
        guild_id = interaction.guild_id or 0
        read, seconds = read_task(task), read_duration(duration)
        channel_id = await rounds.rounds_channel(app.database, guild_id)
        async with app.database.begin() as connection:
            await rounds.check_none_open(connection, guild_id)
        obstacle = await why_not_here(app, channel_id)
        if obstacle is not None:
            return layout.note(f"⚠️ No round was opened. {obstacle} {AGAIN}")
        async with app.database.begin() as connection:
            round_ = await rounds.open_round(
                connection,
                guild_id=guild_id,
                channel_id=channel_id,
                task=read,
                opened_by=interaction.user.id,
                seconds=seconds,
                grace_s=app.settings.chain_grace_s,
            )
            await app.round_life.begin(connection, round_.id)
        said = await self._until(round_.id, self._opened, ANSWER_S)
        if said is None:
            begun.append(round_.id)
            said = (
                f"⏳ Round {round_.number} is being opened; Discord does not take it yet. I tell you here what becomes "
                "of it."
            )
        return layout.note(said)

    @staticmethod
    def _opened(round_: Round) -> str | None:
        """What has become of a round that was to be opened; None as long as it is not known."""
        if round_.status == "opening":
            return None
        if round_.status == "open":
            closes = f"It closes <t:{round_.closes_at_ms // 1000}:R>."
            return f"Round {round_.number} is open: <#{round_.thread_id}>. {closes}"
        if round_.opened:
            return f"Round {round_.number} was opened, and is closed already."
        why = round_.trouble or "It was closed before Discord had taken it."
        return f"⚠️ Round {round_.number} could **not** be opened. {why} {AGAIN}"

    async def _until(
        self, round_id: int, told: Callable[[Round], str | None], seconds: float, every: float = 0.2
    ) -> str | None:
        """What there is to tell of a round, once there is something; None when there is nothing in that time."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            said = told(await rounds.get(self.app.database, round_id))
            if said is not None or clock() >= deadline:
                return said
            await asyncio.sleep(every)

    async def _follow(
        self, interaction: discord.Interaction[Any], begun: list[int], told: Callable[[Round], str | None]
    ) -> None:
        """Tells the moderator the outcome that was not known when they were answered. `/round status` has it too."""
        for round_id in begun:
            try:
                said = await self._until(round_id, told, FOLLOW_S, every=1.0)
                if said is not None:
                    await insist(partial(interaction.followup.send, view=layout.note(said), ephemeral=True))
            except (discord.HTTPException, aiohttp.ClientError, OSError, SQLAlchemyError) as error:
                log.warning("A moderator could not be told of round %s (%s).", round_id, type(error).__name__)

    @app_commands.command(name="close", description="Close the open round now. Votes stop at once.")
    async def close(self, interaction: discord.Interaction[Any]) -> None:
        begun: list[int] = []
        await answer(interaction, self._close(interaction, begun))
        await self._follow(interaction, begun, self._ended)

    async def _close(self, interaction: discord.Interaction[Any], begun: list[int]) -> ui.LayoutView:
        round_ = await rounds.open_in(self.app.database, interaction.guild_id or 0)
        if round_ is None:
            raise RoundNotOpenError
        # Reactions from while we were away were made before this command: they count.
        if not await self.app.catching_up.look_at_round(round_.id, LONGEST_LOOK_S):
            log.warning("Round %s is closed though not all of its cards could be looked at.", round_.id)
        await self.app.round_life.close_now(round_)
        said = await self._until(round_.id, self._ended, ANSWER_S)
        if said is None:
            begun.append(round_.id)
            said = (
                f"Round {round_.number} is closed for votes, and the next one can be opened. Its result is not posted "
                "yet; I tell you here when it is, and `/standings` shows it now."
            )
        return layout.note(said)

    @staticmethod
    def _ended(round_: Round) -> str | None:
        """What has become of a round that was closed; None as long as it is not known."""
        if not round_.opened:
            return f"Round {round_.number} is closed before it was open. You can open another one with `/round open`."
        if round_.result_message_id is not None:
            where = f"https://discord.com/channels/{round_.guild_id}/{round_.channel_id}/{round_.result_message_id}"
            return (
                f"Round {round_.number} is closed for votes. [Its result]({where}) is posted in <#{round_.channel_id}>."
            )
        if round_.trouble is None:
            return None
        return (
            f"Round {round_.number} is closed for votes. ⚠️ Its result could not be posted: {round_.trouble} "
            "It is posted as soon as that is mended, and `/standings` shows it now."
        )

    @app_commands.command(name="status", description="How the open round is doing, and how far it is on the chain.")
    async def status(self, interaction: discord.Interaction[Any]) -> None:
        await answer(interaction, self._status(interaction))

    async def _status(self, interaction: discord.Interaction[Any]) -> ui.LayoutView:
        app = self.app
        round_ = await rounds.latest_or_none(app.database, interaction.guild_id or 0)
        if round_ is None:
            raise RoundNotOpenError
        published = await videos.entries(app.database, round_.id)
        waiting = await videos.under_way(app.database, round_.id)
        feedback, reports = await words.count_in_round(app.database, round_.id)
        chain = await app.chain_sentence(round_)
        return layout.note(round_cards.status_text(round_, len(published), len(waiting), feedback, reports, chain))


class Setup(commands.Cog):
    """`/setup`."""

    def __init__(self, app: App) -> None:
        self.app = app

    @app_commands.command(name="setup", description="Say where rounds are posted. Run it again to move them.")
    @app_commands.describe(channel="The text channel in which rounds are announced and their threads opened.")
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    async def setup(self, interaction: discord.Interaction[Any], channel: discord.TextChannel) -> None:
        await answer(interaction, self._setup(interaction, channel))

    async def _setup(self, interaction: discord.Interaction[Any], channel: discord.TextChannel) -> ui.LayoutView:
        missing = missing_permissions(channel)
        if missing:
            raise MissingPermissionsError(channel_id=channel.id, permissions=in_words(missing))
        await rounds.set_up_guild(self.app.database, channel.guild.id, channel.id, interaction.user.id)
        self.app.mending.hurry(channel.guild.id)
        return layout.note(
            f"Rounds are posted in {channel.mention} from now on. Open the first one with `/round open`."
        )

    @commands.Cog.listener()
    async def on_guild_channel_update(self, _before: Any, after: discord.abc.GuildChannel) -> None:
        self.app.mending.hurry(after.guild.id)

    @commands.Cog.listener()
    async def on_guild_role_update(self, _before: Any, after: discord.Role) -> None:
        self.app.mending.hurry(after.guild.id)

    @commands.Cog.listener()
    async def on_member_update(self, _before: Any, after: discord.Member) -> None:
        if after.id == after.guild.me.id:  # of others we are not told
            self.app.mending.hurry(after.guild.id)
