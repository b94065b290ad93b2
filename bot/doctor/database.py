"""The database, as it is: whether it answers, is of this version, and what stands in it. It is never upgraded here."""

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
from bot.settings import Settings
from contracts.outbox.entries import voter_id
from generation.jobs import gpu_queue
from generation.queue.reaper import ReaperTimes
from migrations.database import now_ms, parse_url, sync_url
from migrations.schema import executor_leases, outbox, videos, votes

T = TypeVar("T")

OLD_ENTRY_S = 900.0
CONNECT_S = 5


def sqlite_file(settings: Settings) -> Path | None:
    """The database's file, where it is one."""
    url = parse_url(settings.database_url)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


async def look_into(settings: Settings, look: Callable[[Connection], T]) -> T:
    """What `look` finds. The database is not made where there is none. Raises UnreachableError."""

    def read() -> T:
        file = sqlite_file(settings)
        if file is None:
            engine = create_engine(sync_url(settings.database_url), connect_args={"connect_timeout": CONNECT_S})
        else:
            engine = create_engine("sqlite://", creator=lambda: open_quietly(file), poolclass=NullPool)
        try:
            with engine.connect() as connection:
                return look(connection)
        finally:
            engine.dispose()

    try:
        return await in_thread(read)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise unreachable(error) from None


def open_quietly(file: Path) -> sqlite3.Connection:
    """A connection to a SQLite file that must exist, and that nothing is written to. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, timeout=CONNECT_S)
    connection.execute("PRAGMA query_only=ON")
    return connection


async def is_today(settings: Settings) -> bool:
    """Whether the tables are there, and are those that this version knows."""
    file = sqlite_file(settings)
    return not (file is not None and not file.exists()) and await look_into(settings, _revision) == _head()


async def newer_revision(settings: Settings) -> str | None:
    """The revision of a database that a newer FLock has written; None for any other, and where there is none."""
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        return None
    found = await look_into(settings, _revision)
    return None if found is None or found in _known() else found


def _known() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(migrations.__path__[0])))


def _head() -> str | None:
    return _scripts().get_current_head()


async def database(settings: Settings) -> Sequence[Check]:
    """Reachable, whole, private, and of this version."""
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        return [Check(True, "database", f"{file} is made at the first start")]
    kind = "SQLite" if file is not None else "PostgreSQL"
    if file is not None and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return [Check(False, "database", f"others may read {file}", f"Run: chmod 600 {file}")]
    found = await look_into(settings, _revision)
    if file is not None:
        said = await look_into(settings, lambda connection: connection.scalar(text("PRAGMA quick_check(1)")))
        if said != "ok":
            return [Check(False, "database", "the file is damaged", "Stop all processes, and run `flock restore`.")]
    if found is None:
        return [Check(True, "database", f"{kind}, empty; its tables are made at the first start")]
    if found == _head():
        return [Check(True, "database", f"{kind}, of this version ({found})")]
    if found in _known():
        return [Check(False, "database", f"{kind}, of an older version ({found})", "Back it up; run `flock migrate`.")]
    return [Check(False, "database", f"{kind}, of a newer FLock ({found})", "Run that version, or a newer one.")]


async def pepper(settings: Settings) -> Sequence[Check]:
    """Whether voter ids made today are those that were made before: under another pepper all voters are strangers."""
    if not await is_today(settings):
        return []

    def last_vote(connection: Connection) -> tuple[int, int, list[str]] | None:
        # The newest entries are votes, nearly all: found from the end, where all votes by their time would be read.
        entered = select(outbox.c.video_id).where(outbox.c.kind == "vote").order_by(outbox.c.id.desc()).limit(1)
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
        ids = select(outbox.c.voter_id).where(outbox.c.kind == "vote", outbox.c.video_id == row.video_id).distinct()
        return row.guild_id, row.member_id, list(connection.scalars(ids))

    last = await look_into(settings, last_vote)
    if last is None:
        return [Check(True, "pepper", "nobody has voted yet; keep a copy of it from now on")]
    guild, member, known = last
    secret = settings.voter_pepper.get_secret_value() if settings.voter_pepper else ""
    if voter_id(secret.encode(), guild, member) in known:
        return [Check(True, "pepper", "the one under which the latest vote was recorded")]
    remedy = "Put the former FLOCK_VOTER_PEPPER back: with this one, everybody could vote once more."
    return [Check(False, "pepper", "not the one under which votes were recorded", remedy)]


async def backlog(settings: Settings) -> Sequence[Check]:
    """What waits: entries for the ledger, and videos for a worker."""
    if not await is_today(settings):
        return []
    limit = now_ms() - int(ReaperTimes().lease * 1000)

    def waiting(connection: Connection) -> tuple[int, int | None, int, list[tuple[str, list[str]]]]:
        underway = outbox.c.state.in_(("pending", "batched"))
        entries = connection.execute(select(func.count(), func.min(outbox.c.created_at_ms)).where(underway)).one()
        queued = connection.scalar(select(func.count()).where(videos.c.status == "queued"))
        alive = connection.execute(
            select(executor_leases.c.role, executor_leases.c.queues).where(executor_leases.c.beat_at_ms >= limit)
        )
        return entries[0], entries[1], int(queued or 0), [(row.role, list(row.queues)) for row in alive]

    count, oldest, queued, alive = await look_into(settings, waiting)
    age = (now_ms() - oldest) / 1000 if oldest else 0.0
    bots = sum(role == "bot" for role, _ in alive)
    workers = sum(gpu_queue(settings.model_class, settings.model_id) in queues for _, queues in alive)
    running = f"{bots} bot{'s' * (bots != 1)} and {workers} worker{'s' * (workers != 1)} run"
    checks = [Check(True, "processes", running)]
    if queued and not workers:
        model = f"FLOCK_MODEL_CLASS={settings.model_class} and FLOCK_MODEL_ID={settings.model_id}"
        remedy = f"Start one: `flock worker` with {model}, as this bot has them."
        checks = [Check(False, "processes", f"{running}; {queued} videos wait for a worker", remedy)]
    if age > OLD_ENTRY_S:
        remedy = (
            "Look at the ledger's lines here, and for `contracts.relayer.relayer` in the bot's log; nothing is lost."
        )
        checks.append(Check(False, "outbox", f"{count} entries wait, the oldest for {age / 60:.0f} minutes", remedy))
    else:
        checks.append(Check(True, "outbox", f"{count} entries are on their way to the ledger"))
    return checks


LOOKS = (Look("database", database, "Check FLOCK_DATABASE_URL, and that the server runs or the file can be read."),)
BOT_LOOKS = (
    *LOOKS,
    Look("pepper", pepper, "First mend the database.", ("voter_pepper",)),
    Look("processes", backlog, "First mend the database."),
)
