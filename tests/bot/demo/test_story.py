"""The demo's story begins once a worker has loaded its model; tests/acceptance/test_story.py has it told."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo import story as story_module
from bot.demo.discord.people import Community, NoAnswerError
from bot.demo.stack import Stack
from bot.demo.story import Story
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Terminal
from generation.jobs import gpu_queue
from migrations.database import now_ms
from migrations.schema import executor_leases


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(Stack(tmp_path, Supervisor(tmp_path)), Community("http://127.0.0.1:9", ""), Terminal(quiet=True), [])


async def announce(database: AsyncEngine, queue: str) -> None:
    async with database.begin() as connection:
        values = {"executor_id": queue, "role": "worker", "queues": [queue], "beat_at_ms": now_ms()}
        await connection.execute(insert(executor_leases).values(**values))


async def test_it_waits_for_a_worker_with_its_model(
    database: AsyncEngine, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for one with another model, and not without an end."""
    monkeypatch.setattr(story_module, "WORKER_S", 0.3)
    with pytest.raises(NoAnswerError, match="a worker to load its model"):
        await story.wait_for_worker(database)
    await announce(database, gpu_queue("tiny", "another"))
    with pytest.raises(NoAnswerError, match="a worker to load its model"):
        await story.wait_for_worker(database)
    await announce(database, gpu_queue("tiny", "tiny"))
    await story.wait_for_worker(database)


def test_what_can_be_seen_first_is_shown_once(story: Story) -> None:
    calls: list[int] = []
    story._show_first()
    story.on_first_video = lambda: calls.append(1)
    assert calls == []
    story._show_first()
    story._show_first()
    assert calls == [1]
