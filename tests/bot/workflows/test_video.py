"""The render job of a member's video: with the live release, and with a choice by taste where that is wanted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.files.tastes import Tastes
from bot.workflows import video as video_workflow
from bot.workflows.video import EndedError, VideoWorkflow
from generation.jobs import BestOf, ReleaseName, RenderJob, gpu_queue, release_queue
from generation.queue.engine import Engine
from migrations.schema import videos
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.releases import a_release, a_round
from tests.builders.tastes import leave_taste


async def a_video(database: AsyncEngine) -> str:
    values = {"member_id": 1, "member_name": "m", "prompt": "p", "status": "queued", "created_at_ms": 0, "seed": 7}
    round_id = await a_round(database)
    async with database.begin() as connection:
        await connection.execute(
            insert(videos).values(id="42", guild_id=7, round_id=round_id, model_id="tiny", chain_key="v", **values)
        )
    return "42"


def workflow_of(database: AsyncEngine, data_dir: Path, best_of: int) -> VideoWorkflow:
    nothing = dict.fromkeys(("engine", "posts", "progress", "reviews", "transfer", "reactions"))
    return VideoWorkflow(
        database=database,
        client=cast(Any, SimpleNamespace(get_guild=lambda _: None)),
        data_dir=data_dir,
        model_class="test",
        tastes=Tastes(database=database, data_dir=data_dir, best_of=best_of),
        host_patience_s=1.0,
        **cast(Any, nothing),
    )


@pytest.mark.parametrize(
    ("best_of", "has_taste", "has_release"),
    [(4, True, True), (4, False, False), (1, True, False), (1, True, True)],
    ids=["the best of four", "no taste yet", "switched off", "a release alone"],
)
async def test_a_job_goes_to_workers_that_can_do_it(
    database: AsyncEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    best_of: int,
    has_taste: bool,
    has_release: bool,
) -> None:
    """Those of before there were releases get neither a release nor a choice, which they would not understand."""
    _, adapter = write_adapter(tmp_path, adapter_bytes())
    if has_release:
        await a_release(database, adapter_sha256=adapter)
    taste = leave_taste(tmp_path, adapter) if has_taste else ""
    asked: list[tuple[RenderJob, str]] = []

    async def delegate(_name: str, _id: str, job: Any, *, queue: str, **_: Any) -> Any:
        asked.append((RenderJob.from_json(job), queue))
        return {"outcome": "failed", "reason": "That is all."}

    async def step(_name: str, function: Any, *args: Any) -> Any:
        return await function(*args)

    monkeypatch.setattr(video_workflow, "step", step)
    monkeypatch.setattr(Engine, "delegate", delegate)
    with pytest.raises(EndedError, match="That is all"):
        await workflow_of(database, tmp_path, best_of)._render(await a_video(database), 1)
    [(job, queue)] = asked
    assert job.seed == 7
    assert job.release == (ReleaseName(1, adapter) if has_release else None)
    assert job.best_of == (BestOf(4, taste) if best_of == 4 and has_taste else None)
    plain = job.release is None and job.best_of is None
    assert queue == (gpu_queue("test", "tiny") if plain else release_queue("test", "tiny"))
