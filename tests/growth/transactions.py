"""Transactions that are only tried."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class RollBackError(Exception):
    """Ends a transaction that is only tried."""


@contextlib.asynccontextmanager
async def tried(database: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction of which nothing stays."""
    with contextlib.suppress(RollBackError):
        async with database.begin() as connection:
            yield connection
            raise RollBackError
