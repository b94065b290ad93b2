"""The router of presses and forms: the prefix of a custom id names the cog that answers it.

The whole state of a button or form is its custom id. So it is answered after any restart, also on an old card, on a
card that was edited in the meantime, and where the id is forged: each route checks what its ids name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import discord
from discord.ext import commands

from bot.client import Interaction
from bot.cogs.replies import answer_error
from bot.domain.errors import UnreadableButtonError


class Route(Protocol):
    """A cog that answers the buttons and forms of one prefix. An error that it raises is answered by the router."""

    async def pressed(self, interaction: Interaction, custom_id: str) -> bool:
        """Answer a press of a button. Return False if no button has such an id."""

    async def submitted(self, interaction: Interaction, custom_id: str, text: str) -> bool:
        """Answer a form, with the text of its field. Return False if no form has such an id."""


class Buttons(commands.Cog):
    """The one listener for presses of buttons and for forms."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        """`routes` are the cogs by the part of a custom id before its first colon, such as `v1`."""
        self._routes = routes

    @commands.Cog.listener()
    async def on_interaction(self, interaction: Interaction) -> None:
        if interaction.type not in (discord.InteractionType.component, discord.InteractionType.modal_submit):
            return  # the command tree answers commands
        try:
            await self._route(interaction)
        except Exception as error:
            await answer_error(interaction, error)

    async def _route(self, interaction: Interaction) -> None:
        """Hand an interaction to its route. Raises UnreadableButtonError if there is none that can read its id."""
        custom_id, text = read_data(interaction)
        route = self._routes.get(custom_id.partition(":")[0])
        if route is None:
            raise UnreadableButtonError
        if interaction.type is discord.InteractionType.component:
            readable = await route.pressed(interaction, custom_id)
        else:
            readable = await route.submitted(interaction, custom_id, text)
        if not readable:
            raise UnreadableButtonError


def read_data(interaction: Interaction) -> tuple[str, str]:
    """Return the custom id of a press or form, and the text of a form's first field; each is empty if there is none."""
    data: dict[str, object] = dict(interaction.data or {})
    return str(data.get("custom_id", "")), _first_text(data.get("components"))


def _first_text(components: object) -> str:
    """Return the value of the first text input in the nested components of a form."""
    for component in components if isinstance(components, list) else [components]:
        if isinstance(component, dict):
            if isinstance(component.get("value"), str):
                return str(component["value"])
            text = _first_text(component.get("components")) or _first_text(component.get("component"))
            if text:
                return text
    return ""
