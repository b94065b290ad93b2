"""Who has reacted, as Discord tells it: page after page, normal and super reactions each by themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import discord
import pytest

from bot.client import Client
from bot.store.vote_writer import VoteWriter
from bot.sync.reactions import PAGE, ReactionSync
from migrations.database import open_database


class Lists:
    """Answers as Discord's route does: sorted by id, at most `limit` after `after`, of one kind of reaction."""

    def __init__(self, normal: list[int], burst: list[int]) -> None:
        self.of = {0: sorted(normal), 1: sorted(burst)}
        self.requests = 0

    async def get_reaction_users(
        self, _channel: int, _message: int, emoji: str, limit: int, after: int | None, kind: int
    ) -> list[dict[str, Any]]:
        assert (emoji, limit <= 100) == ("👍", True)
        self.requests += 1
        later = [number for number in self.of[kind] if number > (after or 0)]
        return [{"id": str(number), "bot": number == 1} for number in later[:limit]]


def reaction(normal: int, burst: int) -> discord.Reaction:
    """As the payload of a message has it."""
    message = cast(discord.Message, SimpleNamespace(id=6, channel=SimpleNamespace(id=5)))
    details = {"normal": normal, "burst": burst}
    data = {"emoji": {"name": "👍", "id": None}, "count": normal + burst, "me": False, "count_details": details}
    return discord.Reaction(message=message, data=cast(Any, data), emoji="👍")


@pytest.mark.parametrize(
    ("normal", "burst", "requests"),
    [([], [7], 1), ([7, 9], [], 1), ([2, 3], [4], 2), (list(range(2, PAGE + 3)), [], 2), ([1, 2], [], 1)],
    ids=["super reactions alone", "normal ones alone", "both", "two pages", "the bot's own"],
)
async def test_everybody_is_found(normal: list[int], burst: list[int], requests: int) -> None:
    """A super reaction is a vote too: taken for absent, it would be withdrawn at the next start."""
    lists = Lists(normal, burst)
    client = Client()
    client.http = lists  # type: ignore[assignment]  # all that is asked of it
    database = open_database("sqlite:///unused.db")
    sync = ReactionSync(database=database, client=client, votes=VoteWriter(database, b"pepper"))
    found = await sync._members_who(reaction(len(normal), len(burst)))
    assert found == {*normal, *burst} - {1}
    assert lists.requests == requests
