"""`flock backup` and `flock restore`: the SQLite database, whole and consistent, copied while everything runs.

One file holds all that must not be lost: videos, rounds, votes, outbox, signed transactions, and the durable queue.
Keys, the pepper and .env are not in it (keep those apart), nor are rendered files and models (they can be made again).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import tempfile
import time
from pathlib import Path

from bot.cli.process import Commands, say
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings

LIVE_MS = 15_000  # a lease that was renewed within this time belongs to a living process
TABLES = {"videos", "votes", "outbox", "alembic_version"}  # without these a file is no database of FLock


def add_parser(commands: Commands) -> None:
    """Add both commands to `flock`."""
    parser = commands.add_parser("backup", help="copy the SQLite database to a file, while everything runs")
    parser.add_argument("file", type=Path, help="where the backup goes (mode 0600)")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.set_defaults(command=run_backup)

    parser = commands.add_parser("restore", help="put a backup in the database's place, when nothing runs")
    parser.add_argument("file", type=Path, help="a file that `flock backup` wrote")
    parser.add_argument("--force", action="store_true", help="also when the ledger is ahead of the backup")
    parser.set_defaults(command=run_restore)


def run_backup(arguments: argparse.Namespace) -> int:
    """Write the backup."""
    say(backup(load_settings("migrate"), arguments.file, force=arguments.force))
    return 0


def run_restore(arguments: argparse.Namespace) -> int:
    """Restore the backup."""
    say(restore(load_settings("migrate"), arguments.file, force=arguments.force))
    return 0


def backup(settings: Settings, target: Path, *, force: bool = False) -> str:
    """Copy the database to a file, mode 0600, whole or not at all; return its contents in a sentence.

    Raises OperatorError.
    """
    source = _database_file(settings)
    if not source.exists():
        raise OperatorError(f"There is no database at {source} yet, so there is nothing to back up.")
    if target.exists() and not force:
        raise OperatorError(f"{target} exists already. Choose another name, or add --force to replace it.")
    if target.exists() and target.samefile(source):
        raise OperatorError("The backup cannot be the database itself. Choose another name.")
    if not target.parent.is_dir():
        raise OperatorError(f"The folder {target.parent} does not exist. Create it, or choose another name.")
    draft = _draft(target)
    try:
        with _open(source, mode="ro") as live, _open(draft) as copy:
            live.backup(copy, pages=2_000, sleep=0.01)  # in pieces: writers get their turn
            copy.execute("PRAGMA journal_mode=DELETE")
        counts = _counts(draft)
        draft.replace(target)
    except (sqlite3.Error, OSError) as error:
        raise OperatorError(f"The backup could not be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    size = target.stat().st_size / (1 << 20)
    return f"{target} holds {counts['videos']} videos and {counts['votes']} votes ({size:.1f} MiB)."


def restore(settings: Settings, source: Path, *, force: bool = False) -> str:
    """Put a backup in the place of the database, and return a sentence that says where the database is kept.

    Raises OperatorError.
    """
    target = _database_file(settings)
    if not source.is_file():
        raise OperatorError(f"There is no file {source}. Name a file that `flock backup` wrote.")
    try:
        counts = _counts(source)
        _check_version(source)
        if target.exists():
            if target.samefile(source):
                raise OperatorError("That file is the database itself. Name a file that `flock backup` wrote.")
            if running := _living_processes(target):
                raise OperatorError(
                    f"{running} still running on this database. Stop the bot and the workers, and try again."
                )
            if not force and (newer := _is_ahead(target, source)):
                raise OperatorError(f"{newer} Add --force to restore it anyway; the database is kept beside it.")
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = _draft(target)
        try:
            with _open(source, mode="ro") as saved, _open(draft) as copy:
                saved.backup(copy)
                copy.execute("PRAGMA journal_mode=WAL")
            kept_at = _set_aside(target)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except (sqlite3.Error, OSError) as error:
        raise OperatorError(f"The backup could not be restored: {error}") from error
    beside = f" The former database is kept as {kept_at}." if kept_at else ""
    return f"{target} is now the backup, with {counts['videos']} videos and {counts['votes']} votes.{beside}"


def _database_file(settings: Settings) -> Path:
    from migrations.database import parse_url

    url = parse_url(settings.database_url)
    if url.get_backend_name() != "sqlite":
        raise OperatorError("This database is PostgreSQL. Use its own tools, pg_dump and pg_restore.")
    return Path(url.database or "")


def _open(path: Path, mode: str = "rwc") -> contextlib.closing[sqlite3.Connection]:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    return contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None))


def _draft(target: Path) -> Path:
    """Create an empty file beside the target that only its owner may read, and return its path."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    return Path(name)


def _counts(path: Path) -> dict[str, int]:
    """Return the numbers of videos and votes. Raises OperatorError for a file that is no whole database of FLock."""
    try:
        with _open(path, mode="ro") as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise OperatorError(f"{path} is damaged. Use another backup.")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables >= TABLES:
                raise OperatorError(f"{path} is no database of FLock. Name a file that `flock backup` wrote.")
            videos = connection.execute("SELECT count(*) FROM videos").fetchone()[0]
            votes = connection.execute("SELECT count(*) FROM votes").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise OperatorError(
            f"{path} is damaged, or no database: {error}. Name a file that `flock backup` wrote."
        ) from error
    return {"videos": videos, "votes": votes}


def _check_version(path: Path) -> None:
    """Raise OperatorError for a file that a newer FLock has written: with it, no command would start."""
    from bot.doctor.database import known_revisions
    from migrations.database import NewerDatabaseError

    with _open(path, mode="ro") as connection:
        revisions = {revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")}
    for revision in sorted(revisions - known_revisions()):
        raise OperatorError(str(NewerDatabaseError(revision)))


def _living_processes(path: Path) -> str:
    """Return the processes that still renew a lease on the database, in words; empty without any."""
    query = "SELECT role, count(*) FROM executor_leases WHERE beat_at_ms >= ? GROUP BY role ORDER BY role"
    try:
        with _open(path, mode="ro") as connection:
            rows = connection.execute(query, (int(time.time() * 1000) - LIVE_MS,)).fetchall()
    except sqlite3.DatabaseError:
        return ""  # the database is lost: no process can be working with it
    words = [f"{count} {role}{'s' if count > 1 else ''}" for role, count in rows]
    verb = "is" if sum(count for _, count in rows) == 1 else "are"
    return f"{' and '.join(words)} {verb}" if words else ""


def _is_ahead(target: Path, source: Path) -> str:
    """Return a warning if the database has sent batches that the backup lacks: the ledger would not fit it any more."""
    newest = "SELECT coalesce(max(seq), -1) FROM chain_transactions"
    try:
        with _open(target, mode="ro") as current, _open(source, mode="ro") as saved:
            current_batch, saved_batch = (each.execute(newest).fetchone()[0] for each in (current, saved))
    except sqlite3.DatabaseError:
        return ""  # the database is lost, with or without the backup
    if current_batch <= saved_batch:
        return ""
    return (
        f"The backup is older than batch {current_batch}, which was sent to the chain: with it the relayer would stop, "
        "because the ledger has votes that the database would not have."
    )


def _set_aside(target: Path) -> Path | None:
    """Move the database, with everything that is still in its write-ahead log, aside; return its new path."""
    if not target.exists():
        return None
    with contextlib.suppress(sqlite3.DatabaseError), _open(target) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    kept_at = target.with_name(f"{target.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    target.replace(kept_at)
    for ending in ("-wal", "-shm"):
        target.with_name(target.name + ending).unlink(missing_ok=True)
    return kept_at
