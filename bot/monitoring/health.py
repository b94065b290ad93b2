"""The health of a process: the parts that it depends on, and how long each of them may be away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.schema import leases

PROBE_S = 10.0  # a probe without an answer for this long has failed
DATABASE_S = 30.0  # the database may be away for this long before a process counts as unhealthy

Probe = Callable[[], Awaitable[str | None]]


@dataclass
class Watch:
    """A part that may be away for a while. `probe` returns the problem, if there is one.

    The process is unhealthy once the problem has lasted for `patience` seconds.
    """

    probe: Probe
    patience: float
    _failing_since: float | None = field(default=None, init=False)

    async def look(self) -> tuple[str | None, bool]:
        """Return the problem of this moment, and True if it has lasted for too long."""
        try:
            async with asyncio.timeout(PROBE_S):
                problem = await self.probe()
        except TimeoutError:
            problem = "it does not answer"
        if problem is None:
            self._failing_since = None
            return None, False
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        return problem, time.monotonic() - self._failing_since >= self.patience


class HealthReport(NamedTuple):
    """The health of one moment: `problems` by the names of the parts."""

    healthy: bool
    ready: bool
    problems: dict[str, str]


class Health:
    """The health of a process, from the parts that it watches."""

    def __init__(self, watches: Mapping[str, Watch]) -> None:
        self._watches = dict(watches)

    async def look(self) -> HealthReport:
        """Return the report: ready without any problem, healthy while none has lasted for too long."""
        looks = await asyncio.gather(*(watch.look() for watch in self._watches.values()))
        problems = {name: text for name, (text, _) in zip(self._watches, looks, strict=True) if text is not None}
        return HealthReport(not any(late for _, late in looks), not problems, problems)


def database_watch(database: AsyncEngine) -> Watch:
    """Return a watch that tries a write which changes nothing: a database that only reads is of no use."""

    async def probe() -> str | None:
        try:
            async with database.begin() as connection:
                await connection.execute(update(leases).where(leases.c.name == "").values(owner=""))
        except (SQLAlchemyError, OSError) as error:
            return f"it takes no writes ({type(error).__name__})"
        return None

    return Watch(probe, DATABASE_S)
