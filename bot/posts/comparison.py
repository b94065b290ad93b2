"""The comparison of a card with the message that shows it: an edit that would change nothing is not sent.

A difference that Discord makes by itself, such as another address of a file, is none. Whatever else differs is one: at
worst a card is edited that was right.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import discord
from discord import ui


def is_shown(card: ui.LayoutView, message: discord.Message) -> bool:
    """Return True if a message shows this card, component by component, and nothing else."""
    names = {urlsplit(each.url).path: each.filename for each in message.attachments}
    shown: list[object] = [component.to_dict() for component in message.components]
    sent: list[object] = card.to_components()  # type: ignore[no-untyped-call]  # discord.py leaves it without types
    return _essence(sent, names) == _essence(shown, names)


def _essence(data: object, names: Mapping[str, str]) -> object:
    """Return components without what Discord adds: their ids, and the values that stand for nothing.

    The address of an attachment becomes that by which a card names it; Discord signs addresses anew all the time.
    """
    if isinstance(data, list):
        return [_essence(each, names) for each in data]
    if not isinstance(data, Mapping):
        return data
    if set(data) == {"url"}:
        name = names.get(urlsplit(str(data["url"])).path)
        return {"url": str(data["url"]) if name is None else f"attachment://{name}"}
    is_component = "type" in data
    return {
        key: _essence(value, names)
        for key, value in data.items()
        if value is not None and value is not False and not (is_component and key == "id")
    }
