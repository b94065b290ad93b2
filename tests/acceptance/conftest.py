"""A whole stack of real processes, for tests that live in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from bot.demo.discord.people import Community
from bot.demo.stack import Stack
from bot.demo.story import Story
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Terminal

OpenStory = Callable[..., AbstractAsyncContextManager[Story]]


@asynccontextmanager
async def open_story(
    state: Path, prompts: list[str], *, database_url: str | None = None, settings: dict[str, str] | None = None
) -> AsyncIterator[Story]:
    """Services, bot and worker as in the demo, and a story that has not begun. On failure the logs are shown."""
    supervisor = Supervisor(state)
    stack = Stack(state, supervisor, database_url, settings)
    try:
        await stack.open_services()
        await stack.open_bot_and_worker()
        async with Community(stack.discord_url, stack.keys.control_token) as community:
            yield Story(stack, community, Terminal(), prompts)
    except BaseException:
        for log in sorted((state / "logs").glob("*.log")):
            print(f"===== {log.name}\n{log.read_text(errors='replace')[-4000:]}")  # noqa: T201  # for who reads the failure
        raise
    finally:
        await supervisor.stop()


@pytest.fixture
def story_opener() -> OpenStory:
    return open_story
