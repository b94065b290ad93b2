"""The schema and how a database is opened: the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.database import open_and_upgrade
from bot.domain.errors import OperatorError
from bot.settings import Settings
from migrations.database import (
    NewerDatabaseError,
    OldDatabaseError,
    _alembic_config,
    database_now_ms,
    now_ms,
    open_database,
    parse_url,
    sync_url,
    take_turns,
    upgrade_database,
)
from migrations.schema import metadata
from tests.conftest import empty_postgresql


async def test_every_table_is_made_and_a_second_upgrade_changes_nothing(database_url: str) -> None:
    """Upgrading is safe to repeat, and ends at exactly the tables that migrations/schema names."""
    await upgrade_database(database_url)
    await upgrade_database(database_url)
    engine = create_engine(sync_url(database_url))
    try:
        with engine.connect() as connection:
            assert set(metadata.tables) <= set(inspect(connection).get_table_names())
            kind = connection.dialect.name

            def belongs_here(thing: Any, _name: str | None, _type: str, _reflected: bool, _other: Any) -> bool:
                return thing.info.get("only", kind) == kind  # some indexes are of one kind of database alone

            opts = {"compare_type": True, "include_object": belongs_here}
            assert compare_metadata(MigrationContext.configure(connection, opts=opts), metadata) == []
            indexes = {index["name"] for index in inspect(connection).get_indexes("outbox")}
            assert ("ix_outbox_state_kind_id" in indexes) == (kind == "postgresql")
    finally:
        engine.dispose()


async def test_a_database_of_an_older_ledger_is_left_as_it_is(database_url: str) -> None:
    """One with rounds on version 1 of the ledger is refused, by a sentence, and still serves the FLock that made it."""
    round_ = "INSERT INTO rounds (id, guild_id, number, task, opened_by, channel_id, status, opens_at_ms, closes_at_ms"
    values = "VALUES (1, 1, 1, 't', 1, 1, 'open', 1, 2"
    await asyncio.to_thread(command.upgrade, _alembic_config(database_url), "0001")
    engine = create_engine(sync_url(database_url))
    try:
        with engine.begin() as connection:
            connection.execute(text(f"{round_}, chain_key) {values}, 'k')"))  # our own words
        with engine.begin() as connection:
            connection.execute(text("UPDATE rounds SET chain_id = 1"))
        with pytest.raises(OldDatabaseError, match=r"version 1 of the ledger.*FLOCK_DATABASE_URL.*`flock deploy`"):
            await upgrade_database(database_url)
        settings = Settings(_env_file=None, database_url=database_url)
        with pytest.raises(OperatorError, match="version 1 of the ledger"):
            await open_and_upgrade(settings)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
            assert not inspect(connection).has_table("seats")
        with engine.begin() as connection:
            connection.execute(text("UPDATE rounds SET chain_id = NULL"))  # none of them has come onto a ledger
        await upgrade_database(database_url)
    finally:
        engine.dispose()


async def test_a_database_of_a_newer_flock_is_left_as_it_is(database_url: str) -> None:
    """It is refused by a sentence that names its version, and nothing of it changes; today's own goes on."""
    await upgrade_database(database_url)
    engine = create_engine(sync_url(database_url))
    try:
        with engine.begin() as connection:
            today = connection.scalar(text("SELECT version_num FROM alembic_version"))
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(NewerDatabaseError, match=r"newer FLock \(9999\).*Run that version"):
            await upgrade_database(database_url)
        with pytest.raises(OperatorError, match="newer FLock"):
            await open_and_upgrade(Settings(_env_file=None, database_url=database_url))
        with engine.begin() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
            connection.execute(text("UPDATE alembic_version SET version_num = :today"), {"today": today})
        await upgrade_database(database_url)
    finally:
        engine.dispose()


async def test_bot_and_worker_may_upgrade_at_the_same_moment(database_url: str) -> None:
    """Two processes that start together on a new database both come up."""
    script = (
        "import asyncio, sys; from migrations.database import upgrade_database; "
        "asyncio.run(upgrade_database(sys.argv[1]))"
    )
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", script, database_url) for _ in range(3)]
    assert [await process.wait() for process in processes] == [0, 0, 0]


async def test_a_sqlite_database_survives_a_power_cut_and_is_private(sqlite_url: str) -> None:
    """WAL with synchronous=FULL, and a file that only its owner can read."""
    await upgrade_database(sqlite_url)
    engine = open_database(sqlite_url)
    try:
        async with engine.connect() as connection:
            pragmas = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
    finally:
        await engine.dispose()
    assert pragmas == ["wal", 2, 1]
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_the_databases_clock_is_a_clock(database: AsyncEngine) -> None:
    """Leases are compared by the database's own time, in milliseconds."""
    before = now_ms()
    async with database.connect() as connection:
        found = await connection.scalar(select(database_now_ms(database)))
    assert found is not None
    assert before - 2000 <= found <= now_ms() + 2000


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:hunter2@host/db", "SQLite or PostgreSQL"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("not a url hunter2", "cannot be read"),
    ],
)
def test_other_urls_are_refused_without_being_shown(url: str, says: str) -> None:
    """The sentence says what to write; it repeats nothing that may be a password."""
    with pytest.raises(ValueError, match=says) as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)


def test_urls_get_the_right_drivers() -> None:
    """One setting serves asynchronous and synchronous users."""
    assert parse_url("postgresql://u:p@h/d").drivername == "postgresql+psycopg"
    assert parse_url("postgresql+asyncpg://u:p@h/d").drivername.endswith("psycopg")
    assert sync_url("sqlite:///x.db") == "sqlite:///x.db"
    assert sync_url("postgresql://u:p@h/d") == "postgresql+psycopg://u:p@h/d"


async def test_transactions_about_one_thing_follow_each_other(database: AsyncEngine) -> None:
    """What the first one counts stays true until its commit."""
    log: list[str] = []

    async def work(name: str) -> None:
        async with database.begin() as connection:
            await take_turns(connection, "videos", 1, 2)
            log.append(f"{name} begins")
            await asyncio.sleep(0.1)
            log.append(f"{name} ends")

    await asyncio.gather(work("a"), work("b"))
    assert log[0][0] == log[1][0] != log[2][0] == log[3][0]


async def test_transactions_about_other_things_do_not_wait(postgres_server: str) -> None:
    """Another kind, another server or another member: on PostgreSQL they run at once."""
    engine = open_database(empty_postgresql(postgres_server))
    try:
        async with engine.begin() as first, asyncio.timeout(30):
            await take_turns(first, "videos", 1, 2)
            for other in (("reviews", 1, 2), ("videos", 2, 2), ("videos", 1, 3), ("videos", 12)):
                async with engine.begin() as connection:
                    await take_turns(connection, *other)
    finally:
        await engine.dispose()
