"""The workers that run now, as each describes itself: a worker's row counts for as long as its lease is renewed."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from generation.jobs import gpu_queue
from generation.queue.reaper import ReaperTimes
from generation.render_messages import LoadedModel
from migrations.database import database_now_ms, now_ms, upsert_into
from migrations.schema import executor_leases, workers

LEASE_MS = int(ReaperTimes().lease * 1000)


@dataclass(frozen=True)
class WorkerSeen:
    """A running worker, as it describes itself; `gpu_mib` is None where it renders on the CPU."""

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


def memory_mode(model: LoadedModel) -> str:
    """Describe in words how a loaded model keeps within its memory."""
    settings, preset = model.settings, model.preset
    words = [settings.dtype if isinstance(settings.dtype, str) else "mixed dtypes"]
    if model.device != "cpu":
        words.append(f"offload {settings.offload}")
    words += [settings.quantise] if settings.quantise else []
    words += ["vae tiling"] if preset.vae_tiling else []
    words += ["vae slicing"] if preset.vae_slicing else []
    return ", ".join(words)


async def announce(database: AsyncEngine, executor_id: str, machine: str, model_class: str, model: LoadedModel) -> None:
    """Write or renew the row in which a worker describes itself. Raises SQLAlchemyError."""
    values = {
        "machine": machine,
        "model_class": model_class,
        "model_id": model.model_id,
        "model_revision": model.revision,
        "device": model.device,
        "gpu_mib": model.gpu_mib,
        "memory_mode": memory_mode(model),
    }
    async with database.begin() as connection:
        await connection.execute(
            upsert_into(connection, workers)
            .values(executor_id=executor_id, since_ms=now_ms(), **values)
            .on_conflict_do_update(index_elements=["executor_id"], set_=values)
        )


async def withdraw(database: AsyncEngine, executor_id: str) -> None:
    """Delete a worker's row; one that stays counts for nothing once its lease has run out."""
    with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
        async with asyncio.timeout(2):
            await _delete(database, executor_id)


async def _delete(database: AsyncEngine, executor_id: str) -> None:
    async with database.begin() as connection:
        await connection.execute(delete(workers).where(workers.c.executor_id == executor_id))


async def living_workers(database: AsyncEngine) -> list[WorkerSeen]:
    """Return all workers whose lease has not run out, the oldest first."""
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
    """Return True when a running worker of this class takes jobs for this model; the model is loaded then."""
    return await count_serving(connection, model_class, model_id) > 0


async def count_serving(connection: AsyncConnection, model_class: str, model_id: str) -> int:
    """Return the number of running workers of this class that take jobs for this model."""
    limit = database_now_ms(connection.engine) - LEASE_MS
    rows = await connection.scalars(select(executor_leases.c.queues).where(executor_leases.c.beat_at_ms >= limit))
    return sum(gpu_queue(model_class, model_id) in queues for queues in rows)
