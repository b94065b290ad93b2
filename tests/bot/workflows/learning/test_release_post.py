"""A release is told of once: with its filmstrip where a worker made it, and never where it was taken back before."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.demo.discord.people import wait_for
from bot.domain.releases import Release
from bot.files.filmstrips import read_filmstrip
from bot.store.learning import releases
from bot.workflows.learning import release_post
from bot.workflows.learning.release_post import job_id, workflow_id
from generation.queue.engine import WorkCancelledError
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.live_bot import Town, open_town
from tests.builders.releases import a_candidate, a_release

PNG = b"\x89PNG\r\n\x1a\n a picture"
WORDS = "Your votes moved this: release"


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(tmp_path) as town:
        await town.in_order()
        yield town


async def posts(town: Town) -> list[str]:
    """The posts of releases in the channel of rounds."""
    return [message.text for message in await town.shown(town.channel) if WORDS in message.text]


async def made(town: Town, number: float = 0.5) -> Release:
    """A release whose adapter is in the data folder of the bot."""
    _, sha256 = write_adapter(town.app._settings.data_dir, adapter_bytes(number=number))
    return await a_release(town.database, adapter_sha256=sha256)


def stand_in_for_workers(town: Town, monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    """Have jobs of filmstrips end so: there is no worker in this process."""

    async def result(workflow: str) -> Any:
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(town.app.learning.announcements._engine, "result", result)


async def test_a_release_is_posted_once_with_its_filmstrip(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed in between begins again, and finds the post; `/model` shows the picture."""
    stand_in_for_workers(town, monkeypatch, {"outcome": "done", "png": base64.b64encode(PNG).decode()})
    candidate = await a_candidate(
        town.database, adapter_sha256=write_adapter(town.app._settings.data_dir, adapter_bytes())[1]
    )
    assert "Release 1 is live" in (await town.mira.command("admin model release", candidate=candidate)).text

    async def over() -> bool | None:
        return (await town.workflows()).get(workflow_id("tiny", 1)) == "SUCCESS" or None

    await wait_for("the post of the release", over, seconds=300)
    [text] = await posts(town)
    assert "312 votes from 4 rounds" in text
    assert "One prompt and seed" in text
    assert read_filmstrip(town.app._settings.data_dir, "tiny", 1) == PNG
    assert job_id("tiny", 1) in await town.workflows()
    assert await town.app.learning.announcements._try_to_post("tiny", 1, town.guild)
    assert len(await posts(town)) == 1
    shown = await town.community.person("ben").command("model")
    assert "release 1" in shown.text


@pytest.mark.parametrize(
    "end", [{"outcome": "failed", "reason": "It crashed."}, {"outcome": "done", "png": "x"}, WorkCancelledError("id")]
)
async def test_without_a_filmstrip_a_release_is_posted_all_the_same(
    end: Any, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a worker answers."""
    stand_in_for_workers(town, monkeypatch, end)
    await made(town)
    assert await town.app.learning.announcements._ask("tiny", 1)
    await town.app.learning.announcements._bring("tiny", 1)
    assert await town.app.learning.announcements._try_to_post("tiny", 1, town.guild)
    [text] = await posts(town)
    assert "One prompt and seed" not in text
    assert read_filmstrip(town.app._settings.data_dir, "tiny", 1) is None


async def test_no_worker_holds_up_the_post_for_long(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is cancelled, so that no worker makes what nobody waits for."""
    stand_in_for_workers(town, monkeypatch, None)
    monkeypatch.setattr(release_post, "LONGEST_WAIT_S", -1)
    await made(town)
    assert await town.app.learning.announcements._ask("tiny", 1)
    await town.app.learning.announcements._bring("tiny", 1)
    assert (await town.workflows())[job_id("tiny", 1)] == "CANCELLED"


async def test_the_filmstrip_shows_the_releases_that_stood(town: Town) -> None:
    """In their order; without those that were taken back; not at all without the new one's own adapter."""
    await made(town)
    await made(town, 0.25)
    async with town.database.begin() as connection:
        await releases.roll_back(connection, "tiny", number=2, by=1)
    third = await made(town, 0.75)
    job = await town.app.learning.announcements._filmstrip_job("tiny", 3)
    assert job is not None
    assert [each.number for each in job.releases] == [1, 3]
    (town.app._settings.data_dir / "adapters" / f"{third.adapter_sha256}.safetensors").unlink()
    assert await town.app.learning.announcements._filmstrip_job("tiny", 3) is None


async def test_what_was_taken_back_before_is_not_posted(town: Town) -> None:
    """Nor is anything in a server that has no channel for rounds."""
    await made(town)
    assert await town.app.learning.announcements._try_to_post("tiny", 1, town.guild + 999)
    async with town.database.begin() as connection:
        await releases.roll_back(connection, "tiny", number=1, by=1)
    assert await town.app.learning.announcements._try_to_post("tiny", 1, town.guild)
    assert await posts(town) == []
