"""The database refuses rows of the engine that are not portable JSON, also again after a backup was restored."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from dbos._schemas.system_database import SystemSchema
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.queue.engine import Engine, QueueSpec
from generation.queue.row_rules import TABLES
from tests.generation.queue.forged_rows import drop_rules


@pytest.fixture
async def engine(database: AsyncEngine, database_url: str) -> AsyncIterator[Engine]:
    """A bot's engine, which has made its tables."""
    made = Engine(database, database_url, role="bot", queues=[QueueSpec("bot", 1)])
    await made.launch()
    yield made
    await made.close()


async def rows_of_every_kind(engine: Engine) -> list[str]:
    """The statements that make a row of each table say that it is something else, with such a row in each."""
    schema = "" if engine.database.dialect.name == "sqlite" else "dbos."
    names = {
        "operation_outputs": "(workflow_uuid, function_id, function_name, retention_timestamp) VALUES ('w', 1, 'f', 0)",
        "notifications": "(destination_uuid, message, message_uuid, created_at_epoch_ms) VALUES ('w', '1', 'm', 0)",
        "workflow_events": "(workflow_uuid, key, value) VALUES ('w', 'k', '1')",
        "workflow_events_history": "(workflow_uuid, function_id, key, value) VALUES ('w', 1, 'k', '1')",
        "streams": "(workflow_uuid, key, value, \"offset\", function_id) VALUES ('w', 'k', '1', 0, 1)",
    }
    async with engine.database.begin() as connection:
        await engine.submit(connection, "work", "w", {}, queue="nobody's")
        for name, values in names.items():
            await connection.execute(text(f"INSERT INTO {schema}{name} {values}"))
    return [f"UPDATE {schema}{name} SET serialization = :form" for name in TABLES]  # noqa: S608  # our own names


async def test_no_other_row_can_be_written(engine: Engine) -> None:
    """Not one of the six tables takes one; portable JSON and rows that name no form are written as before."""
    for statement in await rows_of_every_kind(engine):
        for form in ("portable_json", None):
            async with engine.database.begin() as connection:
                assert (await connection.execute(text(statement), {"form": form})).rowcount >= 1
        for form in ("py_pickle", "", "PORTABLE_JSON", "custom"):
            with pytest.raises(DBAPIError, match="portable_json"):
                async with engine.database.begin() as connection:
                    await connection.execute(text(statement), {"form": form})


async def test_a_restored_database_has_the_rule_again(engine: Engine, database: AsyncEngine, database_url: str) -> None:
    """At the next start, whatever rows came with it: those stay, and are refused when they are read."""
    statement, *_ = await rows_of_every_kind(engine)
    await drop_rules(database)
    async with database.begin() as connection:
        await connection.execute(text(statement), {"form": "py_pickle"})
    await engine.close()
    again = Engine(database, database_url, role="bot", queues=[QueueSpec("bot", 1)])
    await again.launch()
    with pytest.raises(DBAPIError, match="portable_json"):
        async with database.begin() as connection:
            await connection.execute(text(statement), {"form": "py_pickle"})
    await again.close()


def test_all_tables_with_such_a_column_are_known() -> None:
    """Another version of the library may have more of them."""
    tables = SystemSchema.metadata_obj.tables.values()
    assert {table.name for table in tables if "serialization" in table.columns} == set(TABLES)
