"""The checks of the database: its answer, its version and its contents. It is read as it is, and never upgraded."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

import migrations
from bot.database import unreachable
from bot.doctor.check import Check, Look, in_thread
from bot.settings import Settings, reveal
from contracts.outbox.entries import voter_id
from generation.jobs import gpu_queue
from generation.queue.reaper import ReaperTimes
from migrations.database import now_ms, parse_url, sync_url
from migrations.schema import executor_leases, outbox, videos, votes
from migrations.states.community import VideoStatus
from migrations.states.ledger import OutboxKind, OutboxState

T = TypeVar("T")

TWO_BOTS_REMEDY = (
    "Stop all bots but one: on one database there may be one, or each would answer members and post. The names say on "
    "which machines they run. A bot that was killed counts until its lease ends: look again after 15 s."
)
OLD_ENTRY_S = 900.0
CONNECT_S = 5


def sqlite_file(settings: Settings) -> Path | None:
    """Return the file of a SQLite database; None for a server's."""
    url = parse_url(settings.database_url)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


async def read_database(settings: Settings, read: Callable[[Connection], T]) -> T:
    """Return what `read` returns of the database, which is not made if there is none. Raises UnreachableError."""

    def connect_and_read() -> T:
        file = sqlite_file(settings)
        if file is None:
            engine = create_engine(sync_url(settings.database_url), connect_args={"connect_timeout": CONNECT_S})
        else:
            engine = create_engine("sqlite://", creator=lambda: open_read_only(file), poolclass=NullPool)
        try:
            with engine.connect() as connection:
                return read(connection)
        finally:
            engine.dispose()

    try:
        return await in_thread(connect_and_read)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise unreachable(error) from None


def open_read_only(file: Path) -> sqlite3.Connection:
    """Connect to a SQLite file that must exist, without the right to write to it. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, timeout=CONNECT_S)
    connection.execute("PRAGMA query_only=ON")
    return connection


async def is_up_to_date(settings: Settings) -> bool:
    """Return True if the tables exist and are those of this version."""
    file = sqlite_file(settings)
    return not (file is not None and not file.exists()) and await read_database(settings, _revision) == _head()


async def newer_revision(settings: Settings) -> str | None:
    """Return the revision of a database that a newer FLock has written; None for any other, and for no database."""
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        return None
    revision = await read_database(settings, _revision)
    return None if revision is None or revision in known_revisions() else revision


def known_revisions() -> set[str]:
    """Return the revisions of the database that this FLock can read or upgrade."""
    return {script.revision for script in _scripts().walk_revisions()}


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(migrations.__path__[0])))


def _head() -> str | None:
    return _scripts().get_current_head()


async def database(settings: Settings) -> Sequence[Check]:
    """Check that it can be reached, is whole and private, and has this version's tables."""
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        return [Check(True, "database", f"{file} does not exist yet; it is made at the first start")]
    kind = "SQLite" if file is not None else "PostgreSQL"
    if file is not None and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return [Check(False, "database", f"other users can read {file}", f"Run: chmod 600 {file}")]
    revision = await read_database(settings, _revision)
    if file is not None:
        answer = await read_database(settings, lambda connection: connection.scalar(text("PRAGMA quick_check(1)")))
        if answer != "ok":
            return [Check(False, "database", "the file is damaged", "Stop all processes, then run `flock restore`.")]
    if revision is None:
        return [Check(True, "database", f"{kind}, empty; its tables are made at the first start")]
    if revision == _head():
        return [Check(True, "database", f"{kind}, of this version ({revision})")]
    if revision in known_revisions():
        remedy = "Back it up, then run `flock migrate`."
        return [Check(False, "database", f"{kind}, of an older version ({revision})", remedy)]
    return [Check(False, "database", f"{kind}, of a newer FLock ({revision})", "Run that version, or a newer one.")]


async def pepper(settings: Settings) -> Sequence[Check]:
    """Check that voter ids made now are those that were made before: under another pepper all voters are strangers."""
    if not await is_up_to_date(settings):
        return []

    def last_vote(connection: Connection) -> tuple[int, int, list[str]] | None:
        # Nearly all new entries are votes, so that one is near the end; by their time, all votes would have to be read.
        entered = (
            select(outbox.c.video_id).where(outbox.c.kind == OutboxKind.VOTE).order_by(outbox.c.id.desc()).limit(1)
        )
        query = (
            select(videos.c.guild_id, votes.c.member_id, votes.c.video_id)
            .join(videos, videos.c.id == votes.c.video_id)
            .where(votes.c.video_id == entered.scalar_subquery(), votes.c.source != "wallet")
            .order_by(votes.c.cast_at_ms.desc())
            .limit(1)
        )
        row = connection.execute(query).first()
        if row is None:
            return None
        ids = (
            select(outbox.c.voter_id)
            .where(outbox.c.kind == OutboxKind.VOTE, outbox.c.video_id == row.video_id)
            .distinct()
        )
        return row.guild_id, row.member_id, list(connection.scalars(ids))

    last = await read_database(settings, last_vote)
    if last is None:
        return [Check(True, "pepper", "nobody has voted yet; keep a copy of the pepper from now on")]
    guild, member, voter_ids = last
    if voter_id(reveal(settings.voter_pepper).encode(), guild, member) in voter_ids:
        return [Check(True, "pepper", "the one with which the latest vote was recorded")]
    remedy = "Restore the former FLOCK_VOTER_PEPPER: with this one, everybody could vote a second time."
    return [Check(False, "pepper", "not the one with which votes were recorded", remedy)]


async def backlog(settings: Settings) -> Sequence[Check]:
    """Check that processes run, and that neither entries for the ledger nor videos wait for too long."""
    if not await is_up_to_date(settings):
        return []
    limit = now_ms() - int(ReaperTimes().lease * 1000)

    def waiting(connection: Connection) -> tuple[int, int | None, int, list[tuple[str, str, list[str]]]]:
        underway = outbox.c.state.in_((OutboxState.PENDING, OutboxState.BATCHED))
        entries = connection.execute(select(func.count(), func.min(outbox.c.created_at_ms)).where(underway)).one()
        queued = connection.scalar(select(func.count()).where(videos.c.status == VideoStatus.QUEUED))
        alive = connection.execute(
            select(executor_leases.c.role, executor_leases.c.executor_id, executor_leases.c.queues).where(
                executor_leases.c.beat_at_ms >= limit
            )
        )
        processes = [(row.role, row.executor_id, list(row.queues)) for row in alive]
        return entries[0], entries[1], int(queued or 0), processes

    count, oldest, queued, alive = await read_database(settings, waiting)
    age = (now_ms() - oldest) / 1000 if oldest else 0.0
    bots = [executor_id for role, executor_id, _ in alive if role == "bot"]
    workers = sum(gpu_queue(settings.model_class, settings.model_id) in queues for _, _, queues in alive)
    running = f"{len(bots)} bot{'s' * (len(bots) != 1)} and {workers} worker{'s' * (workers != 1)} are running"
    checks = [Check(True, "processes", running)]
    if len(bots) > 1:
        checks = [Check(False, "processes", f"{running}: {', '.join(sorted(bots))}", TWO_BOTS_REMEDY)]
    if queued and not workers:
        model = f"FLOCK_MODEL_CLASS={settings.model_class} and FLOCK_MODEL_ID={settings.model_id}"
        remedy = f"Start a worker with this bot's model: `flock worker` with {model}."
        waiting_detail = f"{running}; {queued} videos are waiting for a worker"
        checks = [*(check for check in checks if not check.ok), Check(False, "processes", waiting_detail, remedy)]
    if age > OLD_ENTRY_S:
        remedy = (
            "See what is said of the ledger here, and by `contracts.relayer.relayer` in the bot's log; nothing is lost."
        )
        detail = f"{count} entries are waiting, the oldest for {age / 60:.0f} minutes"
        checks.append(Check(False, "outbox", detail, remedy))
    else:
        checks.append(Check(True, "outbox", f"{count} entries are on their way to the ledger"))
    return checks


LOOKS = (
    Look("database", database, "Check FLOCK_DATABASE_URL, and that the server is running or the file can be read."),
)
BOT_LOOKS = (
    *LOOKS,
    Look("pepper", pepper, "Mend the database first.", ("voter_pepper",), rests_on=("database",)),
    Look("processes", backlog, "Mend the database first.", rests_on=("database",)),
)
