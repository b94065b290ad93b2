"""`/model` and `/admin model`, typed by members and moderators on the embedded Discord."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from bot.demo.discord.people import CannotDoError
from migrations.schema import adapters
from migrations.states.learning import CandidateState
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.live_bot import Town, open_town
from tests.builders.releases import a_candidate


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(tmp_path) as town:
        yield town


def last_act(caplog: pytest.LogCaptureFixture) -> str:
    """The last line of the log about what a moderator did; others write there as well."""
    return [each.getMessage() for each in caplog.records if each.name == "bot.cogs.learning.model"][-1]


async def test_a_candidate_that_won_is_released_and_taken_back(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """Members read what is live; only moderators decide, only about winners, and the log says who did what."""
    ben, mira, database = town.community.person("ben"), town.mira, town.database
    caplog.set_level(logging.INFO, logger="bot.cogs.learning.model")
    assert "No release is live" in (await ben.command("model")).text
    with pytest.raises(CannotDoError):
        await ben.command("admin model rollback", release=1)
    lost = await a_candidate(database, CandidateState.LOST)
    missing = await a_candidate(database)
    _, sha256 = write_adapter(town.app._settings.data_dir, adapter_bytes())
    won = await a_candidate(database, adapter_sha256=sha256)
    assert f"There is no candidate {won + 9}" in (await mira.command("admin model release", candidate=won + 9)).text
    refused = await mira.command("admin model release", candidate=lost)
    assert f"Candidate {lost} is lost, and nothing was released" in refused.text
    assert "can't be used" in (await mira.command("admin model release", candidate=missing)).text
    assert not any("released candidate" in message for message in caplog.messages)

    made = await mira.command("admin model release", candidate=won)
    assert made.ephemeral
    assert "Release 1 is live" in made.text
    assert "released candidate" in last_act(caplog)
    async with database.connect() as connection:
        assert list(await connection.scalars(select(adapters.c.sha256))) == [sha256]
    shown = await ben.command("model")
    assert shown.ephemeral
    for words in ("release 1", "312 votes of 4 rounds", "71%", sha256):
        assert words in shown.text
    _, other = write_adapter(town.app._settings.data_dir, adapter_bytes(number=0.25))
    late = await a_candidate(database, adapter_sha256=other)
    assert "isn't live any more" in (await mira.command("admin model release", candidate=late)).text

    assert "Release 2 is not live" in (await mira.command("admin model rollback", release=2)).text
    undone = await mira.command("admin model rollback", release=1)
    assert "Release 1 is taken back. The next videos are made by the base model" in undone.text
    assert "took release 1 back; the base model is in use" in last_act(caplog)
    assert "Release 1 is not live" in (await mira.command("admin model rollback", release=1)).text
    assert "taken back by a moderator" in (await ben.command("model")).text

    assert "is paused" in (await mira.command("admin model pause")).text
    assert "paused already" in (await mira.command("admin model pause")).text
    assert "A moderator has paused" in (await ben.command("model")).text
    assert "goes on" in (await mira.command("admin model resume")).text
    assert "not paused" in (await mira.command("admin model resume")).text
