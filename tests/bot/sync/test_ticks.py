"""The ticks of a process: called again and again, ended in silence, and heard when they fail."""

from __future__ import annotations

import asyncio
import logging

import pytest

from bot.sync.ticks import Ticks


async def test_a_tick_comes_again_until_the_close(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0
    twice = asyncio.Event()

    async def tick() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            twice.set()

    ticks = Ticks()
    ticks.start([(tick, 0.02)])
    await asyncio.wait_for(twice.wait(), 20)
    ticks.close()
    then = calls
    await asyncio.sleep(0.1)
    assert calls == then
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_tick_under_way_ends_at_the_close_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def tick() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    ticks = Ticks()
    ticks.start([(tick, 0.02)])
    await asyncio.wait_for(begun.wait(), 20)
    ticks.close()
    await asyncio.wait_for(ended.wait(), 20)
    await asyncio.sleep(0.05)  # the scheduler writes its line after the task has ended
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_tick_that_fails_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    async def count_the_stars() -> None:
        failed.set()
        raise ValueError("too many")

    ticks = Ticks()
    ticks.start([(count_the_stars, 0.02)])
    await asyncio.wait_for(failed.wait(), 20)
    await asyncio.sleep(0.05)
    ticks.close()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors and "count_the_stars" in errors[0].getMessage()
