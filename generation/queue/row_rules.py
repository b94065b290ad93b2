"""The database's own rule for the durable engine's rows: portable JSON alone may be written.

The guard of portable_json refuses to read anything else; this keeps it from being written at all, by whoever may write
to the tables but not change them. A restored file has the rule again at the bot's next start.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from generation.queue.portable_json import PORTABLE

# The tables of the engine whose rows say how their values are written.
TABLES = (
    "workflow_status",
    "operation_outputs",
    "notifications",
    "workflow_events",
    "workflow_events_history",
    "streams",
)
RULE = "portable_json_alone"  # its name in the database


async def allow_portable_json_alone(database: AsyncEngine) -> None:
    """Give each table the rule, where it has none yet; rows that stand there already are left as they are.

    Raises whatever the database raises, such as for a role that does not own the tables.
    """
    is_sqlite = database.dialect.name == "sqlite"
    async with database.begin() as connection:
        for table in TABLES:
            await (_set_triggers if is_sqlite else _set_constraint)(connection, table)


async def _set_triggers(connection: AsyncConnection, table: str) -> None:
    """Set the rule as triggers: SQLite adds no constraint to a table that is there."""
    for event in ("INSERT", "UPDATE"):
        await connection.execute(
            text(
                f"CREATE TRIGGER IF NOT EXISTS {RULE}_{table}_{event.lower()} BEFORE {event} ON {table} "
                f"WHEN NEW.serialization <> '{PORTABLE}' "
                f"BEGIN SELECT RAISE(ABORT, 'The rows of the engine are {PORTABLE} alone.'); END"
            )
        )


async def _set_constraint(connection: AsyncConnection, table: str) -> None:
    is_there = text(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = :rule AND conrelid = to_regclass(:table))"
    )
    if await connection.scalar(is_there, {"rule": RULE, "table": f"dbos.{table}"}):
        return
    # Old rows are not looked through, which would lock the table for long; they are refused when they are read.
    await connection.execute(
        text(f"ALTER TABLE dbos.{table} ADD CONSTRAINT {RULE} CHECK (serialization = '{PORTABLE}') NOT VALID")
    )
