"""Messages as a person reads them: the texts of a Components V2 card, its buttons and its media."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Payload = dict[str, Any]  # an object of Discord's JSON, which simcord makes and takes in this form
BUTTON, SELECT, TEXT_DISPLAY, THUMBNAIL, MEDIA_GALLERY, FILE = 2, 3, 10, 11, 12, 13
LINK_STYLE = 5


@dataclass(frozen=True)
class Button:
    """A button on a card."""

    label: str
    custom_id: str
    emoji: str
    disabled: bool


@dataclass(frozen=True)
class Message:
    """A message as a member sees it; a card's texts are joined by newlines."""

    id: str
    channel_id: str
    author: str
    text: str
    ephemeral: bool
    buttons: tuple[Button, ...] = ()
    media: tuple[str, ...] = ()  # addresses in media galleries
    attachments: tuple[str, ...] = ()
    thread_id: str | None = None  # of the thread that was started from this message
    reactions: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)  # addresses of link buttons, by label
    menus: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # values of menus, by custom id
    edited: bool = False

    def button(self, name: str) -> Button:
        """Return a button by its label, or else by the beginning of its custom id. Raises LookupError."""
        for button in self.buttons:
            if button.label == name:
                return button
        for button in self.buttons:
            if button.custom_id.startswith(name):
                return button
        raise LookupError(f"There is no button {name!r}; there are {[b.label or b.custom_id for b in self.buttons]}.")


def read_message(data: Payload) -> Message:
    """Read a message from Discord's JSON (https://discord.com/developers/docs/resources/message#message-object)."""
    texts = [str(data["content"])] if data.get("content") else []
    texts += [str(e[key]) for e in data.get("embeds") or [] for key in ("title", "description") if e.get(key)]
    buttons: list[Button] = []
    media: list[str] = []
    links: dict[str, str] = {}
    menus: dict[str, tuple[str, ...]] = {}
    for node in _walk(data.get("components")):
        kind = node.get("type")
        if kind == TEXT_DISPLAY:
            texts.append(str(node.get("content", "")))
        elif kind == BUTTON and node.get("style") == LINK_STYLE:
            links[str(node.get("label") or "")] = str(node.get("url"))
        elif kind == BUTTON and node.get("custom_id"):
            emoji = (node.get("emoji") or {}).get("name") or ""
            disabled = bool(node.get("disabled"))
            buttons.append(Button(str(node.get("label") or ""), str(node["custom_id"]), emoji, disabled))
        elif kind == SELECT:
            menus[str(node["custom_id"])] = tuple(str(option["value"]) for option in node.get("options") or [])
        elif kind == MEDIA_GALLERY:
            media += [str(item["media"]["url"]) for item in node.get("items", [])]
        elif kind == THUMBNAIL:
            media.append(str(node["media"]["url"]))
        elif kind == FILE:
            media.append(str(node["file"]["url"]))
    return Message(
        id=str(data["id"]),
        channel_id=str(data["channel_id"]),
        author=str((data.get("author") or {}).get("username", "")),
        text="\n".join(texts),
        ephemeral=bool(data.get("ephemeral")),
        buttons=tuple(buttons),
        media=tuple(media),
        attachments=tuple(str(a["url"]) for a in data.get("attachments", [])),
        thread_id=str(data["thread"]["id"]) if data.get("thread") else None,
        reactions={r["emoji"]["name"]: int(r["count"]) for r in data.get("reactions") or []},
        links=links,
        menus=menus,
        edited=data.get("edited_timestamp") is not None,
    )


def _walk(node: object) -> Iterator[Payload]:
    """Yield every component of a tree, in reading order."""
    if isinstance(node, list):
        for child in node:
            yield from _walk(child)
    elif isinstance(node, dict):
        yield node
        for key in ("components", "accessory", "component"):
            yield from _walk(node.get(key))
