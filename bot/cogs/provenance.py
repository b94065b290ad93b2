"""`/provenance`: the origin of a video, and the card from which anyone with the model can render it again."""

from __future__ import annotations

import json

from discord import app_commands
from discord.ext import commands
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import limits as card_limits
from bot.cards import videos as video_cards
from bot.client import Interaction
from bot.cogs.replies import Reply, answer
from bot.domain.errors import NoProvenanceError, VideoUnknownError
from bot.store import videos
from contracts.outbox.progress import prompt_salt_or_none
from migrations.states.community import VideoStatus

MOST_SUGGESTIONS = 25  # Discord shows no more


class Provenance(commands.Cog):
    """The command that shows how a posted video was made."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    @app_commands.command(
        name="provenance", description="How a video was made, with the file to render it again. Only you see it."
    )
    @app_commands.describe(video="Choose a video, or type some words of its prompt.")
    @app_commands.guild_only()
    async def provenance(self, interaction: Interaction, video: str) -> None:
        await answer(interaction, self._provenance(interaction.guild_id or 0, video.strip()))

    @provenance.autocomplete("video")
    async def suggest(self, interaction: Interaction, text: str) -> list[app_commands.Choice[str]]:
        matches = await videos.latest(
            self._database, interaction.guild_id or 0, text[:100], MOST_SUGGESTIONS, posted_only=True
        )
        return [
            app_commands.Choice(name=card_limits.plain(video.prompt, card_limits.MOST_NAME), value=video.id)
            for video in matches
        ]

    async def _provenance(self, guild_id: int, reference: str) -> Reply:
        """Return the card of a video; `reference` is its id, or words of its prompt."""
        video = await videos.get_or_none(self._database, reference)
        if video is None:  # the option was typed, not chosen
            video = next(
                iter(await videos.latest(self._database, guild_id, reference[:100], 1, posted_only=True)), None
            )
        if video is None or video.guild_id != guild_id or video.status != VideoStatus.PUBLISHED:
            raise VideoUnknownError
        if video.provenance is None:
            raise NoProvenanceError
        name = f"flock-{video.id}-provenance.json"
        card = dict(video.provenance)
        # Of a posted video alone: without the salt nobody can guess a removed prompt by its hash on the ledger.
        card["prompt_salt"] = await prompt_salt_or_none(self._database, video.id)
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        progress = (await videos.progress_of(self._database, [video.id])).get(video.id)
        return Reply(video_cards.provenance_card(video, f"attachment://{name}", progress), name, text.encode())
