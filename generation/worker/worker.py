"""The GPU worker: takes render jobs, supervises the child that renders them, and uploads what this machine holds.

It has no key of any kind: a database, a data folder and a model are all it knows. Imports no torch and no Discord.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.hosting import tus
from generation.jobs import (
    ORIGINAL_WORKFLOW,
    RENDER_WORKFLOW,
    UPLOAD_WORKFLOW,
    JobEnd,
    Phase,
    RenderJob,
    RenderResult,
    gpu_queue,
    originals_queue,
    upload_queue,
)
from generation.log_context import about
from generation.models.registry import choose, known_revision, load_models
from generation.queue.engine import Engine, QueueSpec
from generation.video.c2pa_manifest import room_for
from generation.video.certificates import certificate_of
from generation.worker.check import check_model
from generation.worker.drain import drain, first_of
from generation.worker.eta import Estimate, History, kind_of
from generation.worker.file_transfers import Originals
from generation.worker.files import finished_result, machine_name, remember_result
from generation.worker.registry import announce, withdraw
from generation.worker.render_process import OnTick, RenderChild, RenderError
from generation.worker.uploads import HandOverError, Uploads
from migrations.database import now_ms, open_database, upgrade_database, upsert_into
from migrations.schema import render_progress, render_timings, videos

log = logging.getLogger(__name__)

LOOK_S = 0.5  # how often a running job asks whether it is still wanted
TELL_S = 0.5  # how often progress is written, at most

Json = dict[str, Any]


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker is told. None of it opens anything but the database."""

    database_url: str
    data_dir: Path
    model_class: str = "tiny"
    model_id: str = "tiny"
    models_file: Path | None = None
    hang_s: float = 300.0  # a render child that gives no sign of life for so long is replaced
    load_s: float = 1800.0  # the same while it loads or compiles
    drain_s: float = 25.0  # for what is under way, once the worker is to stop
    certificate: Path | None = None  # the operator's chain, PEM; None: a self-made one
    certificate_key: Path | None = None
    label_frames: bool = False

    def __repr__(self) -> str:
        return f"WorkerConfig({self.model_class}/{self.model_id})"  # a database URL may carry a password


def _video_of(argument: Any) -> str:
    """The video that a job is about, for the log; what a job must look like is checked where it is done."""
    return str(argument.get("video_id", ""))[:20] if isinstance(argument, dict) else ""


class Worker:
    """One worker process's jobs."""

    def __init__(self, config: WorkerConfig, database: AsyncEngine) -> None:
        """Raises ModelError or ValueError with a sentence when the model or the data folder cannot be used."""
        self.data_dir = config.data_dir.resolve()
        self.model = choose(load_models(self.data_dir, config.models_file), config.model_id)
        self.history = History(self.data_dir, self.model.id)
        self.database = database
        self.machine = machine_name(self.data_dir)
        self.model_class = config.model_class
        self.certificate = certificate_of(self.data_dir, config.certificate, config.certificate_key)
        room_for(self.certificate)  # a certificate that cannot sign is found now, not with a member's video
        self._finishing: Json = {
            "label_frames": config.label_frames,
            "certificate": {
                "data_dir": str(self.data_dir),
                "chain": None if config.certificate is None else str(config.certificate.resolve()),
                "key": None if config.certificate_key is None else str(config.certificate_key.resolve()),
            },
        }
        self.child = RenderChild(self.model, hang_s=config.hang_s, load_s=config.load_s)
        self._announced: Json | None = None
        self.client = httpx.AsyncClient(timeout=tus.TIMEOUT)
        self.broken = asyncio.Event()  # the model can no longer be loaded: jobs are for other workers
        self._closing = asyncio.Event()
        self._gpu_queue = gpu_queue(config.model_class, self.model.id)
        self._upload_queue = upload_queue(self.machine)
        self.engine = Engine(
            database,
            config.database_url,
            role="worker",
            queues=[
                QueueSpec(
                    self._gpu_queue,
                    1,
                    one_per_member=True,
                    # The next job is taken once this one's steps are done, and one ahead at most: what would only
                    # wait here is for other workers.
                    spared=lambda: min(1, self.child.finishing),
                ),
                QueueSpec(self._upload_queue, 2),
                QueueSpec(originals_queue(self.machine), 2),
            ],
            on_fenced=self.child.kill,
        )
        self._uploads = Uploads(
            database, self.data_dir, self.client, tell=self._tell, watched=self._watched, closing=self._closing
        )
        self._originals = Originals(database, self.data_dir, watched=self._watched, closing=self._closing)
        self.engine.workflow(RENDER_WORKFLOW)(self._as_workflow("render", self.render))
        self.engine.workflow(UPLOAD_WORKFLOW)(self._as_workflow("upload", self.upload))
        self.engine.workflow(ORIGINAL_WORKFLOW)(self._as_workflow("sending of the original", self.send_original))

    def _as_workflow(self, name: str, function: Callable[[Json], Awaitable[Json]]) -> Callable[[Json], Awaitable[Json]]:
        async def body(argument: Json) -> Json:
            begun = time.monotonic()
            log.info("The %s begins.", name)
            try:
                end = await function(argument)
            except HandOverError:
                # Nothing may be recorded: the job is taken over as it is, once our lease is given back.
                await asyncio.Event().wait()
                raise
            except Exception as error:
                log.exception("A job failed for a reason of this worker's own")
                sentence = f"The worker failed ({type(error).__name__}); its log says why."
                end = JobEnd("failed", sentence).to_json()
            log.info("The %s ends after %.1f s: %s.", name, time.monotonic() - begun, end.get("outcome"))
            return end

        async def workflow(argument: Json) -> Json:
            with about(video=_video_of(argument)):
                return await Engine.step(name, body, argument)

        return workflow

    async def close(self) -> None:
        """Stops serving; unfinished jobs are taken over by other workers."""
        self._closing.set()
        await self.child.close()
        await withdraw(self.database, self.engine.executor_id)
        await self.engine.close()
        await self.client.aclose()

    async def drain(self, seconds: float, at_once: asyncio.Event) -> None:
        """See draining.py; what is unfinished then is left to `close`."""
        await drain(self.engine, self._gpu_queue, self._upload_queue, seconds, at_once)

    async def announce(self) -> None:
        """Tells what is loaded here, if that is not told already."""
        loaded = self.child.loaded
        if loaded is None or loaded == self._announced:
            return
        try:
            await announce(self.database, self.engine.executor_id, self.machine, self.model_class, loaded)
            self._announced = loaded
        except SQLAlchemyError as error:  # it is only for people; jobs come by the lease
            log.warning("What is loaded here could not be announced (%s).", type(error).__name__)

    # ------------------------------------------------------------------ render

    async def render(self, argument: Json) -> Json:
        """The render step: RenderJob in, RenderResult or JobEnd out. Its repetition finds the finished file."""
        try:
            job = RenderJob.from_json(argument)
        except (TypeError, ValueError):
            return JobEnd(
                "failed", "The worker cannot read this job; it may be of another release than the bot."
            ).to_json()
        if job.model_id != self.model.id:
            return JobEnd("failed", f"This worker renders with {self.model.id}, not with {job.model_id}.").to_json()
        video = self.data_dir / "videos" / f"{job.video_id}.mp4"
        revision = (self.child.loaded or {}).get("revision") or known_revision(self.model)
        finished = await asyncio.to_thread(finished_result, video, job, revision)
        if finished is not None and self._looked_at(finished):
            return {**finished, "machine": self.machine}
        begun = time.monotonic()
        command: dict[str, Any] = {
            "prompt": job.prompt,
            "seed": job.seed,
            "video_path": str(video),
            "poster_path": str(video.with_suffix(".jpg")),
            "fit_bytes": job.fit_bytes,
            **self._finishing,
        }
        tell = await self._teller(job.video_id)
        try:
            async with self._watched(job.video_id) as unwanted:
                facts = await self.child.render(command, on_tick=tell, unwanted=unwanted)
        except RenderError as error:
            if error.kind == "load":
                log.error("%s", error)
                self.broken.set()
            if error.kind in {"load", "closed"}:
                raise HandOverError from None
            return JobEnd("cancelled" if error.kind == "cancelled" else "failed", str(error)).to_json()
        facts["seconds"] = round(time.monotonic() - begun, 3)
        await self._learn(facts.pop("measured"))
        await self.announce()  # anew where memory ran out, and the model is now loaded in a lighter way
        result = RenderResult(
            video_path=command["video_path"], poster_path=command["poster_path"], machine=self.machine, **facts
        ).to_json()
        try:
            await asyncio.to_thread(remember_result, video, job, result)
        except OSError as error:  # the note only spares a repetition the work; the video is what matters
            log.warning("The note on video %s could not be written (%s).", job.video_id, error.strerror)
        return result

    def _looked_at(self, finished: Json) -> bool:
        """Whether today's classifier has looked at an earlier result, where there is one."""
        if self.model.classifier is None:
            return True
        looked = (finished.get("findings") or {}).get("classifier")
        return bool(looked == (self.child.loaded or {}).get("classifier", ""))

    async def _learn(self, measured: Json) -> None:
        """Keeps what this render took, for the next one's estimate."""
        loaded = self.child.loaded
        if loaded is None:
            return
        try:
            seconds = dict(measured["seconds"])
            if measured["prompt_known"]:
                del seconds["prompt"]  # that says nothing of the next prompt
            await asyncio.to_thread(self.history.add, kind_of(loaded), seconds)
        except OSError as error:  # an estimate less; the video is what matters
            log.warning("What the render took could not be kept (%s).", error.strerror)

    async def _teller(self, video_id: str) -> OnTick:
        """Writes ticks to the database, at most two a second, with an estimate from this machine's history."""
        recent = (
            select(render_timings.c.seconds)
            .where(render_timings.c.model_id == self.model.id)
            .order_by(render_timings.c.finished_at_ms.desc())
            .limit(20)
            .subquery()
        )
        usual: float | None = None
        with contextlib.suppress(SQLAlchemyError):
            async with self.database.connect() as connection:
                average = await connection.scalar(select(func.avg(recent.c.seconds)))
                usual = None if average is None else float(average)
        # History is of the pipeline as it is loaded: before that its kind is not known.
        loaded = self.child.loaded
        estimate = Estimate(self.history.usual(kind_of(loaded)) if loaded else {}, whole=usual)
        told, told_phase = -math.inf, ""

        async def tell(tick: Json) -> None:
            nonlocal told, told_phase
            now = time.monotonic()
            phase, step, steps = tick["phase"], int(tick["step"]), int(tick["steps"])
            eta = estimate.left(phase, step, steps)
            if now - told < TELL_S and phase == told_phase:
                return
            told, told_phase = now, phase
            await self._tell(video_id, phase, step, steps, eta)

        return tell

    async def _tell(self, video_id: str, phase: Phase, step: int, steps: int, eta_s: float | None) -> None:
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
                    upsert_into(connection, render_progress)
                    .values(video_id=video_id, **values)
                    .on_conflict_do_update(index_elements=["video_id"], set_=values)
                )
        except SQLAlchemyError as error:  # progress is only told; the video is what matters
            log.warning("Progress of video %s could not be written (%s).", video_id, type(error).__name__)

    @contextlib.asynccontextmanager
    async def _watched(self, video_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the member no longer wants the video."""
        unwanted = asyncio.Event()
        watcher = asyncio.create_task(self._watch_for_cancel(video_id, unwanted), name="wanted")
        try:
            yield unwanted
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch_for_cancel(self, video_id: str, unwanted: asyncio.Event) -> None:
        query = select(videos.c.cancel_requested).where(videos.c.id == video_id)
        while True:
            try:
                async with self.database.connect() as connection:
                    if await connection.scalar(query):
                        unwanted.set()
                        return
            except SQLAlchemyError as error:
                log.warning("Whether video %s is still wanted is not known (%s).", video_id, type(error).__name__)
            await asyncio.sleep(LOOK_S)

    # ------------------------------------------------------------------ upload

    async def upload(self, argument: Json) -> Json:
        """The upload step: UploadJob in, {"outcome": "done"} or JobEnd out. Its repetition resumes."""
        return await self._uploads.upload(argument)

    async def send_original(self, argument: Json) -> Json:
        """The step that sends a file to the bot: OriginalJob in, {"outcome": "done"} or JobEnd out. It resumes too."""
        return await self._originals.send(argument)


# --------------------------------------------------------------------------- entries


async def run_worker(
    config: WorkerConfig,
    *,
    stop: asyncio.Event,
    at_once: asyncio.Event | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serves jobs until `stop` is set; takes none before its model is loaded, and `on_ready` was called.

    Then it has `config.drain_s` seconds for what it has begun, unless `at_once` is set too; the rest is handed over.
    Raises ModelError, ValueError, or RenderError of kind `load`, also when the model cannot be loaded again later;
    and whatever the database raises.
    """
    await upgrade_database(config.database_url)
    database = open_database(config.database_url)
    try:
        worker = Worker(config, database)
        try:
            if await first_of(worker.child.warm(), stop):
                _introduce(worker)
                await worker.engine.launch()
                await worker.announce()
                if on_ready is not None:
                    on_ready()
                if not await first_of(worker.broken.wait(), stop):
                    await worker.drain(config.drain_s, at_once or asyncio.Event())
        finally:
            await worker.close()
        if worker.broken.is_set():
            raise RenderError("load", "The model can no longer be loaded; the log says why.")
    finally:
        await database.dispose()


def _introduce(worker: Worker) -> None:
    loaded = worker.child.loaded or {}
    log.info("Model %s at %s is loaded.", loaded.get("model_id"), str(loaded.get("revision"))[:12])
    signer = worker.certificate
    vouched = "self-made, vouched for by nobody" if signer.kind == "self-made" else "the operator's"
    log.info("Videos are signed with the certificate %s (%s).", signer.name, vouched)
    for sentence in loaded.get("said", []):
        log.info("%s", sentence)


async def check(config: WorkerConfig) -> Json:
    """Loads the model and renders one video; what it took. Raises RenderError, ModelError or ValueError."""
    data_dir = config.data_dir.resolve()
    model = choose(load_models(data_dir, config.models_file), config.model_id)
    return await check_model(model, data_dir, hang_s=config.hang_s, load_s=config.load_s)
