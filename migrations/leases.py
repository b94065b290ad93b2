"""Named leases: one holder at a time, by the clock of the database, lost when not renewed."""

from __future__ import annotations

from sqlalchemy import delete, or_, update
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.database import database_now_ms, upsert_into
from migrations.schema import leases


async def take_lease(database: AsyncEngine, name: str, owner: str, seconds: float) -> bool:
    """Take or renew the lease. Return False where another owner holds it."""
    now = database_now_ms(database)
    until = now + int(seconds * 1000)
    insert = upsert_into(database, leases)
    async with database.begin() as connection:
        renewed = await connection.execute(
            update(leases)
            .where(leases.c.name == name, or_(leases.c.owner == owner, leases.c.until_ms < now))
            .values(owner=owner, until_ms=until)
        )
        if renewed.rowcount:
            return True
        created = await connection.execute(
            insert.values(name=name, owner=owner, until_ms=until).on_conflict_do_nothing().returning(leases.c.name)
        )
        return created.first() is not None


async def release_lease(database: AsyncEngine, name: str, owner: str) -> None:
    """Release the lease, if it is still ours, so that a successor need not wait."""
    async with database.begin() as connection:
        await connection.execute(delete(leases).where(leases.c.name == name, leases.c.owner == owner))
