"""The refusals that a node tells of: one answer proves nothing, and what the bot knows itself must agree with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.rpc.node import Node
from migrations.database import now_ms
from migrations.schema import outbox, rounds

log = logging.getLogger(__name__)

ROUND_CLOSED = "ledger: round closed"
MOST_KEPT = 10_000  # refusals that are remembered


class Refusals:
    """The refusals that were told once, and wait to be told again."""

    def __init__(
        self, database: AsyncEngine, node: Node, confirm_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`confirm_s`: the least seconds between the first and the last telling of a refusal; 0: one will do."""
        self._database = database
        self._node = node
        self._confirm_s = confirm_s
        self._clock = clock
        self._first_told: dict[tuple[str, int], float] = {}

    async def doubt_of(self, entries: Sequence[int], reason: str) -> str | None:
        """Return why a refusal of outbox entries is not believed yet; None where it is.

        It must be told again after a while, by another node where there is one. That a round has closed is not believed
        before its time, whoever says so: nothing of it is lost by waiting.
        """
        if not entries or self._confirm_s <= 0:
            return None
        if reason == ROUND_CLOSED and (left_s := await self._time_left(entries)) > 0:
            why = f'it says "{reason}" of a round that has {left_s:.0f} s left'
        else:
            now, key = self._clock(), (reason, min(entries))
            first = self._first_told.setdefault(key, now)
            if now - first >= self._confirm_s:
                self._first_told.pop(key, None)
                return None
            why = f'it says "{reason}", and has to say so again after {self._confirm_s:.0f} s'
            while len(self._first_told) > MOST_KEPT:
                self._first_told.pop(next(iter(self._first_told)))
        self._node.doubt(why)  # so that another one is asked
        log.info("A refusal of %d entries is not believed yet: %s.", len(entries), why)
        return f"The chain's node at {self._node.host} is not believed yet: {why}."

    async def _time_left(self, entries: Sequence[int]) -> float:
        """Return the seconds until the entries' rounds close, by what the bot has recorded; 0 where they are over."""
        query = select(rounds.c.closes_at_ms, rounds.c.status).join(outbox, outbox.c.round_id == rounds.c.id)
        async with self._database.connect() as connection:
            rows = (await connection.execute(query.where(outbox.c.id.in_(list(entries)[:500])).distinct())).all()
        open_until = [row.closes_at_ms for row in rows if row.status == "open"]
        return max(0.0, (min(open_until) - now_ms()) / 1000) if open_until and len(open_until) == len(rows) else 0.0
