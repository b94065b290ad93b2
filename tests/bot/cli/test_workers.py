"""`flock workers`, as an operator types it: in a process of its own, beside a database in which workers have leases."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.worker.registry import announce
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import executor_leases
from tests.builders.renders import loaded_model

LOADED = replace(
    loaded_model(device="A GPU", preset={"vae_tiling": True}, dtype="bfloat16", offload="group"),
    model_id="wan",
    revision="38ec498fcb32",
    gpu_mib=81920,
)


def flock_workers(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "FLOCK_DATABASE_URL": url,
        "FLOCK_DATA_DIR": str(folder / "data"),
        "FLOCK_MODEL_CLASS": "large",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    command = [sys.executable, "-m", "bot", "workers", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


async def lease(database: AsyncEngine, executor_id: str, ago_ms: int) -> None:
    async with database.begin() as connection:
        await connection.execute(
            insert(executor_leases).values(
                executor_id=executor_id, role="worker", queues=["gpu.large:wan"], beat_at_ms=now_ms() - ago_ms
            )
        )


async def test_the_living_are_shown_and_the_dead_are_not(tmp_path: Path) -> None:
    """With what each renders and how; programs read the same as JSON; with nobody there it says how to start one."""
    url = f"sqlite:///{tmp_path}/flock.db"
    missing = flock_workers(url, tmp_path)
    assert (missing.returncode, "Run: flock migrate" in missing.stderr) == (1, True)
    assert not (tmp_path / "flock.db").exists()
    await upgrade_database(url)
    database = open_database(url)
    try:
        for executor_id in ("worker-dead", "worker-alive"):
            await announce(database, executor_id, "0123456789ab", "large", LOADED)
        await lease(database, "worker-dead", 60_000)
        nobody = flock_workers(url, tmp_path)
        assert (
            nobody.stdout
            == "No worker is running. Start one: `flock worker` with FLOCK_MODEL_CLASS=large and FLOCK_MODEL_ID=tiny.\n"
        )
        await lease(database, "worker-alive", -600_000)  # for longer than this test takes
        said = flock_workers(url, tmp_path)
        assert said.returncode == 0, said.stderr
        assert "worker-alive\n  serves    large with wan at 38ec498fcb32\n" in said.stdout
        assert "  device    A GPU with 80 GiB on machine 0123456789ab\n" in said.stdout
        assert "  memory    bfloat16, offload group, vae tiling\n" in said.stdout
        assert "worker-dead" not in said.stdout
        [seen] = json.loads(flock_workers(url, tmp_path, "--json").stdout)["workers"]
        assert (seen["executor_id"], seen["gpu_mib"], seen["model_class"]) == ("worker-alive", 81920, "large")
    finally:
        await database.dispose()


async def test_what_a_worker_writes_of_itself_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """A worker may write anything into its row: it stays within its line, and every control is seen."""
    url = f"sqlite:///{tmp_path}/flock.db"
    await upgrade_database(url)
    database = open_database(url)
    hostile = "x\x1b[2J\x1b]0;t\x07\nworker-forged\u202e"
    try:
        await announce(database, "worker-bad", "0123456789ab", "large", replace(LOADED, device=hostile))
        await lease(database, "worker-bad", -600_000)
        said = flock_workers(url, tmp_path)
    finally:
        await database.dispose()
    assert "x\\x1b[2J\\x1b]0;t\\x07\\nworker-forged\\u202e with 80 GiB" in said.stdout
    assert not [c for c in said.stdout if not c.isprintable() and c != "\n"]
    assert len(said.stdout.splitlines()) == 5
