"""What a worker tells of itself, and who is there: each worker's row lives as long as its lease does."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from generation.jobs import gpu_queue
from generation.queue.reaper import ReaperTimes
from migrations.database import database_now_ms, now_ms, upsert_into
from migrations.schema import executor_leases, workers

LEASE_MS = int(ReaperTimes().lease * 1000)

Json = dict[str, Any]


@dataclass(frozen=True)
class WorkerSeen:
    """A living worker, as it told of itself; `gpu_mib` is None where it renders on the CPU."""

    executor_id: str
    machine: str
    model_class: str
    model_id: str
    model_revision: str
    device: str
    gpu_mib: int | None
    memory_mode: str
    since_ms: int  # milliseconds since 1970
    seen_ago_ms: int


def memory_mode(loaded: Json) -> str:
    """How a loaded model keeps within its memory, in words."""
    settings, preset = loaded["settings"], loaded["preset"]
    said = [str(settings["dtype"])] if isinstance(settings["dtype"], str) else ["mixed dtypes"]
    if loaded["device"] != "cpu":
        said.append(f"offload {settings['offload']}")
    said += [str(settings["quantise"])] if settings["quantise"] else []
    said += [name.replace("_", " ") for name in ("vae_tiling", "vae_slicing") if preset[name]]
    return ", ".join(said)


async def announce(database: AsyncEngine, executor_id: str, machine: str, model_class: str, loaded: Json) -> None:
    """Writes or renews what a worker tells of itself. Raises SQLAlchemyError."""
    values = {
        "machine": machine,
        "model_class": model_class,
        "model_id": str(loaded["model_id"]),
        "model_revision": str(loaded["revision"]),
        "device": str(loaded["device"]),
        "gpu_mib": loaded["gpu_mib"],
        "memory_mode": memory_mode(loaded),
    }
    async with database.begin() as connection:
        await connection.execute(
            upsert_into(connection, workers)
            .values(executor_id=executor_id, since_ms=now_ms(), **values)
            .on_conflict_do_update(index_elements=["executor_id"], set_=values)
        )


async def withdraw(database: AsyncEngine, executor_id: str) -> None:
    """Takes a worker's row away; one that stays counts for nothing once its lease has run out."""
    with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
        async with asyncio.timeout(2):
            await _delete(database, executor_id)


async def _delete(database: AsyncEngine, executor_id: str) -> None:
    async with database.begin() as connection:
        await connection.execute(delete(workers).where(workers.c.executor_id == executor_id))


async def living_workers(database: AsyncEngine) -> list[WorkerSeen]:
    """All workers whose lease has not run out, the oldest first."""
    now = database_now_ms(database)
    query = (
        select(workers, (now - executor_leases.c.beat_at_ms).label("seen_ago_ms"))
        .join(executor_leases, executor_leases.c.executor_id == workers.c.executor_id)
        .where(executor_leases.c.beat_at_ms >= now - LEASE_MS)
        .order_by(workers.c.since_ms, workers.c.executor_id)
    )
    async with database.connect() as connection:
        return [WorkerSeen(**row._mapping) for row in await connection.execute(query)]


async def is_served(connection: AsyncConnection, model_class: str, model_id: str) -> bool:
    """Whether a living worker of this class takes jobs for this model; it is loaded then."""
    limit = database_now_ms(connection.engine) - LEASE_MS
    rows = await connection.scalars(select(executor_leases.c.queues).where(executor_leases.c.beat_at_ms >= limit))
    return any(gpu_queue(model_class, model_id) in queues for queues in rows)
