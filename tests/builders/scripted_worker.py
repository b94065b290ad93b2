"""A worker of the durable engine in the test's own process: it renders small files, and counts what it is asked for."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from generation.jobs import FILMSTRIP_WORKFLOW, RENDER_WORKFLOW, RenderResult, gpu_queue, release_queue
from generation.queue.engine import Engine, QueueSpec
from tests.builders.battle_rounds import an_mp4
from tests.builders.battle_town import REVISION
from tests.builders.killed import PATIENT

PNG = b"\x89PNG\r\n\x1a\n a picture"


class ScriptedWorker:
    """Renders by writing down who was to render. Its machine is the bot's: files need not be brought."""

    def __init__(self, data_dir: Path, engine: Engine) -> None:
        self.engine = engine
        self._videos = data_dir / "videos"
        self.rendered: Counter[str] = Counter()  # by video
        self.filmstrips = 0

    async def render(self, job: dict[str, Any]) -> dict[str, Any]:
        """Write a small mp4 that names its adapter: RenderJob in, RenderResult out."""
        release = job.get("release")
        self.rendered[job["video_id"]] += 1
        model = str(job["model_id"] if release is None else release["adapter_sha256"][:12]).encode()
        data = an_mp4(b"pictures" * len(model), b"made by " + model)
        self._videos.mkdir(parents=True, exist_ok=True)
        path = self._videos / f"{job['video_id']}.mp4"
        path.write_bytes(data)
        result = RenderResult(
            video_path=str(path), poster_path="", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data),
            width=64, height=64, fps=8.0, frames=9, seconds=1.0, model_id=job["model_id"], model_revision=REVISION,
            machine="here", release=release, provenance={"motion": 0.2},
        )  # fmt: skip
        return dict(result.to_json())

    async def filmstrip(self, _job: dict[str, Any]) -> dict[str, Any]:
        """Return a picture."""
        self.filmstrips += 1
        return {"outcome": "done", "png": base64.b64encode(PNG).decode()}


@asynccontextmanager
async def serving(database: AsyncEngine, url: str, data_dir: Path) -> AsyncIterator[ScriptedWorker]:
    """Serve the queues of the model tiny."""
    names = (gpu_queue("tiny", "tiny"), release_queue("tiny", "tiny"))
    queues = [QueueSpec(name, 2, one_per_member=True) for name in names]
    engine = Engine(database, url, role="worker", queues=queues, times=PATIENT)
    worker = ScriptedWorker(data_dir, engine)

    async def render(job: dict[str, Any]) -> dict[str, Any]:
        return await worker.render(job)

    async def filmstrip(job: dict[str, Any]) -> dict[str, Any]:
        return await worker.filmstrip(job)

    engine.workflow(RENDER_WORKFLOW)(render)
    engine.workflow(FILMSTRIP_WORKFLOW)(filmstrip)
    await engine.launch()
    try:
        yield worker
    finally:
        await engine.close()
