"""A disk does not grow with battles and trainings that are over, and keeps whatever somebody may still need."""

from __future__ import annotations

import os
import time
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import Battle
from bot.files.blind import keep_shown, shown_path
from bot.files.cleaning import KEPT_S, CleanUp
from bot.store.battles import rounds as battles
from contracts.outbox.commitments import enqueue_dataset
from migrations.database import now_ms
from migrations.schema import battle_rounds, battle_videos, outbox, rounds
from migrations.states.learning import CandidateState
from tests.builders.battle_rounds import an_open_battle
from tests.builders.releases import a_candidate, a_release


def root(number: int) -> str:
    return f"{number:064x}"


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def make_old(path: Path) -> None:
    long_ago = time.time() - 2 * KEPT_S
    for each in (*path.rglob("*"), path):
        os.utime(each, (long_ago, long_ago))


async def fight(database: AsyncEngine, data_dir: Path) -> Battle:
    """A battle round with the files of its videos: rendered on this machine, and blind."""
    battle = await an_open_battle(database)
    (data_dir / "videos").mkdir(parents=True, exist_ok=True)
    for pair in await battles.pairs_of(database, battle.round.id):
        for video in await battles.videos_of(database, pair.id):
            keep_shown(video.id, b"shown" * 100, data_dir)
            path = data_dir / "videos" / f"{video.id}.mp4"
            for each in (path, path.with_suffix(".jpg"), data_dir / "videos" / f"{video.id}.latents.safetensors"):
                each.write_bytes(b"rendered" * 100)
            changed = update(battle_videos).where(battle_videos.c.id == video.id)
            async with database.begin() as connection:
                await connection.execute(changed.values(video_path=str(path)))
    return battle


async def end(database: AsyncEngine, battle: Battle, *, seconds_ago: float, handed_on: bool = True) -> None:
    """Let a round have closed so long ago."""
    closed = now_ms() - int(1000 * seconds_ago)
    async with database.begin() as connection:
        here = battle.round.id
        await connection.execute(update(rounds).where(rounds.c.id == here).values(status="closed", closes_at_ms=closed))
        await connection.execute(
            update(battle_rounds).where(battle_rounds.c.round_id == here).values(handed_on=handed_on)
        )


async def test_the_disk_does_not_grow_with_battles_that_are_over(database: AsyncEngine, tmp_path: Path) -> None:
    """After each of several rounds as much lies there as after the first."""
    data_dir = tmp_path / "data"
    cleanup, sizes = CleanUp(database=database, data_dir=data_dir), []
    for _ in range(3):
        battle = await fight(database, data_dir)
        assert size_of(data_dir) > 10_000
        await end(database, battle, seconds_ago=2 * KEPT_S)
        await cleanup.tick()
        sizes.append(size_of(data_dir))
    assert sizes == [0, 0, 0]


async def test_files_of_a_battle_stay_until_it_is_revealed(database: AsyncEngine, tmp_path: Path) -> None:
    """While it is open, while its verdict was not handed on, and for a day after."""
    data_dir = tmp_path / "data"
    cleanup = CleanUp(database=database, data_dir=data_dir)
    battle = await fight(database, data_dir)
    before = size_of(data_dir)
    await cleanup.tick()
    await end(database, battle, seconds_ago=2 * KEPT_S, handed_on=False)
    await cleanup.tick()
    await end(database, battle, seconds_ago=KEPT_S / 2)
    await cleanup.tick()
    assert size_of(data_dir) == before
    stranger = shown_path("77", data_dir)  # of a round that this database does not know
    stranger.write_bytes(b"x")
    await end(database, battle, seconds_ago=2 * KEPT_S)
    await cleanup.tick()
    assert [path.name for path in data_dir.rglob("*") if path.is_file()] == ["77.mp4"]


async def test_data_sets_of_past_trainings_go_and_those_of_releases_stay(database: AsyncEngine, tmp_path: Path) -> None:
    """Kept for the audit and retraining, for a battle that may come, as the newest one, or as not settled yet."""
    for number in range(1, 8):
        for kind in ("datasets", "lessons"):
            folder = tmp_path / kind / root(number)
            (folder / "videos").mkdir(parents=True)
            (folder / "videos" / "train.parquet").write_bytes(b"rows")
            make_old(folder)
    (tmp_path / "datasets" / "draft-1").mkdir()
    make_old(tmp_path / "datasets" / "draft-1")
    (tmp_path / "datasets" / "mine").mkdir()
    make_old(tmp_path / "datasets" / "mine")
    (tmp_path / "datasets" / root(8)).mkdir()  # just written: its candidate is entered next
    await a_release(database, data_root=root(1))
    await a_candidate(database, CandidateState.REJECTED, data_root=root(2))
    await a_candidate(database, CandidateState.READY, data_root=root(3))
    await a_candidate(database, CandidateState.LOST, data_root=root(4))
    await a_candidate(database, CandidateState.TRAINING, data_root=root(5))
    await a_candidate(database, CandidateState.LOST, data_root=root(6))
    await a_candidate(database, CandidateState.REJECTED, data_root=root(7))  # the newest
    async with database.begin() as connection:
        await enqueue_dataset(connection, root=root(4), description=b"4")
        await enqueue_dataset(connection, root=root(6), description=b"6")
        await connection.execute(update(outbox).where(outbox.c.id == 1).values(state="final"))
    await CleanUp(database=database, data_dir=tmp_path).tick()
    sets = sorted(path.name for path in (tmp_path / "datasets").iterdir())
    assert sets == [root(1), root(3), root(5), root(6), root(7), root(8), "mine"]
    assert sorted(path.name for path in (tmp_path / "lessons").iterdir()) == [root(5), root(7)]


async def test_adapters_of_candidates_that_came_to_nothing_go(database: AsyncEngine, tmp_path: Path) -> None:
    """Not one that is, or may become, a release; and none that no candidate here knows of."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"{root(number)}.safetensors").write_bytes(b"weights")
    make_old(folder)
    (folder / f"{root(5)}.safetensors").touch()  # it has just arrived
    await a_candidate(database, CandidateState.LOST, adapter_sha256=root(1))
    await a_candidate(database, CandidateState.WON, adapter_sha256=root(2))
    await a_candidate(database, CandidateState.LOST, adapter_sha256=root(2))
    await a_candidate(database, CandidateState.READY, adapter_sha256=root(3))
    await a_candidate(database, CandidateState.LOST, adapter_sha256=root(5))
    await CleanUp(database=database, data_dir=tmp_path).tick()
    assert sorted(path.stem for path in folder.iterdir()) == [root(number) for number in (2, 3, 4, 5)]
