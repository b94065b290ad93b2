"""`/provenance`: where a video comes from, and the card from which anyone with the model can render it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.cards import limits as card_limits
from bot.cards import videos as video_cards
from bot.cogs.replies import Reply, answer
from bot.domain.errors import NoProvenanceError, VideoUnknownError
from bot.store import videos

if TYPE_CHECKING:
    from bot.app import App

SUGGESTED = 25  # the most that Discord shows


class Provenance(commands.Cog):
    """What a posted video was made with."""

    def __init__(self, app: App) -> None:
        self.app = app

    @app_commands.command(
        name="provenance", description="How a video was made, and the card to render it again. Only you see it."
    )
    @app_commands.describe(video="Choose one, or write some words of its prompt.")
    @app_commands.guild_only()
    async def provenance(self, interaction: discord.Interaction[Any], video: str) -> None:
        await answer(interaction, self._provenance(interaction.guild_id or 0, video.strip()))

    @provenance.autocomplete("video")
    async def suggest(self, interaction: discord.Interaction[Any], typed: str) -> list[app_commands.Choice[str]]:
        posted = await videos.latest(
            self.app.database, interaction.guild_id or 0, typed[:100], SUGGESTED, posted_only=True
        )
        return [
            app_commands.Choice(name=card_limits.plain(video.prompt, card_limits.MOST_NAME), value=video.id)
            for video in posted
        ]

    async def _provenance(self, guild_id: int, named: str) -> Reply:
        found = await videos.get_or_none(self.app.database, named)
        if found is None:  # typed, not chosen
            found = next(iter(await videos.latest(self.app.database, guild_id, named[:100], 1, posted_only=True)), None)
        if found is None or found.guild_id != guild_id or found.status != "published":
            raise VideoUnknownError
        if found.provenance is None:
            raise NoProvenanceError
        name = f"flock-{found.id}-provenance.json"
        text = json.dumps(found.provenance, indent=2, ensure_ascii=False) + "\n"
        return Reply(video_cards.provenance_card(found, f"attachment://{name}"), name, text.encode())
