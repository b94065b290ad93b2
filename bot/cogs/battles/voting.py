"""The votes of a battle round: a member gets pairs one by one, chooses, and sees after that which video was whose.

Pairs are ephemeral: only the member sees them, so that each is shown to few, and nobody is swayed by others.
"""

from __future__ import annotations

import asyncio
import io
import re
from dataclasses import dataclass
from pathlib import Path

import discord
from discord import ui
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import battles as cards
from bot.cards import layout
from bot.client import Interaction
from bot.cogs.replies import answer_error, insist
from bot.domain.battles import PairView
from bot.domain.errors import BattleAllSeenError, BattlePairUnknownError, ModeratorsOnlyError, NoBattleError
from bot.files.blind import read_shown
from bot.store.battles import rounds as battles
from bot.store.battles.ballots import Ballots
from bot.workflows.battle import BattleWorkflow
from migrations.states.battles import BattleChoice
from migrations.states.community import RoundStatus

DAY_S = 86400.0
_BUTTON_ID = re.compile(cards.BUTTON_ID)


@dataclass(frozen=True)
class _Deal:
    """A pair for a member, with the bytes of its videos in the order in which they are shown."""

    view: PairView
    videos: tuple[bytes, bytes]

    def files(self) -> list[discord.File]:
        """Return the files, new ones for each attempt: sending a file reads it to its end."""
        return [
            discord.File(io.BytesIO(data), filename=name) for name, data in zip(cards.NAMES, self.videos, strict=True)
        ]


class BattleVoting:
    """The route of the buttons of battle rounds."""

    def __init__(self, *, database: AsyncEngine, ballots: Ballots, workflow: BattleWorkflow, data_dir: Path) -> None:
        self._database = database
        self._ballots = ballots
        self._workflow = workflow
        self._data_dir = data_dir

    async def pressed(self, interaction: Interaction, custom_id: str) -> bool:
        """Answer a press. Return False if no button of battle rounds has such an id."""
        match = _BUTTON_ID.fullmatch(custom_id)
        if match is None:
            return False
        action, number = match["action"], int(match["id"])
        if action == "start":
            await self.send_next(interaction, number)
            return True
        await insist(interaction.response.defer)  # in time, whatever takes long; the card changes later
        if action == "next":
            await self._finish(interaction, number)
        elif action == "remove":
            await self._remove(interaction, number)
        else:
            await self._choose(interaction, number, BattleChoice(action))
        return True

    async def submitted(self, interaction: Interaction, custom_id: str, text: str) -> bool:
        """Return False: battle rounds have no forms."""
        return False

    async def send_latest(self, interaction: Interaction) -> None:
        """Answer `/battle`: send the member's pair in the guild's open battle round. Raises NoBattleError."""
        battle = await battles.latest_or_none(self._database, interaction.guild_id or 0)
        if battle is None or battle.round.status != RoundStatus.OPEN:
            raise NoBattleError
        await self.send_next(interaction, battle.round.id)

    async def send_next(self, interaction: Interaction, round_id: int) -> None:
        """Send the member's next pair, which nobody else sees."""
        if not interaction.response.is_done():
            await insist(lambda: interaction.response.defer(ephemeral=True, thinking=True))
        try:
            deal = await self._deal(interaction, round_id)
            card = cards.pair_card(deal.view, moderator=_is_moderator(interaction))
            await insist(lambda: interaction.followup.send(view=card, files=deal.files(), ephemeral=True))
        except Exception as error:
            await answer_error(interaction, error)

    async def _deal(self, interaction: Interaction, round_id: int) -> _Deal:
        """Return the member's pair. A pair whose files are gone is taken out of the round, and the next one comes."""
        battle = await battles.get_or_none(self._database, round_id)
        if battle is None or battle.round.guild_id != interaction.guild_id:
            raise NoBattleError
        if battle.round.status == RoundStatus.OPENING:
            raise NoBattleError  # its registration does not stand on the ledger yet
        while True:
            pair_id = await self._ballots.deal(
                round_id, interaction.user.id, _days(interaction, battle.round.opens_at_ms)
            )
            if pair_id is None:
                raise BattleAllSeenError(number=battle.round.number)
            view = await self._ballots.view(pair_id, battle.round.guild_id, interaction.user.id)
            videos = await self._videos(pair_id)
            if videos is not None:
                return _Deal(view, videos)
            await self._workflow.remove_pair(pair_id, battle.round.guild_id, "The file of a video was lost.")

    async def _videos(self, pair_id: int) -> tuple[bytes, bytes] | None:
        pair = await battles.pair_or_none(self._database, pair_id)
        both = await battles.videos_of(self._database, pair_id)
        files = [await asyncio.to_thread(read_shown, video, self._data_dir) for video in both]
        if pair is None or files[0] is None or files[1] is None:
            return None
        return (files[0], files[1]) if pair.first_is_a else (files[1], files[0])

    async def _choose(self, interaction: Interaction, pair_id: int, choice: BattleChoice) -> None:
        """Record a choice, and show it on the member's card."""
        guild_id, member_id = interaction.guild_id or 0, interaction.user.id
        await self._ballots.cast(pair_id, guild_id, member_id, choice)
        await self._show(interaction, await self._ballots.view(pair_id, guild_id, member_id))

    async def _finish(self, interaction: Interaction, pair_id: int) -> None:
        """Let a choice be final, show its sides on the member's card, and send the next pair."""
        guild_id, member_id = interaction.guild_id or 0, interaction.user.id
        async with self._database.begin() as connection:
            await self._workflow.vote_is_final(connection, pair_id, guild_id, member_id)
        view = await self._ballots.view(pair_id, guild_id, member_id)
        await self._show(interaction, view)
        if view.answered == view.of:
            await self._workflow.wake(view.round_id)
        await self.send_next(interaction, view.round_id)

    async def _remove(self, interaction: Interaction, pair_id: int) -> None:
        """Let a moderator take a pair away. Raises ModeratorsOnlyError or BattlePairUnknownError."""
        if not _is_moderator(interaction):
            raise ModeratorsOnlyError
        guild_id = interaction.guild_id or 0
        if not await self._workflow.remove_pair(pair_id, guild_id, "A moderator removed it."):
            raise BattlePairUnknownError
        note: ui.LayoutView = layout.note(
            "🗑️ This pair is shown to nobody any more. Votes that were cast on it before still count."
        )
        await insist(lambda: interaction.edit_original_response(view=note, attachments=[]))

    async def _show(self, interaction: Interaction, view: PairView) -> None:
        """Edit the member's card, whose files stay."""
        card = cards.pair_card(view, moderator=_is_moderator(interaction) and not view.is_final)
        message = interaction.message
        attachments = list(message.attachments) if message is not None else []
        await insist(lambda: interaction.edit_original_response(view=card, attachments=attachments))


def _is_moderator(interaction: Interaction) -> bool:
    return interaction.permissions.manage_guild


def _days(interaction: Interaction, until_ms: int) -> float:
    """Return for how many days before a time the member had been in the server."""
    joined = getattr(interaction.user, "joined_at", None)
    return 0.0 if joined is None else max(0.0, (until_ms / 1000 - joined.timestamp()) / DAY_S)
