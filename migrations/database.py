"""Open and upgrade the database: one URL, SQLite (WAL, FULL) or PostgreSQL, always async, by SQLAlchemy Core."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.script.revision import ResolutionError
from alembic.util.exc import CommandError
from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Table,
    and_,
    cast,
    event,
    extract,
    false,
    func,
    make_url,
    or_,
    select,
)
from sqlalchemy import BigInteger as SqlBigInteger
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

BUSY_TIMEOUT_S = 30

A = TypeVar("A")
B = TypeVar("B")


class OldDatabaseError(ValueError):
    """The database belongs to a ledger that this version of FLock cannot continue. Nothing in it was changed."""


class NewerDatabaseError(ValueError):
    """The database was written by a later FLock; nothing in it was changed."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"The database is of a newer FLock ({revision}), whose tables this one does not know. "
            "Run that version, or a newer one; nothing in the database was changed."
        )


def now_ms() -> int:
    """Return the time, in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def parse_url(url: str) -> URL:
    """Return the database URL with its async driver filled in.

    Raises ValueError, with a sentence, where the URL names anything but SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except Exception as error:
        raise ValueError(
            "The database URL cannot be read; write it as sqlite:///data/flock.db or postgresql://user@host/name."
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ValueError("The database must be a file (sqlite:///data/flock.db): several processes share it.")
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise ValueError(f"The database must be SQLite or PostgreSQL, not {backend}.")


def sync_url(url: str) -> str:
    """Return the URL of the same database for synchronous users (DBOS, Alembic), password included."""
    parsed = parse_url(url)
    driver = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


READS = "flock_reads"  # the execution option of connections that only read


class Database(AsyncEngine):
    """An engine whose `connect()` reads and whose `begin()` writes; a write through `connect()` is refused.

    On SQLite a reader waits for nobody and nobody waits for it, however long it reads. A writer begins IMMEDIATE:
    two of them wait for each other and never deadlock, and what one reads before it writes stays true. On PostgreSQL
    readers are READ ONLY transactions, which costs no round trip.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._reader = AsyncEngine(engine.execution_options(**{READS: True, "postgresql_readonly": True}))

    def connect(self) -> AsyncConnection:
        """Return a connection that cannot write. On SQLite it reads the state at the moment of its first statement."""
        return self._reader.connect()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write: committed at the end of the block, rolled back where the block raises."""
        async with super().connect() as connection, connection.begin():
            yield connection


def open_database(url: str) -> Database:
    """Return the database, for reading by `connect()` and writing by `begin()`. Raises ValueError like `parse_url`."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return Database(create_async_engine(parsed, pool_pre_ping=True).sync_engine)
    engine = create_async_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}).sync_engine
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return Database(engine)


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we send BEGIN ourselves, below
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")  # an acknowledged vote survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    reads = bool(connection.get_execution_options().get(READS))
    if connection.info.get(READS, False) != reads:  # the pool gives the same connections to readers and writers
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reads else 'OFF'}")
        connection.info[READS] = reads
    # A transaction that reads first and then writes would fail where another one has written between the two.
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


async def take_turns(connection: AsyncConnection, kind: str, *about: object) -> None:
    """Let the transactions of a kind about one thing, such as a member's quota, follow each other, each to its end.

    What one of them counts before it inserts then stays true until its commit. On SQLite all writers do so anyway. On
    PostgreSQL each would count only what was committed before, and all of them would find room.
    """
    if connection.dialect.name == "sqlite":
        return
    name = ":".join(["flock", kind, *map(str, about)])
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    await connection.execute(select(func.pg_advisory_xact_lock(cast(key, SqlBigInteger))))


def database_now_ms(database: AsyncEngine) -> ColumnElement[int]:
    """Return the clock of the database as an SQL expression, so that leases of several machines share one clock."""
    if database.dialect.name == "sqlite":
        return cast((func.julianday("now") - 2440587.5) * 86_400_000, SqlBigInteger)
    return cast(extract("epoch", func.clock_timestamp()) * 1000, SqlBigInteger)


def upsert_into(bind: AsyncEngine | AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT with `on_conflict_do_update`, in the dialect of the database."""
    return sqlite.insert(table) if bind.dialect.name == "sqlite" else postgresql.insert(table)


def one_of(pairs: Iterable[tuple[A, B]], first: Column[A], second: Column[B]) -> ColumnElement[bool]:
    """Return the condition that two columns are one of the pairs, for which both databases use an index on them.

    For `tuple_(first, second).in_(pairs)`, SQLite would read the whole table from two pairs on. The pairs may have some
    hundreds of different first values at most, since SQLite takes a thousand terms.
    """
    by_first: dict[A, list[B]] = defaultdict(list)
    for value, other in pairs:
        by_first[value].append(other)
    return or_(false(), *(and_(first == value, second.in_(others)) for value, others in by_first.items()))


def _alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["url"] = sync_url(url)
    return config


def _upgrade(url: str) -> None:
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        try:
            connection.execute("PRAGMA journal_mode=WAL")  # once: it is a property of the file
        finally:
            connection.close()
    try:
        command.upgrade(_alembic_config(url), "head")
    except CommandError as error:
        if isinstance(error.__cause__, ResolutionError):  # this code has no version of that name
            raise NewerDatabaseError(str(error.__cause__.argument)) from None
        raise


async def upgrade_database(url: str) -> None:
    """Create the schema, or upgrade it to this version of FLock. Safe to repeat.

    Raises OldDatabaseError or NewerDatabaseError where that is impossible, and then changes nothing.
    """
    await asyncio.to_thread(_upgrade, url)
