"""The ticks of the bot, every few seconds, for what may be missed. What must happen is a durable sleep instead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from apscheduler.schedulers.asyncio import AsyncIOScheduler

Tick = Callable[[], Awaitable[None]]


class Ticks:
    """The ticks of one process, each at its own interval; a tick that takes longer than that is not doubled."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler()

    def start(self, ticks: Iterable[tuple[Tick, float]]) -> None:
        """Begin to call each tick, on the loop that runs now. The intervals are in seconds."""
        for tick, seconds in ticks:
            self._scheduler.add_job(
                _stoppable,
                "interval",
                args=[tick],
                name=getattr(tick, "__qualname__", repr(tick)),
                seconds=seconds,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
        self._scheduler.start()

    def pause(self) -> None:
        """Call no tick until `resume`; those under way go on."""
        self._scheduler.pause()

    def resume(self) -> None:
        """Call the ticks again."""
        self._scheduler.resume()

    def close(self) -> None:
        """Call no tick any more, and cancel those that are under way."""
        self._scheduler.shutdown(wait=False)


async def _stoppable(tick: Tick) -> None:
    """Run a tick; a cancelled one ends without a word, for the scheduler would write a trace of it to the log."""
    try:
        await tick()
    except asyncio.CancelledError:
        return
