"""A stack of real processes that an operator looks at: its story is told once, and many tests look."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.demo.discord.people import Community
from bot.demo.stack import Stack
from bot.demo.story import PROMPTS, Story
from bot.demo.supervisor import Supervisor
from bot.demo.terminal import Terminal
from tests.builders.live_bot import Town, open_town


def free_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WatchedStack(Stack):
    """The demo's house, whose worker takes settings of its own too."""

    of_worker: Mapping[str, str] = {}

    @property
    def worker_env(self) -> dict[str, str]:
        return {**super().worker_env, **self.of_worker}


@asynccontextmanager
async def open_watched(
    state: Path, prompts: list[str], *, bot: Mapping[str, str] | None = None, worker: Mapping[str, str] | None = None
) -> AsyncIterator[Story]:
    """Services, bot and worker, and a story that has not begun. On failure the logs are shown."""
    state.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(state)
    stack = WatchedStack(state, supervisor, None, bot)
    stack.of_worker = dict(worker or {})
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


@dataclass
class Told:
    """A story that was told to its end in a stack that still stands, with everything logged and measured."""

    story: Story
    result: dict[str, Any]
    metrics_port: int
    worker_metrics_port: int

    @property
    def stack(self) -> Stack:
        return self.story.stack

    def logs(self) -> dict[str, str]:
        """What each process has logged, by its name."""
        return {path.stem: path.read_text() for path in sorted((self.stack.state / "logs").glob("*.log"))}


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    """One stack for all who only look: it logs everything there is, as JSON, and is measured."""
    ports = free_port(), free_port()
    shared = {"FLOCK_LOG_LEVEL": "DEBUG", "FLOCK_LOG_FORMAT": "json"}
    async with open_watched(
        tmp_path_factory.mktemp("watched") / "state",
        list(PROMPTS[:2]),
        bot={"FLOCK_METRICS_PORT": str(ports[0])},
        worker={**shared, "FLOCK_METRICS_PORT": str(ports[1])},
    ) as story:
        yield Told(story, await story.tell(), *ports)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """One for all tests of a module, which starts it when it asks for `town`."""
    async with open_town(tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest_asyncio.fixture(loop_scope="module")
async def town(running_town: Town) -> AsyncIterator[Town]:
    """A live bot in a guild, in order before and after a test."""
    await running_town.in_order()
    yield running_town
    await running_town.in_order()
