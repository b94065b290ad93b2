"""The entry point of Alembic: it runs the versions against the URL from `database.upgrade_database`."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine, event, text

from migrations.database import BUSY_TIMEOUT_S
from migrations.schema import metadata


def _is_ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    """Return False for the tables that DBOS keeps in the same database."""
    return kind != "table" or name in metadata.tables


def _begin_at_once(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _run() -> None:
    """Upgrade in one process. Others that start at the same moment wait for it, and then find nothing left to do."""
    url = context.config.attributes["url"]
    sqlite = url.startswith("sqlite")
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None} if sqlite else {})
    if sqlite:
        # The driver would begin its transaction only at the first change, after every process has read the version.
        event.listen(engine, "begin", _begin_at_once)
    try:
        with engine.connect() as connection:
            if not sqlite:
                connection.execute(text("SELECT pg_advisory_lock(5051702)"))  # released with the connection
                connection.commit()
            context.configure(
                connection=connection,
                target_metadata=metadata,
                render_as_batch=True,
                include_object=_is_ours,
                transactional_ddl=True,
            )
            with connection.begin():
                context.run_migrations()
    finally:
        engine.dispose()  # and release the lock, also where a version raises


_run()
