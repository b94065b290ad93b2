"""Alembic's entry: runs the versions against the URL that `database.upgrade_database` hands over."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import create_engine, event, text

from migrations.database import BUSY_TIMEOUT_S
from migrations.schema import metadata


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    """The durable engine keeps tables of its own in the same database; they are none of our business."""
    return kind != "table" or name in metadata.tables


def _begin_at_once(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _run() -> None:
    """One process upgrades; others that start at the same moment wait for it, and find nothing left to do."""
    url = context.config.attributes["url"]
    sqlite = url.startswith("sqlite")
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None} if sqlite else {})
    if sqlite:
        # The driver would begin its transaction only at the first change, after everybody has looked.
        event.listen(engine, "begin", _begin_at_once)
    try:
        with engine.connect() as connection:
            if not sqlite:
                connection.execute(text("SELECT pg_advisory_lock(5051702)"))  # given back with the connection
                connection.commit()
            context.configure(
                connection=connection,
                target_metadata=metadata,
                render_as_batch=True,
                include_object=_ours,
                transactional_ddl=True,
            )
            with connection.begin():
                context.run_migrations()
    finally:
        engine.dispose()  # and with it the lock, also where a version refuses


_run()
