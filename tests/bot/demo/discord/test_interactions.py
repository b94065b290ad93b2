"""Interactions and their deadlines, on a world without a bot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.demo.discord.interactions import COMMAND, Interactions, _whole_name, is_settled, plain
from bot.demo.discord.world import World

DATA = {"id": "1", "name": "prompt", "type": 1, "options": []}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World.open(tmp_path, "http://127.0.0.1:1")
    yield world
    world.close()


def begin(interactions: Interactions) -> tuple[int, str]:
    world = interactions.world
    member, channel = world.member_named("ana"), next(iter(world.guild.channel_ids))
    interaction_id, payload = interactions.open(COMMAND, member or 0, channel, DATA)
    return interaction_id, payload["token"]


async def test_an_interaction_that_nobody_answers_fails_at_its_deadline(world: World) -> None:
    """The person waits until then and no longer; nobody else's token leads to it."""
    interactions = Interactions(world, answer_s=0.05)
    interaction_id, token = begin(interactions)
    assert interactions.of_path(f"/webhooks/1/{token}/messages/@original") == interaction_id
    assert interactions.of_path("/webhooks/1/guessed/messages/@original") is None
    assert interactions.of_path(f"/channels/1/{token}") is None
    status = await asyncio.wait_for(interactions.wait(interaction_id, 5), 4)
    assert status is not None
    assert (status["failed"], status["member"], status["kind"]) == (True, "ana", None)
    assert is_settled(status)


async def test_a_follow_up_after_the_token_has_expired_is_too_late(world: World) -> None:
    """Only follow-ups are: the first answer has a deadline of its own."""
    interactions = Interactions(world, token_s=0.0)
    interaction_id, token = begin(interactions)
    assert interactions.is_too_late(interaction_id, f"/webhooks/1/{token}")
    assert not interactions.is_too_late(interaction_id, f"/interactions/{interaction_id}/{token}/callback")
    fresh = Interactions(world)
    assert not fresh.is_too_late(begin(fresh)[0], "/webhooks/1/x")


def test_an_interaction_that_is_gone_has_no_status(world: World) -> None:
    """None, instead of an error."""
    assert Interactions(world).status(1) is None


def test_a_plain_payload_is_a_copy() -> None:
    """Nothing that is done to it changes the world, and ids become what the wire has."""
    original = {"list": [1, {"a": 2}]}
    copy = plain(original)
    copy["list"][1]["a"] = 3
    assert original == {"list": [1, {"a": 2}]}


def test_a_command_has_its_whole_name() -> None:
    """A subcommand's name holds its parents, as Discord writes it; options that are no subcommands add nothing."""
    show = {"name": "show", "type": 1, "options": [{"name": "public", "type": 5, "value": True}]}
    assert _whole_name({"name": "wallet", "options": [show]}) == "wallet show"
    assert _whole_name({"name": "a", "options": [{"name": "b", "type": 2, "options": [show]}]}) == "a b show"
    assert _whole_name({"name": "prompt", "options": [{"name": "text", "type": 3, "value": "x"}]}) == "prompt"
