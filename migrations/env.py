"""Alembic's entry: runs the versions against the URL that `database.upgrade_database` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, text

from migrations.schema import metadata


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    """The durable engine keeps tables of its own in the same database; they are none of our business."""
    return kind != "table" or name in metadata.tables


def _run() -> None:
    engine = create_engine(context.config.attributes["url"])
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            # Bot and worker may start at the same moment: the second waits for the first.
            connection.execute(text("SELECT pg_advisory_lock(5051702)"))
            connection.commit()
        else:
            connection.exec_driver_sql("PRAGMA busy_timeout=30000")
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, include_object=_ours)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


_run()
