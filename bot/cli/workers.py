"""`flock workers`: who renders, with what, and since when, as text or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from bot.database import unreachable
from bot.doctor.database import is_today, newer_revision
from bot.domain.errors import OperatorError
from bot.settings import Settings
from generation.worker.registry import WorkerSeen, living_workers
from migrations.database import NewerDatabaseError, open_database


async def list_workers(settings: Settings, *, as_json: bool) -> str:
    """The workers that are alive; ends with a newline. Changes nothing in the database. Raises OperatorError."""
    try:
        if (revision := await newer_revision(settings)) is not None:
            raise OperatorError(str(NewerDatabaseError(revision)))
        if not await is_today(settings):
            raise OperatorError("The database is not there yet, or of an older release. Run: flock migrate")
        database = open_database(settings.database_url)
        try:
            seen = await living_workers(database)
        finally:
            await database.dispose()
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error
    if as_json:
        return json.dumps({"workers": [asdict(worker) for worker in seen]}, indent=2) + "\n"
    if not seen:
        model = f"FLOCK_MODEL_CLASS={settings.model_class} and FLOCK_MODEL_ID={settings.model_id}"
        return f"No worker is running. Start one: `flock worker` with {model}.\n"
    return "".join(_worker(worker) for worker in seen)


def _worker(worker: WorkerSeen) -> str:
    memory = "" if worker.gpu_mib is None else f" with {worker.gpu_mib / 1024:.0f} GiB"
    since = datetime.fromtimestamp(worker.since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{worker.executor_id}\n"
        f"  serves    {worker.model_class} with {worker.model_id} at {worker.model_revision}\n"
        f"  device    {worker.device}{memory} on machine {worker.machine}\n"
        f"  memory    {worker.memory_mode}\n"
        f"  since     {since}, seen {max(0, worker.seen_ago_ms) / 1000:.0f} s ago\n"
    )
