"""The acts of members: what Discord's client lets them do, and what it does not. No bot is needed for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from simcord.backend.errors import BackendError

from bot.demo.discord.acting import Acting, CannotError
from bot.demo.discord.gateway import Gateway
from bot.demo.discord.interactions import Interactions
from bot.demo.discord.world import World


@pytest.fixture
def acting(tmp_path: Path) -> Iterator[Acting]:
    world = World.open(tmp_path, "http://127.0.0.1:1")
    gateway = Gateway(world.backend, "token", "ws://127.0.0.1:1")
    yield Acting(world, gateway, Interactions(world))
    world.close()


def channel_of(acting: Acting) -> int:
    return next(c.id for c in acting.world.backend.channels.values() if c.name == "general")


def test_a_member_writes_reacts_and_deletes_what_is_theirs(acting: Acting) -> None:
    """Another member may not delete it; a moderator may."""
    place = {"channel_id": channel_of(acting)}
    first = acting.say({"member": "ana", **place, "content": "hello"})["message_id"]
    acting.react({"member": "ben", **place, "message_id": first, "emoji": "👍"})
    with pytest.raises(BackendError):
        acting.delete({"member": "ben", **place, "message_id": first})
    acting.delete({"member": "ana", **place, "message_id": first})
    second = acting.say({"member": "ana", **place, "content": "hello again"})["message_id"]
    acting.delete({"member": "mod-mira", **place, "message_id": second})
    assert acting.world.backend.messages.get(place["channel_id"], {}) == {}


@pytest.mark.parametrize("text", ["", "   ", "x" * 2001])
def test_a_message_has_words_and_not_too_many(acting: Acting, text: str) -> None:
    """The client does not send it."""
    with pytest.raises(CannotError, match="between 1 and 2000"):
        acting.say({"member": "ana", "channel_id": channel_of(acting), "content": text})


def test_strangers_and_commands_that_are_not_there(acting: Acting) -> None:
    """Each is a sentence that names what was asked for."""
    place = {"channel_id": channel_of(acting)}
    with pytest.raises(CannotError, match="no member called 'zoe'"):
        acting.say({"member": "zoe", **place, "content": "hello"})
    with pytest.raises(CannotError, match="no command /prompt"):
        acting.run_command({"member": "ana", **place, "name": "prompt"})


def test_a_button_must_be_on_the_message_unless_it_is_forged(acting: Acting) -> None:
    """A hostile client may send anything; an ordinary one sends what it shows."""
    place = {"channel_id": channel_of(acting)}
    message = acting.say({"member": "ana", **place, "content": "no buttons"})["message_id"]
    press = {"member": "ben", **place, "message_id": message, "custom_id": "v1:up:1"}
    with pytest.raises(CannotError, match="no button or menu 'v1:up:1'"):
        acting.press(press)
    assert acting.press({**press, "forged": True}) > 0
