"""The GPU worker: takes render jobs, supervises the child that renders them, and uploads what this machine holds.

It has no key of any kind: a database, a data folder and a model are all it knows. Imports no torch and no Discord.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.engine import Engine, QueueSpec
from generation.hosting import tus
from generation.hosting.host import AlreadyUploaded, HostBusy, HostError, HostUnreachable, UploadGone
from generation.jobs import (
    RENDER_WORKFLOW,
    UPLOAD_WORKFLOW,
    JobEnd,
    Phase,
    RenderJob,
    RenderResult,
    UploadJob,
    gpu_queue,
    upload_queue,
)
from generation.models import ModelError, load_models
from generation.supervise import RenderChild, RenderError
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import render_progress, render_timings, upload_urls, videos

log = logging.getLogger(__name__)

LOOK_S = 0.5  # how often a running job asks whether it is still wanted
TELL_S = 0.5  # how often progress is written, at most
LONGEST_PAUSE_S = 30.0

Json = dict[str, Any]


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker is told. None of it opens anything but the database."""

    database_url: str
    data_dir: Path
    model_class: str = "tiny"
    model_id: str = "tiny"
    models_file: Path | None = None
    hang_s: float = 300.0

    def __repr__(self) -> str:
        return f"WorkerConfig({self.model_class}/{self.model_id})"  # a database URL may carry a password


def machine_name(data_dir: Path) -> str:
    """The machine's name, made once and kept beside its files: uploads go to the machine that holds the file."""
    path = data_dir / "machine"
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with path.open("x") as file:
            file.write(secrets.token_hex(6))
    except FileExistsError:
        pass
    name = path.read_text().strip()
    if not re.fullmatch(r"[0-9a-f]{12}", name):
        raise ValueError(f"{path} is damaged; remove it, and uploads that wait for this machine are rendered anew.")
    return name


class Worker:
    """One worker process's jobs."""

    def __init__(self, config: WorkerConfig, database: AsyncEngine) -> None:
        """Raises ModelError or ValueError with a sentence when the model or the data folder cannot be used."""
        models = load_models(config.data_dir, config.models_file)
        if config.model_id not in models:
            raise ModelError(f"There is no model {config.model_id!r}; there are {', '.join(sorted(models))}.")
        self.config = config
        self.database = database
        self.machine = machine_name(config.data_dir)
        self.model = models[config.model_id]
        self.child = RenderChild(self.model, hang_s=config.hang_s)
        self.client = httpx.AsyncClient(timeout=httpx.Timeout(60, connect=10))
        self.engine = Engine(
            database,
            config.database_url,
            role="worker",
            queues=[
                QueueSpec(gpu_queue(config.model_class), 1, one_per_member=True),
                QueueSpec(upload_queue(self.machine), 2),
            ],
            on_fenced=self.child.kill,
        )
        self.engine.workflow(RENDER_WORKFLOW)(self._render_workflow())
        self.engine.workflow(UPLOAD_WORKFLOW)(self._upload_workflow())

    def _render_workflow(self) -> Callable[[Json], Awaitable[Json]]:
        async def render_video(argument: Json) -> Json:
            return await Engine.step("render", self.render, argument)

        return render_video

    def _upload_workflow(self) -> Callable[[Json], Awaitable[Json]]:
        async def upload_video(argument: Json) -> Json:
            return await Engine.step("upload", self.upload, argument)

        return upload_video

    async def close(self) -> None:
        """Stops serving; unfinished jobs are taken over by other workers."""
        await self.engine.close()
        await self.child.close()
        await self.client.aclose()

    # ------------------------------------------------------------------ render

    async def render(self, argument: Json) -> Json:
        """The render step: RenderJob in, RenderResult or JobEnd out. Its repetition finds the finished file."""
        try:
            job = RenderJob.from_json(argument)
        except (TypeError, ValueError) as error:
            return JobEnd("failed", f"The job cannot be read: {error}").to_json()
        if job.model_id != self.config.model_id:
            return JobEnd("failed", f"This worker does not serve the model {job.model_id}.").to_json()
        video = self.config.data_dir / "videos" / f"{job.video_id}.mp4"
        finished = await asyncio.to_thread(_finished, video, job, self.child.loaded)
        if finished is not None:
            return finished
        begun = time.monotonic()
        unwanted = asyncio.Event()
        watcher = asyncio.create_task(self._watch_for_cancel(job.video_id, unwanted))
        try:
            facts = await self._render_twice(job, video, unwanted)
        except RenderError as error:
            return JobEnd("cancelled" if error.kind == "cancelled" else "failed", str(error)).to_json()
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        result = RenderResult(
            video_path=str(video),
            poster_path=str(video.with_suffix(".jpg")),
            machine=self.machine,
            **{**facts, "seconds": round(time.monotonic() - begun, 3)},
        ).to_json()
        await asyncio.to_thread(_write_sidecar, video, job, result)
        return result

    async def _render_twice(self, job: RenderJob, video: Path, unwanted: asyncio.Event) -> Json:
        """A child that crashed or hung gets a second chance; a second failure is an error of the job."""
        command = {
            "prompt": job.prompt,
            "seed": job.seed,
            "video_path": str(video),
            "poster_path": str(video.with_suffix(".jpg")),
        }
        tell = await self._teller(job.video_id)
        for last in (False, True):
            if unwanted.is_set():
                raise RenderError("cancelled", "Cancelled.")
            try:
                return await self.child.render(command, on_tick=tell, unwanted=unwanted)
            except RenderError as error:
                if last or error.kind in {"cancelled", "load"}:
                    raise
                log.warning("Video %s: %s Trying once more.", job.video_id, error)
        raise AssertionError("not reached")

    async def _teller(self, video_id: str) -> Callable[[Json], Awaitable[None]]:
        """Writes ticks to the database, at most two a second, with an estimate from this model's history."""
        async with self.database.connect() as connection:
            usual = await connection.scalar(
                select(func.avg(render_timings.c.seconds)).where(render_timings.c.model_id == self.config.model_id)
            )
        begun = time.monotonic()
        first: list[tuple[float, int]] = []
        told = 0.0

        async def tell(tick: Json) -> None:
            nonlocal told
            now = time.monotonic()
            phase, step, steps = tick["phase"], int(tick["step"]), int(tick["steps"])
            eta: float | None = max(0.0, float(usual) - (now - begun)) if usual else None
            if phase == "denoising" and step:
                first.append((now, step)) if not first else None
                since, from_step = first[0]
                if step > from_step:
                    eta = (now - since) / (step - from_step) * (steps - step)
            if now - told < TELL_S and step not in {0, steps}:
                return
            told = now
            await self._tell(video_id, phase, step, steps, eta)

        return tell

    async def _tell(self, video_id: str, phase: Phase, step: int, steps: int, eta_s: float | None) -> None:
        upsert = (sqlite if self.database.dialect.name == "sqlite" else postgresql).insert(render_progress)
        values = {
            "phase": phase,
            "step": step,
            "steps": steps,
            "eta_s": eta_s,
            "worker_id": self.engine.executor_id,
            "updated_at_ms": now_ms(),
        }
        try:
            async with self.database.begin() as connection:
                await connection.execute(
                    upsert.values(video_id=video_id, **values).on_conflict_do_update(
                        index_elements=["video_id"], set_=values
                    )
                )
        except SQLAlchemyError as error:  # progress is only told; the video is what matters
            log.warning("Progress of video %s could not be written: %s", video_id, type(error).__name__)

    async def _watch_for_cancel(self, video_id: str, unwanted: asyncio.Event) -> None:
        while not unwanted.is_set():
            try:
                async with self.database.connect() as connection:
                    cancelled = await connection.scalar(
                        select(videos.c.cancel_requested).where(videos.c.id == video_id)
                    )
                if cancelled:
                    unwanted.set()
                    return
            except SQLAlchemyError as error:
                log.warning("Whether video %s is still wanted could not be read: %s", video_id, type(error).__name__)
            await asyncio.sleep(LOOK_S)

    # ------------------------------------------------------------------ upload

    async def upload(self, argument: Json) -> Json:
        """The upload step: UploadJob in, {"outcome": "done"} or JobEnd out. Its repetition resumes."""
        try:
            job = UploadJob(**argument)
        except TypeError as error:
            return JobEnd("failed", f"The job cannot be read: {error}").to_json()
        path = Path(job.video_path)
        if not path.is_relative_to(self.config.data_dir) or await asyncio.to_thread(_sha256, path) != job.sha256:
            return JobEnd("file_missing", "The rendered file is no longer on this machine.").to_json()
        unwanted = asyncio.Event()
        watcher = asyncio.create_task(self._watch_for_cancel(job.video_id, unwanted))
        try:
            return await self._upload(job, path, unwanted)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _upload(self, job: UploadJob, path: Path, unwanted: asyncio.Event) -> Json:
        """Keeps trying while the host is away: an outage is no failure."""

        async def keep(url: str) -> None:
            upsert = (sqlite if self.database.dialect.name == "sqlite" else postgresql).insert(upload_urls)
            async with self.database.begin() as connection:
                await connection.execute(
                    upsert.values(asset_id=job.asset_id, url=url, created_at_ms=now_ms()).on_conflict_do_update(
                        index_elements=["asset_id"], set_={"url": url}
                    )
                )

        async def tell(sent: int, size: int) -> None:
            await self._tell(job.video_id, "uploading", sent, size, None)

        pause = 1.0
        while not unwanted.is_set():
            async with self.database.connect() as connection:
                known = await connection.scalar(select(upload_urls.c.url).where(upload_urls.c.asset_id == job.asset_id))
            try:
                await tus.upload(
                    job.tus_endpoint, path, client=self.client, on_url=keep, resume_url=known, on_progress=tell
                )
            except AlreadyUploaded:
                pass
            except UploadGone as error:
                return JobEnd("upload_gone", str(error)).to_json()
            except (HostUnreachable, HostBusy) as error:
                log.warning("Video %s waits for the host: %s", job.video_id, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            except HostError as error:
                return JobEnd("failed", f"The video host refused the upload: {error}").to_json()
            async with self.database.begin() as connection:  # the address has served; it is a credential
                await connection.execute(
                    update(upload_urls).where(upload_urls.c.asset_id == job.asset_id).values(url="")
                )
            return {"outcome": "done"}
        return JobEnd("cancelled", "Cancelled.").to_json()


# --------------------------------------------------------------------------- files


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _prompt_hash(job: RenderJob) -> str:
    return hashlib.sha256(f"{job.model_id}\0{job.seed}\0{job.prompt}".encode()).hexdigest()


def _finished(video: Path, job: RenderJob, loaded: Json | None) -> Json | None:
    """The result of an earlier attempt at exactly this job, if its file is whole."""
    try:
        sidecar = json.loads(video.with_suffix(".json").read_text())
        result: Json = sidecar["result"]
        same = sidecar["job"] == _prompt_hash(job) and result["sha256"] == _sha256(video)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same or (loaded is not None and loaded.get("revision") != result.get("model_revision")):
        return None
    return result


def _write_sidecar(video: Path, job: RenderJob, result: Json) -> None:
    path = video.with_suffix(".json")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"job": _prompt_hash(job), "result": result}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


# --------------------------------------------------------------------------- entries


async def run_worker(config: WorkerConfig, *, stop: asyncio.Event) -> None:
    """Serves jobs until `stop` is set. Raises ModelError, ValueError, or what the database raises."""
    await upgrade_database(config.database_url)
    database = open_database(config.database_url)
    try:
        worker = Worker(config, database)
        try:
            await worker.engine.launch()
            warming = asyncio.create_task(_warm(worker.child))
            await stop.wait()
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)
        finally:
            await worker.close()
    finally:
        await database.dispose()


async def _warm(child: RenderChild) -> None:
    try:
        loaded = await child.warm()
        log.info("Model %s at %s is loaded.", loaded.get("model_id"), str(loaded.get("revision"))[:12])
        for sentence in loaded.get("said", []):
            log.info("%s", sentence)
    except RenderError as error:
        log.error("%s Jobs will fail until that is mended.", error)


async def check(config: WorkerConfig) -> Json:
    """Loads the model and renders one clip; what it took. Raises RenderError, ModelError or ValueError."""
    models = load_models(config.data_dir, config.models_file)
    if config.model_id not in models:
        raise ModelError(f"There is no model {config.model_id!r}; there are {', '.join(sorted(models))}.")
    child = RenderChild(models[config.model_id], hang_s=config.hang_s)
    folder = config.data_dir / "check"

    async def quiet(_tick: Json) -> None: ...

    try:
        begun = time.monotonic()
        loaded = await child.warm()
        load_s = time.monotonic() - begun
        job = {
            "prompt": "a red circle moves right",
            "seed": 1,
            "video_path": str(folder / "check.mp4"),
            "poster_path": str(folder / "check.jpg"),
        }
        facts = await child.render(job, on_tick=quiet, unwanted=asyncio.Event())
        status = Path(f"/proc/{child.pid}/status")
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    finally:
        await child.close()
    return {
        "model_id": loaded["model_id"],
        "model_revision": loaded["revision"],
        "load_seconds": round(load_s, 2),
        "render_seconds": facts["seconds"],
        "peak_memory_mib": round(int(peak[1]) / 1024) if peak else None,
        "video": job["video_path"],
    }
