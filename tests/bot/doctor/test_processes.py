"""The checks of the processes that share a database: how many live, what they serve, and what waits for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert

from generation.jobs import gpu_queue, release_queue, training_queue
from migrations.database import now_ms, open_database, sync_url, upgrade_database
from migrations.schema import executor_leases, rounds, videos
from migrations.states.learning import CandidateState
from tests.builders.doctor import checks_of
from tests.builders.releases import a_candidate, a_release

OLD = [gpu_queue("tiny", "tiny")]
TODAY = [*OLD, release_queue("tiny", "tiny")]
TRAINS = [training_queue("tiny", "tiny")]


@dataclass
class House:
    """A database, and the processes that have written their leases there."""

    url: str

    def beat(self, executor_id: str, role: str, queues: list[str] | None = None, *, ago_s: float = -60) -> None:
        """A process that last renewed its lease so long ago; in the future it lives for as long as the test."""
        row = {"executor_id": executor_id, "role": role, "queues": queues or []}
        self.write(insert(executor_leases).values(**row, beat_at_ms=now_ms() - int(ago_s * 1000)))

    def write(self, statement: object) -> None:
        engine = create_engine(sync_url(self.url))
        try:
            with engine.begin() as connection:
                connection.execute(statement)  # type: ignore[call-overload]  # an insert
        finally:
            engine.dispose()

    def queue_a_video(self) -> None:
        round_ = {"id": 900, "guild_id": 1, "number": 1, "task": "t", "opened_by": 1, "channel_id": 1, "status": "open"}
        self.write(insert(rounds).values(**round_, opens_at_ms=0, closes_at_ms=1, chain_key="00" * 32))
        video = {"id": "1", "guild_id": 1, "round_id": 900, "member_id": 1, "member_name": "m", "prompt": "p"}
        video |= {"status": "queued", "created_at_ms": 1, "cancel_requested": False, "seed": 1, "model_id": "tiny"}
        self.write(insert(videos).values(**video, chain_key="11" * 32))


async def _house(folder: Path) -> House:
    url = f"sqlite:///{folder}/flock.db"
    await upgrade_database(url)
    return House(url)


async def test_two_bots_on_one_database_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the names of both, with what to do; one bot, or one that died a minute ago, is well."""
    house = await _house(tmp_path)
    house.beat("bot-attic-0a1b2c3d", "bot")
    house.beat("bot-shed-0a1b2c3d", "bot", ago_s=60)
    house.beat("worker-shed-0a1b2c3d", "worker")
    assert (await checks_of(monkeypatch, {}, FLOCK_DATABASE_URL=house.url))["processes"].ok
    house.beat("bot-cellar-0a1b2c3d", "bot")
    check = (await checks_of(monkeypatch, {}))["processes"]
    assert not check.ok
    assert "2 bots" in check.detail
    assert "bot-attic-0a1b2c3d, bot-cellar-0a1b2c3d" in check.detail
    assert check.remedy.startswith("Stop all bots but one")


async def test_with_a_live_release_those_workers_count_that_render_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An older one renders the base model alone: it counts until a release is live, and then is named with the cure."""
    house = await _house(tmp_path)
    house.queue_a_video()
    house.beat("worker-old-0a1b2c3d", "worker", OLD)
    before = (await checks_of(monkeypatch, {}, FLOCK_DATABASE_URL=house.url))["processes"]
    assert before.ok
    assert before.detail == "0 bots and 1 worker are running"
    database = open_database(house.url)
    await a_release(database)
    await database.dispose()
    after = (await checks_of(monkeypatch, {}))["processes"]
    assert not after.ok
    assert after.detail.startswith("0 bots and 0 workers are running, and 1 worker of an older FLock, without releases")
    assert after.detail.endswith("1 video in the queue, and no worker for it")
    assert after.remedy == "Update the workers: release 1 is live, and they cannot render with it."
    house.beat("worker-new-0a1b2c3d", "worker", TODAY)
    both = (await checks_of(monkeypatch, {}))["processes"]
    assert both.ok
    assert both.detail == "0 bots and 1 worker are running, and 1 worker of an older FLock, without releases"


async def test_a_missing_training_worker_is_named_where_votes_train(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the command that starts one. Nothing is said where nobody trains, and one that runs is well."""
    house = await _house(tmp_path)
    house.beat("bot-attic-0a1b2c3d", "bot")
    house.beat("worker-shed-0a1b2c3d", "worker", TODAY)
    assert "training" not in await checks_of(monkeypatch, {}, FLOCK_DATABASE_URL=house.url)
    missing = (await checks_of(monkeypatch, {}, FLOCK_TRAIN_AFTER_VOTES="300"))["training"]
    assert not missing.ok
    assert missing.detail == "0 training workers running; 300 new votes begin a training"
    assert missing.remedy.startswith("Start one: `flock worker --train` with FLOCK_MODEL_CLASS=tiny")
    house.beat("worker-barn-0a1b2c3d", "worker", TRAINS)
    there = await checks_of(monkeypatch, {})
    assert there["training"].ok
    assert there["training"].detail.startswith("1 training worker running")
    assert there["processes"].detail == "1 bot and 1 worker are running"  # it renders nothing for members


async def test_a_candidate_that_waits_for_a_training_worker_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where a moderator began the training; one that is trained waits for nobody."""
    house = await _house(tmp_path)
    database = open_database(house.url)
    await a_candidate(database, CandidateState.READY)
    assert "training" not in await checks_of(monkeypatch, {}, FLOCK_DATABASE_URL=house.url)
    await a_candidate(database, CandidateState.TRAINING)
    await database.dispose()
    waits = (await checks_of(monkeypatch, {}))["training"]
    assert not waits.ok
    assert waits.detail == "0 training workers running; 1 candidate to be trained"
