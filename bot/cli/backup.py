"""`flock backup` and `flock restore`: the SQLite database, whole and consistent, while everything runs.

One file holds all that must not be lost: videos, rounds, votes, outbox, signed transactions, and the durable queue.
Not in it: keys, the pepper and .env (keep those apart), rendered files and models (they can be made again).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from pathlib import Path

from bot.domain.errors import OperatorError
from bot.settings import Settings
from migrations.database import parse_url

LIVE_MS = 15_000  # a lease renewed within this time is a living process's
NEEDED = {"videos", "votes", "outbox", "alembic_version"}


def backup(settings: Settings, target: Path, *, force: bool = False) -> str:
    """Copies the database to a file, mode 0600, at once or not at all; says what it holds. Raises OperatorError."""
    source = _database_file(settings)
    if not source.exists():
        raise OperatorError(f"There is no database at {source} yet: nothing to back up.")
    if target.exists() and not force:
        raise OperatorError(f"{target} exists. Take another name, or --force to replace it.")
    if target.exists() and target.samefile(source):
        raise OperatorError("The backup cannot be the database itself. Take another name.")
    if not target.parent.is_dir():
        raise OperatorError(f"The folder {target.parent} does not exist.")
    draft = _draft(target)
    try:
        with _opened(source, mode="ro") as live, _opened(draft) as copy:
            live.backup(copy, pages=2_000, sleep=0.01)  # in pieces: writers get their turn
            copy.execute("PRAGMA journal_mode=DELETE")
        counts = _examined(draft)
        draft.replace(target)
    except (sqlite3.Error, OSError) as error:
        raise OperatorError(f"The backup could not be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    size = target.stat().st_size / (1 << 20)
    return f"{target} holds {counts['videos']} videos and {counts['votes']} votes ({size:.1f} MiB)."


def restore(settings: Settings, source: Path, *, force: bool = False) -> str:
    """Puts a backup in the place of the database, which is kept beside it; says where. Raises OperatorError."""
    target = _database_file(settings)
    if not source.is_file():
        raise OperatorError(f"There is no file {source}.")
    try:
        counts = _examined(source)
        if target.exists():
            if target.samefile(source):
                raise OperatorError("That file is the database itself. Name the backup.")
            if running := _living(target):
                raise OperatorError(f"{running} still running on this database. Stop bot and workers, and try again.")
            if not force and (newer := _is_ahead(target, source)):
                raise OperatorError(
                    f"{newer} --force restores the backup all the same; the database is kept beside it."
                )
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = _draft(target)
        try:
            with _opened(source, mode="ro") as kept, _opened(draft) as copy:
                kept.backup(copy)
                copy.execute("PRAGMA journal_mode=WAL")
            kept_at = _set_aside(target)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except (sqlite3.Error, OSError) as error:
        raise OperatorError(f"The backup could not be restored: {error}") from error
    beside = f" What was there before is kept as {kept_at}." if kept_at else ""
    return f"{target} is now the backup: {counts['videos']} videos and {counts['votes']} votes.{beside}"


def _database_file(settings: Settings) -> Path:
    url = parse_url(settings.database_url)
    if url.get_backend_name() != "sqlite":
        raise OperatorError("This database is PostgreSQL: use its own tools, pg_dump and pg_restore.")
    return Path(url.database or "")


def _opened(path: Path, mode: str = "rwc") -> contextlib.closing[sqlite3.Connection]:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    return contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None))


def _draft(target: Path) -> Path:
    """An empty file beside the target that only its owner reads."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    return Path(name)


def _examined(path: Path) -> dict[str, int]:
    """How much is in it. Raises OperatorError for what is no whole database of FLock."""
    try:
        with _opened(path, mode="ro") as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise OperatorError(f"{path} is damaged.")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables >= NEEDED:
                raise OperatorError(f"{path} is no database of FLock.")
            videos = connection.execute("SELECT count(*) FROM videos").fetchone()[0]
            votes = connection.execute("SELECT count(*) FROM votes").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise OperatorError(f"{path} is damaged, or no database: {error}.") from error
    return {"videos": videos, "votes": votes}


def _living(path: Path) -> str:
    """Who still renews a lease on the database, in words; empty when nobody does."""
    query = "SELECT role, count(*) FROM executor_leases WHERE beat_at_ms >= ? GROUP BY role ORDER BY role"
    try:
        with _opened(path, mode="ro") as connection:
            rows = connection.execute(query, (int(time.time() * 1000) - LIVE_MS,)).fetchall()
    except sqlite3.DatabaseError:
        return ""  # it is lost: nobody can be working with it
    words = [f"{count} {role}{'s' if count > 1 else ''}" for role, count in rows]
    verb = "is" if sum(count for _, count in rows) == 1 else "are"
    return f"{' and '.join(words)} {verb}" if words else ""


def _is_ahead(target: Path, source: Path) -> str:
    """A warning where the database has sent what the backup does not know: the ledger would not fit any more."""
    newest = "SELECT coalesce(max(seq), -1) FROM chain_transactions"
    try:
        with _opened(target, mode="ro") as ours, _opened(source, mode="ro") as theirs:
            sent, known = ours.execute(newest).fetchone()[0], theirs.execute(newest).fetchone()[0]
    except sqlite3.DatabaseError:
        return ""  # what it knew is lost either way
    if sent <= known:
        return ""
    return (
        f"The backup is older than batch {sent}, which went to the chain: with it the relayer would stop, because the "
        "ledger knows votes that the database does not."
    )


def _set_aside(target: Path) -> Path | None:
    """Moves the database, and what of it still stands in its log, out of the way; returns where it is."""
    if not target.exists():
        return None
    with contextlib.suppress(sqlite3.DatabaseError), _opened(target) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    kept_at = target.with_name(f"{target.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    target.replace(kept_at)
    for ending in ("-wal", "-shm"):
        target.with_name(target.name + ending).unlink(missing_ok=True)
    return kept_at
