"""The end of a worker that is to stop: it begins nothing more, and finishes the jobs that it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import TypeVar

from generation.queue.engine import Engine

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S = 0.1
UPLOAD_COMES_S = 3.0  # after a render: the bot asks the host for a place first


async def drain(engine: Engine, renders: Sequence[str], uploads: str, seconds: float, at_once: asyncio.Event) -> None:
    """Take no more renders, and wait until those under way have ended, and are uploaded where that is quick.

    For `seconds` at most, or until `at_once` is set. `renders` and `uploads` name queues.
    """
    for queue in renders:
        engine.shut(queue)
    if seconds <= 0:
        return
    count = sum(map(engine.running, renders))
    if count:
        log.info("Stopping: %d render%s may still end, within %.0f s.", count, "s" * (count != 1), seconds)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await first_of(_until_idle(engine, renders, uploads), at_once)


async def _until_idle(engine: Engine, renders: Sequence[str], uploads: str) -> None:
    wait_until = time.monotonic() + 2 * LOOK_S  # for a job that is being taken right now
    while True:
        now = time.monotonic()
        if any(map(engine.running, renders)):
            wait_until = now + UPLOAD_COMES_S
        elif now >= wait_until and not engine.running(uploads):
            return
        await asyncio.sleep(LOOK_S)


async def first_of(work: Coroutine[None, None, T], stop: asyncio.Event) -> bool:
    """Wait for work or for `stop`; return True when the work came first. Raises what the work raises."""
    tasks = [asyncio.create_task(work), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
