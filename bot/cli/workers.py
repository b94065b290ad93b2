"""`flock workers`: the workers that are running, as text or as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.cli.process import Commands, write
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings
from generation.printable import one_line

if TYPE_CHECKING:
    from generation.worker.registry import WorkerSeen


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser("workers", help="the workers that run now: model, revision, device, memory mode")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the workers."""
    write(asyncio.run(list_workers(load_settings("migrate"), as_json=arguments.json)))
    return 0


async def list_workers(settings: Settings, *, as_json: bool) -> str:
    """Return the living workers; ends with a newline. Changes nothing in the database. Raises OperatorError."""
    from sqlalchemy.exc import SQLAlchemyError

    from bot.database import unreachable
    from bot.doctor.database import is_up_to_date, newer_revision
    from generation.worker.registry import living_workers
    from migrations.database import NewerDatabaseError, open_database

    try:
        if (revision := await newer_revision(settings)) is not None:
            raise OperatorError(str(NewerDatabaseError(revision)))
        if not await is_up_to_date(settings):
            raise OperatorError("The database does not exist yet, or is of an older release. Run: flock migrate")
        database = open_database(settings.database_url)
        try:
            workers = await living_workers(database)
        finally:
            await database.dispose()
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error
    if as_json:
        return json.dumps({"workers": [asdict(worker) for worker in workers]}, indent=2) + "\n"
    if not workers:
        model = f"FLOCK_MODEL_CLASS={settings.model_class} and FLOCK_MODEL_ID={settings.model_id}"
        return f"No worker is running. Start one: `flock worker` with {model}.\n"
    return "".join(_worker(worker) for worker in workers)


def _worker(worker: WorkerSeen) -> str:
    memory = "" if worker.gpu_mib is None else f" with {worker.gpu_mib / 1024:.0f} GiB"
    texts = {name: one_line(value) for name, value in asdict(worker).items()}  # a worker wrote them
    since = datetime.fromtimestamp(worker.since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{texts['executor_id']}\n"
        f"  serves    {texts['model_class']} with {texts['model_id']} at {texts['model_revision']}\n"
        f"  device    {texts['device']}{memory} on machine {texts['machine']}\n"
        f"  memory    {texts['memory_mode']}\n"
        f"  since     {since}, seen {max(0, worker.seen_ago_ms) / 1000:.0f} s ago\n"
    )
