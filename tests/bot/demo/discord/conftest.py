"""Servers and bots for the tests of the embedded Discord."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.bot.demo.discord.town import QUICK, Process, Town


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server and a bot that all tests of a file share."""
    process = Process(tmp_path_factory.mktemp("discord") / "state")
    try:
        process.start_server()
        process.start_bot()
        yield process
    finally:
        process.stop()
        print(process.log.read_text())  # noqa: T201  # for who reads a failure


@pytest.fixture
async def town(process: Process) -> AsyncIterator[Town]:
    """The shared server, with its bot online."""
    async with process.community() as community:
        town = Town(process, community)
        await town.until_online()
        yield town


@pytest.fixture
def new_process(tmp_path: Path) -> Iterator[Process]:
    """A process of one's own, not yet started."""
    process = Process(tmp_path / "state", QUICK)
    try:
        yield process
    finally:
        process.stop()
