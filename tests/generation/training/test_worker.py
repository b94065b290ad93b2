"""The training worker: real trainings of a tiny random pipeline, killed in between, and what it cannot train."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.adapters.file import AdapterError
from generation.adapters.taste import check_taste, trained_taste_path
from generation.adapters.transfer import expect, fetch, fetch_file, offer_file
from generation.feedback.scoring.taste import load_taste
from generation.feedback.tuning.examples import Example, write_examples
from generation.feedback.tuning.recipe import Recipe
from generation.jobs import CandidateJob, TrainingJob, TrainingResult
from generation.models.registry import full_revision
from generation.training.worker import TrainingConfig, TrainingWorker, folder_name, phase_of
from generation.worker.files import sha256_of
from migrations.database import open_database, upgrade_database
from migrations.schema import render_progress
from tests.generation.families.built import build

LOOKS = "width = 32\nheight = 32\nframes = 9\nsteps = 3\n"
RECIPE = asdict(Recipe(steps=24, batch=4, warm_up=2, rank=2, save_every=4))
PROMPTS = ("a red circle", "a cat")
EXAMPLES = [Example(f"v{k}", PROMPTS[k % 2], k, up=2.0 * (k % 3 == 0), down=1.0 * (k % 3 != 0)) for k in range(6)]


@pytest.fixture(scope="module")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    path = folder / "models.toml"
    path.write_text(f'[models.wan]\nsource = "{build("Wan", folder)}"\n{LOOKS}')
    return path


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[AsyncEngine]:
    await upgrade_database(sqlite_url)
    engine = open_database(sqlite_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def worker(
    database: AsyncEngine, sqlite_url: str, tmp_path: Path, models_file: Path
) -> AsyncIterator[TrainingWorker]:
    """A worker that serves no queue: its jobs are called by the test."""
    worker = TrainingWorker(TrainingConfig(sqlite_url, tmp_path / "data", "test", "wan", models_file), database)
    yield worker
    await worker.close()


async def a_job(
    worker: TrainingWorker, folder: Path, examples: list[Example] = EXAMPLES, **changes: Any
) -> TrainingJob:
    """A job whose list waits in the database, as the bot leaves it there."""
    write_examples(folder, examples)
    path = folder / "examples.jsonl"
    sha256 = sha256_of(path) or ""
    await offer_file(worker.database, path, sha256)
    job = TrainingJob(
        candidate_id=1,
        model_id="wan",
        base_revision=full_revision(worker.model),
        data_root="da" * 32,
        examples_sha256=sha256,
        examples_bytes=path.stat().st_size,
        recipe=RECIPE,
        guard_videos=2,
    )
    return replace(job, **changes)


@pytest.mark.usefixtures("in_a_long_run")
async def test_a_killed_training_goes_on_and_its_file_reaches_the_bot(
    worker: TrainingWorker, tmp_path: Path, database: AsyncEngine
) -> None:
    """SIGKILL in the middle; the same bytes as another training of the same votes; asked again, it is not trained."""
    job = await a_job(worker, tmp_path / "list")
    training = asyncio.create_task(worker.train(job.to_json()))
    state = worker.data_dir / "trainings" / folder_name(job) / "checkpoint.safetensors"
    while not state.exists():
        assert not training.done(), training.result()
        await asyncio.sleep(0.02)
    killed = worker.process.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    end = await training
    assert end["outcome"] == "done", end
    result = TrainingResult.from_json(end)
    assert (result.videos, result.machine) == (6, worker.machine)
    assert len(result.guards) == 5
    async with database.connect() as connection:
        row = (await connection.execute(select(render_progress))).one()
    assert (row.video_id, row.phase) == ("training-1", "guards")

    steps = [json.loads(line) for line in (state.parent / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "loss" in line] == list(range(1, 25))
    assert not state.exists()
    assert await worker.train(job.to_json()) == end
    other = await a_job(worker, tmp_path / "list", candidate_id=2)
    assert TrainingResult.from_json(await worker.train(other.to_json())).adapter_sha256 == result.adapter_sha256

    taste = tmp_path / "bot" / "taste.safetensors"
    assert load_taste(trained_taste_path(worker.data_dir, result.adapter_sha256), "wan@" + job.base_revision)
    wish = CandidateJob(1, result.adapter_sha256, result.size_bytes, result.taste_sha256)
    assert (await worker.send_candidate(wish.to_json()))["outcome"] == "cancelled"  # the bot expects nothing yet
    async with database.begin() as connection:
        await expect(connection, result.adapter_sha256, result.size_bytes)
    assert (await worker.send_candidate(wish.to_json())) == {"outcome": "done"}  # though nobody expects its taste
    with pytest.raises(AdapterError):
        await fetch_file(database, taste, result.taste_sha256 or "")
    async with database.begin() as connection:
        await expect(connection, result.taste_sha256 or "", result.taste_bytes)
    assert (await worker.send_candidate(wish.to_json())) == {"outcome": "done"}
    await fetch_file(database, taste, result.taste_sha256 or "")
    check_taste(taste, result.taste_sha256 or "")
    assert sha256_of(await fetch(database, tmp_path / "bot", result.adapter_sha256)) == result.adapter_sha256


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_revision": "another"}, "an adapter would be for other weights"),
        ({"model_id": "tiny"}, "This worker trains wan, not tiny."),
        ({"examples_sha256": "0" * 64}, "the bot does not offer it"),
        ({"recipe": {"colour": 1}}, ""),
    ],
)
async def test_what_cannot_be_trained_is_a_sentence(
    worker: TrainingWorker, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """No trace, no adapter, and no process."""
    end = await worker.train((await a_job(worker, tmp_path / "list", **change)).to_json())
    assert end["outcome"] == "failed"
    assert words in str(end["reason"])
    assert not (worker.data_dir / "adapters").exists()


async def test_a_file_that_is_gone_is_told(worker: TrainingWorker) -> None:
    """The bot then has it trained again."""
    assert (await worker.send_candidate(CandidateJob(1, "ab" * 32, 9).to_json()))["outcome"] == "file_missing"


async def test_a_sentence_of_the_process_is_the_reason(worker: TrainingWorker, tmp_path: Path) -> None:
    """Such as a method that finds no pair to learn from."""
    alike = [replace(each, up=1.0, down=0.0) for each in EXAMPLES[:2]]
    job = await a_job(worker, tmp_path / "list", alike, recipe={**RECIPE, "method": "dpo", "use_reward": False})
    end = await worker.train(job.to_json())
    assert end["outcome"] == "failed"
    assert "no pair to learn from" in str(end["reason"])


def test_phases_are_told_apart() -> None:
    """As the process names them."""
    named = ["prompts", "videos", "steps, phase 0", "fresh videos, round 1", "guards"]
    assert [phase_of(name) for name in named] == ["prompts", "videos", "training", "fresh", "guards"]
