"""The taste that workers choose by: the live release's, else the newest; never for a battle round."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import Contender, PairPlan
from bot.domain.releases import Release
from bot.files.tastes import Tastes
from bot.store.learning import releases
from bot.workflows.battles.jobs import JobsOfReleases
from generation.adapters.transfer import fetch_file
from generation.jobs import BestOf
from migrations.schema import adapters
from migrations.states.learning import CandidateState
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.releases import a_candidate, a_release
from tests.builders.tastes import leave_taste

FIRST, SECOND, THIRD = "a1" * 32, "b2" * 32, "c3" * 32


async def live(database: AsyncEngine) -> Release | None:
    async with database.connect() as connection:
        return await releases.live_or_none(connection, "tiny")


async def test_nothing_is_chosen_unless_it_is_asked_for(
    database: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Though there is a taste; where one is asked for and none is there, the log says it once."""
    caplog.set_level(logging.WARNING)
    asked = Tastes(database=database, data_dir=tmp_path, best_of=4)
    await a_candidate(database, CandidateState.READY, adapter_sha256=FIRST)
    assert [await asked.choice_for("tiny", None) for _ in range(2)] == [None, None]
    assert [record.getMessage() for record in caplog.records] == [
        "No training has left a taste scorer yet: videos are rendered once, though FLOCK_BEST_OF is 4."
    ]
    sha256 = leave_taste(tmp_path, FIRST)
    assert await Tastes(database=database, data_dir=tmp_path, best_of=1).choice_for("tiny", None) is None
    async with database.connect() as connection:
        assert not (await connection.scalars(select(adapters.c.sha256))).all()
    assert await asked.choice_for("tiny", None) == BestOf(4, sha256)
    assert await asked.choice_for("wan", None) is None


async def test_the_taste_of_the_live_release_is_offered(database: AsyncEngine, tmp_path: Path) -> None:
    """Before newer ones; without it, or once it is taken back, the newest of a candidate that passed its checks."""
    tastes = Tastes(database=database, data_dir=tmp_path, best_of=2)
    release = await a_release(database, adapter_sha256=FIRST)
    await a_candidate(database, CandidateState.READY, adapter_sha256=SECOND)
    for number, state in enumerate((CandidateState.CHECKING, CandidateState.REJECTED, CandidateState.WITHDRAWN)):
        odd = f"{number:064x}"
        await a_candidate(database, state, adapter_sha256=odd)
        leave_taste(tmp_path, odd, liking=10.0 + number)
    newest = leave_taste(tmp_path, SECOND, liking=2.0)
    assert await tastes.choice_for("tiny", await live(database)) == BestOf(2, newest)
    own = leave_taste(tmp_path, FIRST)
    choice = await tastes.choice_for("tiny", await live(database))
    assert choice == BestOf(2, own)
    there = tmp_path / "worker" / "t.safetensors"
    await fetch_file(database, there, own)
    assert hashlib.sha256(there.read_bytes()).hexdigest() == own

    async with database.begin() as connection:
        await releases.roll_back(connection, "tiny", number=release.number, by=1)
    await a_candidate(database, CandidateState.LOST, adapter_sha256=THIRD)  # newer, and without a taste
    assert await tastes.choice_for("tiny", await live(database)) == BestOf(2, newest)


async def test_a_battle_compares_models_at_one_seed(database: AsyncEngine, tmp_path: Path) -> None:
    """Its jobs ask for no choice, with the same live release and its taste."""
    _, adapter = write_adapter(tmp_path, adapter_bytes())
    await a_release(database, adapter_sha256=adapter)
    leave_taste(tmp_path, adapter)
    assert await Tastes(database=database, data_dir=tmp_path, best_of=4).choice_for("tiny", await live(database))
    queued = await JobsOfReleases(database, tmp_path, "tiny")(
        Contender("tiny", adapter), "42", PairPlan(1, "a red circle", 7), None
    )
    assert (queued.job.best_of, queued.job.seed) == (None, 7)
    assert "best_of" not in queued.job.to_json()
