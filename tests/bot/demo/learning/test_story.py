"""The pieces of the story that need no stack; tests/acceptance/test_learning_demo.py has it told whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.people import Community
from bot.demo.learning import story as module
from bot.demo.learning.plan import LearningPlan
from bot.demo.learning.story import LearningStory
from bot.demo.stack import Stack
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Terminal
from generation.feedback.dataset.prompts import split_of
from migrations.schema import outbox


@pytest.fixture
def story(tmp_path: Path) -> LearningStory:
    stack, community = Stack(tmp_path, Supervisor(tmp_path)), Community("http://127.0.0.1:9", "")
    return LearningStory(stack, community, Terminal(quiet=True), [], plan=LearningPlan("large"))


def test_it_goes_on_after_the_usual_chapters(story: LearningStory) -> None:
    """Training, battle and release come when the round is closed."""
    assert [name for name, _ in story.chapters()][-4:] == ["close", "training", "battle", "release"]


def test_its_prompts_come_several_times_and_some_are_held_out(story: LearningStory) -> None:
    """Votes compare videos of one prompt; most prompts teach, and all can be battled on."""
    assert len(story.prompts) == 96
    assert len(set(story.prompts)) == len(story.captions) == 24
    assert sum(split_of(prompt) == "train" for prompt in story.captions) >= 16


def test_a_battle_lasts_as_long_as_its_videos_take_here(story: LearningStory) -> None:
    """By the pace of the round before; on a quick machine there is a least time all the same."""
    story.video_ids = [str(number) for number in range(96)]
    story.seconds["videos"] = 960.0
    slow = story._duration()
    assert slow > 2 * 10 * 2 * 100
    story.seconds["videos"] = 9.6
    assert module.SHORTEST_S <= story._duration() < slow


async def test_the_ledger_holds_everything_once_nothing_is_on_its_way(database: AsyncEngine) -> None:
    """What it turned down, or what a later vote overtook, is not waited for."""
    values = {"kind": "reveal", "round_id": 1, "payload": {}, "created_at_ms": 1}
    async with database.begin() as connection:
        for state in ("final", "rejected", "superseded"):
            await connection.execute(insert(outbox).values(**values, state=state))
    assert await module._all_is_written(database) is True
    for state in ("pending", "batched"):
        async with database.begin() as connection:
            await connection.execute(insert(outbox).values(**values, state=state))
        assert await module._all_is_written(database) is None


async def test_a_card_is_waited_for_until_the_watching_ends() -> None:
    """What broke the watching is raised to whoever waits."""

    async def broken() -> None:
        raise LookupError("no card")

    async def going_on() -> None:
        await asyncio.Event().wait()

    watching = asyncio.create_task(going_on())
    assert await module._is_here("a", {}, watching) is None
    assert await module._is_here("a", {"a": 1}, watching) is True
    watching.cancel()
    failed = asyncio.create_task(broken())
    await asyncio.wait({failed})
    with pytest.raises(LookupError, match="no card"):
        await module._is_here("a", {}, failed)
