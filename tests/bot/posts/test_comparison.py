"""A card is compared with the message that shows it: what Discord adds by itself is no difference, all else is one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import discord
import pytest
from discord import ui
from discord.components import _component_factory

from bot.posts.comparison import is_shown

CDN = "https://cdn.example/attachments/1/2"


def a_card(text: str = "a storm", *, media: str = "attachment://clip.mp4", label: str = "Up") -> ui.LayoutView:
    view = ui.LayoutView()
    box: ui.Container[Any] = ui.Container(ui.MediaGallery(discord.MediaGalleryItem(media)), ui.TextDisplay(text))
    row: ui.ActionRow[Any] = ui.ActionRow()
    row.add_item(ui.Button(label=label, custom_id="v1:up:1", emoji="👍"))
    box.add_item(row)
    view.add_item(box)
    return view


def message(
    card: ui.LayoutView, *, url: str = f"{CDN}/clip.mp4?ex=1&hm=2", names: tuple[str, ...] = ("clip.mp4",)
) -> Any:
    """What Discord sends back: with ids, with the address of the file, and with facts about it."""
    numbers = iter(range(1, 100))

    def stored(data: Any) -> Any:
        if isinstance(data, list):
            return [stored(each) for each in data]
        if not isinstance(data, dict):
            return data
        if str(data.get("url", "")).startswith("attachment://"):
            return {"url": url, "proxy_url": url, "width": 64, "height": 64, "content_type": "video/mp4", "flags": 0}
        extra = {"id": next(numbers)} if "type" in data else {}
        return {**{key: stored(value) for key, value in data.items()}, **extra}

    components = [_component_factory(each) for each in stored(card.to_components())]
    attachments = [SimpleNamespace(url=f"{CDN}/{name}?ex=3&hm=4", filename=name) for name in names]
    return SimpleNamespace(components=components, attachments=attachments)


def test_a_message_shows_the_card_that_was_sent() -> None:
    """Ids, the file's signed address and its size are Discord's own."""
    assert is_shown(a_card(), message(a_card()))
    outside = "https://host.example/clip.mp4"
    assert is_shown(a_card(media=outside), message(a_card(media=outside), names=()))


@pytest.mark.parametrize(
    "other",
    [
        a_card("a calm"),
        a_card(label="Down"),
        a_card(media="attachment://other.mp4"),
        a_card(media="https://host.example/clip.mp4"),
    ],
    ids=["text", "button", "file", "address"],
)
def test_any_other_card_is_not_shown(other: ui.LayoutView) -> None:
    """A text, a button, a file, and a video that is shown from elsewhere."""
    assert not is_shown(other, message(a_card()))


def test_a_file_that_the_message_does_not_have_is_a_difference() -> None:
    """Its address leads to another message's file, of the same name."""
    elsewhere = message(a_card(), url="https://cdn.example/attachments/8/9/clip.mp4")
    assert not is_shown(a_card(), elsewhere)
    assert not is_shown(a_card(), message(a_card(), names=()))
