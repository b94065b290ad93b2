"""The workers that run, as each describes itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.jobs import release_queue
from generation.worker.registry import announce, count_serving, is_served, living_workers, memory_mode, withdraw
from migrations.database import now_ms
from migrations.schema import executor_leases
from tests.builders.releases import a_release
from tests.builders.renders import loaded_model

MODEL = replace(loaded_model(device="A GPU", dtype="bfloat16", offload="group"), model_id="wan", gpu_mib=8)


async def lease(database: AsyncEngine, executor_id: str, ago_ms: int, *more_queues: str) -> None:
    queues = ["gpu.large:wan", *more_queues]
    row = {"executor_id": executor_id, "role": "worker", "queues": queues, "beat_at_ms": now_ms() - ago_ms}
    async with database.begin() as connection:
        await connection.execute(insert(executor_leases).values(**row))


def test_the_memory_mode_says_what_is_in_force() -> None:
    """On a CPU nothing is offloaded, whatever is set."""
    assert memory_mode(MODEL) == "bfloat16, offload group"
    assert memory_mode(loaded_model(offload="group", quantise="quanto-int8")) == "float32, quanto-int8"
    mixed = loaded_model(dtype={"vae": "float32"}, preset={"vae_tiling": True, "vae_slicing": True})
    assert memory_mode(mixed) == "mixed dtypes, vae tiling, vae slicing"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_worker_counts_for_as_long_as_its_lease(database: AsyncEngine) -> None:
    """Announced again it is the same row; without a lease, or withdrawn, it is not there."""
    for executor_id, ago_ms in (("dead", 60_000), ("alive", 0)):
        await announce(database, executor_id, "0123456789ab", "large", MODEL)
        await lease(database, executor_id, ago_ms)
    await announce(database, "alive", "0123456789ab", "large", replace(MODEL, revision="r2"))
    [worker] = await living_workers(database)
    assert (worker.executor_id, worker.model_revision, worker.gpu_mib) == ("alive", "r2", 8)
    async with database.connect() as connection:
        assert await is_served(connection, "large", "wan")
        assert not await is_served(connection, "large", "tiny")
    await withdraw(database, "alive")
    assert await living_workers(database) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_while_a_release_is_live_only_workers_that_know_releases_count(database: AsyncEngine) -> None:
    """One of before there were releases takes no job with one, so members do not read that it is their turn."""
    await lease(database, "old", 0)
    await lease(database, "new", 0, release_queue("large", "wan"))
    async with database.connect() as connection:
        assert await count_serving(connection, "large", "wan") == 2
    await a_release(database, model_id="wan")
    async with database.connect() as connection:
        assert await count_serving(connection, "large", "wan") == 1
