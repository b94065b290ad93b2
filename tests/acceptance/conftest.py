"""A whole house of real processes, for tests that live in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from bot.demo.discord.people import Community
from bot.demo.stack import House
from bot.demo.story import Story
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Teller

OpenStory = Callable[..., AbstractAsyncContextManager[Story]]


@asynccontextmanager
async def open_story(
    state: Path, prompts: list[str], *, database_url: str | None = None, settings: dict[str, str] | None = None
) -> AsyncIterator[Story]:
    """Services, bot and worker as in the demo, and a story that has not begun. On failure the logs are shown."""
    supervisor = Supervisor(state)
    house = House(state, supervisor, database_url, settings)
    try:
        await house.open_services()
        await house.open_bot_and_worker()
        async with Community(house.discord_url, house.keys.control_token) as community:
            yield Story(house, community, Teller(), prompts)
    except BaseException:
        for log in sorted((state / "logs").glob("*.log")):
            print(f"===== {log.name}\n{log.read_text(errors='replace')[-4000:]}")  # noqa: T201  # for who reads the failure
        raise
    finally:
        await supervisor.stop()


@pytest.fixture
def story_opener() -> OpenStory:
    return open_story
