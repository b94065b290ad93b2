"""Messages as a person reads them."""

from __future__ import annotations

import pytest

from bot.demo.discord.messages import read_message

CARD = {
    "id": "1",
    "channel_id": "2",
    "author": {"username": "FLock"},
    "edited_timestamp": "2026-01-01",
    "reactions": [{"emoji": {"name": "👍"}, "count": 2}],
    "thread": {"id": "3"},
    "components": [
        {
            "type": 17,
            "components": [
                {"type": 10, "content": "### a red circle"},
                {"type": 12, "items": [{"media": {"url": "http://127.0.0.1/clip.mp4"}}]},
                {
                    "type": 9,
                    "components": [{"type": 10, "content": "by ana"}],
                    "accessory": {"type": 2, "style": 5, "label": "Watch", "url": "http://127.0.0.1/v"},
                },
                {
                    "type": 1,
                    "components": [
                        {"type": 2, "style": 1, "label": "Up", "custom_id": "v1:up:9", "emoji": {"name": "👍"}},
                        {"type": 2, "style": 2, "label": "Off", "custom_id": "v1:off", "disabled": True},
                    ],
                },
                {
                    "type": 1,
                    "components": [{"type": 3, "custom_id": "menu", "options": [{"value": "sun"}, {"value": "rain"}]}],
                },
            ],
        }
    ],
}


def test_a_card_is_read_in_its_order() -> None:
    """Texts, media, links, buttons and menus of a whole tree, wherever in it they are."""
    message = read_message(CARD)
    assert message.text == "### a red circle\nby ana"
    assert message.media == ("http://127.0.0.1/clip.mp4",)
    assert message.links == {"Watch": "http://127.0.0.1/v"}
    assert message.menus == {"menu": ("sun", "rain")}
    assert [(button.label, button.emoji, button.disabled) for button in message.buttons] == [
        ("Up", "👍", False),
        ("Off", "", True),
    ]
    assert (message.thread_id, message.reactions, message.edited, message.ephemeral) == ("3", {"👍": 2}, True, False)


def test_a_button_goes_by_label_or_by_the_beginning_of_its_id() -> None:
    """A label comes first; a button that is not there is an error that names those that are."""
    message = read_message(CARD)
    assert message.button("Up") is message.button("v1:up") is message.buttons[0]
    with pytest.raises(LookupError, match=r"'Down'; there are \['Up', 'Off'\]"):
        message.button("Down")


def test_an_ordinary_message_has_its_words_and_its_embeds() -> None:
    """Without components, content and embeds are the text."""
    plain = {"id": "1", "channel_id": "2", "content": "hello", "embeds": [{"title": "a", "description": "b"}]}
    assert read_message(plain).text == "hello\na\nb"
    assert read_message({"id": "1", "channel_id": "2"}).text == ""
