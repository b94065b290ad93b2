"""The health of a process: how long a part may be away, and what is wrong meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bot.monitoring.health import Health, Watch, database_watch
from migrations.database import open_database, upgrade_database


async def test_what_is_away_for_long_is_unhealthy() -> None:
    """Patience is counted from the first miss, and begins anew after each good look."""
    answers = iter(["away", None, "away", "away"])

    async def probe() -> str | None:
        return next(answers)

    health = Health({"it": Watch(probe, patience=0.2)})
    assert await health.look() == (True, False, {"it": "away"})
    assert await health.look() == (True, True, {})
    assert await health.look() == (True, False, {"it": "away"})
    await asyncio.sleep(0.3)
    assert await health.look() == (False, False, {"it": "away"})


async def test_one_part_that_fails_hides_none_of_the_others() -> None:
    """Each is named with its own problem; a part that is well is not."""

    async def well() -> str | None:
        return None

    async def ill() -> str | None:
        return "it is ill"

    health = Health({"well": Watch(well, 9), "ill": Watch(ill, 9), "worse": Watch(ill, 0)})
    report = await health.look()
    assert report == (False, False, {"ill": "it is ill", "worse": "it is ill"})


async def test_a_database_that_only_reads_is_a_problem(tmp_path: Path) -> None:
    """The watch tries a write, and leaves nothing behind; where that fails, its answer names the error alone."""
    file = tmp_path / "flock.db"
    await upgrade_database(f"sqlite:///{file}")
    database = open_database(f"sqlite:///{file}")
    watch = database_watch(database)
    assert await watch.look() == (None, False)
    await database.dispose()
    file.unlink()
    file.mkdir()
    assert await watch.look() == ("it takes no writes (OperationalError)", False)
    await database.dispose()
