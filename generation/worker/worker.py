"""The GPU worker: takes render jobs, supervises the process that renders them, and uploads their files.

It has no key of any kind: a database, a data folder and a model are all it has. Imports no torch and no Discord.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import httpx
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.adapters.file import AdapterError
from generation.hosting import tus
from generation.jobs import (
    FILMSTRIP_WORKFLOW,
    ORIGINAL_WORKFLOW,
    RENDER_WORKFLOW,
    UPLOAD_WORKFLOW,
    JobEnd,
    ReleaseName,
    RenderJob,
    RenderResult,
    gpu_queue,
    originals_queue,
    release_queue,
    upload_queue,
)
from generation.log_context import about
from generation.models.registry import choose, known_revision, load_models
from generation.queue.engine import Engine, QueueSpec
from generation.render_messages import (
    FailureKind,
    LoadedModel,
    Measured,
    ReleaseAdapter,
    RenderedVideo,
    RenderRequest,
    Signing,
)
from generation.strict_json import JsonObject
from generation.video.c2pa_manifest import room_for
from generation.video.certificates import certificate_of
from generation.video.latents import latents_path
from generation.worker.check import check_model
from generation.worker.drain import drain, first_of
from generation.worker.eta import History, kind_of
from generation.worker.file_transfers import Originals
from generation.worker.files import finished_result, machine_name, remember_result
from generation.worker.learning.filmstrip import Filmstrips
from generation.worker.learning.model_files import ModelFiles
from generation.worker.progress import JobProgress, watch_for_cancel
from generation.worker.registry import announce, withdraw
from generation.worker.render_process import RenderChild, RenderError
from generation.worker.uploads import UNREADABLE, HandOverError, Uploads
from migrations.database import open_database, upgrade_database

log = logging.getLogger(__name__)

JobFunction = Callable[[JsonObject], Awaitable[JsonObject]]


@dataclass(frozen=True)
class WorkerConfig:
    """The configuration of a worker. None of it opens anything but the database."""

    database_url: str
    data_dir: Path
    model_class: str = "tiny"
    model_id: str = "tiny"
    models_file: Path | None = None
    hang_s: float = 300.0  # a render process that gives no sign of life for so long is replaced
    load_s: float = 1800.0  # the same while it loads or compiles
    drain_s: float = 25.0  # for the jobs under way, once the worker is to stop
    certificate: Path | None = None  # the operator's chain, PEM; None: a self-made one
    certificate_key: Path | None = None
    label_frames: bool = False
    keep_latents: bool = True  # beside each video, for tuning

    def __repr__(self) -> str:
        return f"WorkerConfig({self.model_class}/{self.model_id})"  # a database URL may carry a password


def _video_of(argument: object) -> str:
    """Return the video that a job is about, for the log; the job itself is checked where it is done."""
    return str(argument.get("video_id", ""))[:20] if isinstance(argument, dict) else ""


class Worker:
    """The jobs of one worker process."""

    def __init__(self, config: WorkerConfig, database: AsyncEngine) -> None:
        """Raise ModelError or ValueError with a sentence when the model or the data folder cannot be used."""
        self.data_dir = config.data_dir.resolve()
        self.model = choose(load_models(self.data_dir, config.models_file), config.model_id)
        self.history = History(self.data_dir, self.model.id)
        self.database = database
        self.machine = machine_name(self.data_dir)
        self.model_class = config.model_class
        self.certificate = certificate_of(self.data_dir, config.certificate, config.certificate_key)
        room_for(self.certificate)  # a certificate that cannot sign is found now, not with a member's video
        self._label_frames = config.label_frames
        self._keep_latents = config.keep_latents
        self._signing = Signing(
            str(self.data_dir),
            chain=None if config.certificate is None else str(config.certificate.resolve()),
            key=None if config.certificate_key is None else str(config.certificate_key.resolve()),
        )
        self.child = RenderChild(self.model, hang_s=config.hang_s, load_s=config.load_s)
        self._announced: LoadedModel | None = None
        self.client = httpx.AsyncClient(timeout=tus.TIMEOUT)
        self.broken = asyncio.Event()  # the model can no longer be loaded: jobs are for other workers
        self._closing = asyncio.Event()
        self._gpu_queue = gpu_queue(config.model_class, self.model.id)
        self._release_queue = release_queue(config.model_class, self.model.id)
        self._upload_queue = upload_queue(self.machine)
        self.engine = Engine(
            database,
            config.database_url,
            role="worker",
            queues=self._queues(),
            on_fenced=self.child.kill,
        )
        self._progress = JobProgress(database, worker_id=self.engine.executor_id)
        watch = partial(watch_for_cancel, database)
        self._uploads = Uploads(
            database,
            self.data_dir,
            self.client,
            write_progress=self._progress.write,
            watch_for_cancel=watch,
            closing=self._closing,
        )
        self._originals = Originals(database, self.data_dir, watch_for_cancel=watch, closing=self._closing)
        self._files = files = ModelFiles(database, self.data_dir, closing=self._closing)
        strips = Filmstrips(self.child, data_dir=self.data_dir, model_id=self.model.id, adapter_of=files.release_of)
        self.engine.workflow(FILMSTRIP_WORKFLOW)(self._as_workflow("filmstrip", strips.make))
        self.engine.workflow(RENDER_WORKFLOW)(self._as_workflow("render", self.render))
        self.engine.workflow(UPLOAD_WORKFLOW)(self._as_workflow("upload", self.upload))
        self.engine.workflow(ORIGINAL_WORKFLOW)(self._as_workflow("sending of the original", self.send_original))

    def _queues(self) -> list[QueueSpec]:
        renders = [
            QueueSpec(
                name,
                1,
                one_per_member=True,
                # The next job is taken once this one's steps are done, and one ahead at most: a job that would only
                # wait here is for other workers.
                spared=lambda: min(1, self.child.finishing),
            )
            for name in (self._gpu_queue, self._release_queue)
        ]
        return [
            *renders,
            QueueSpec(self._upload_queue, 2),
            QueueSpec(originals_queue(self.machine), 2),
        ]

    def _as_workflow(self, name: str, function: JobFunction) -> JobFunction:
        async def body(argument: JsonObject) -> JsonObject:
            start = time.monotonic()
            log.info("The %s begins.", name)
            try:
                end = await function(argument)
            except HandOverError:
                # Nothing may be recorded: another worker takes the job over as it is, once our lease is released.
                await asyncio.Event().wait()
                raise
            except Exception as error:
                log.exception("A job failed for a reason of this worker's own")
                sentence = f"The worker failed ({type(error).__name__}); its log says why."
                end = JobEnd("failed", sentence).to_json()
            log.info("The %s ends after %.1f s: %s.", name, time.monotonic() - start, end.get("outcome"))
            return end

        async def workflow(argument: JsonObject) -> JsonObject:
            with about(video=_video_of(argument)):
                return await Engine.step(name, body, argument)

        return workflow

    async def close(self) -> None:
        """Stop serving; other workers take unfinished jobs over."""
        self._closing.set()
        await self.child.close()
        await withdraw(self.database, self.engine.executor_id)
        await self.engine.close()
        await self.client.aclose()

    async def drain(self, seconds: float, at_once: asyncio.Event) -> None:
        """Let the jobs under way end (see drain.py); `close` hands over those that have not."""
        renders = (self._gpu_queue, self._release_queue)
        await drain(self.engine, renders, self._upload_queue, seconds, at_once)

    async def announce(self) -> None:
        """Write to the database which model is loaded here, unless that stands there already."""
        model = self.child.loaded_model
        if model is None or model == self._announced:
            return
        try:
            await announce(self.database, self.engine.executor_id, self.machine, self.model_class, model)
            self._announced = model
        except SQLAlchemyError as error:  # it is only for people; jobs come by the lease
            log.warning("The loaded model could not be announced (%s).", type(error).__name__)

    # ------------------------------------------------------------------ render

    async def render(self, argument: JsonObject) -> JsonObject:
        """Render one video: RenderJob in, RenderResult or JobEnd out. A repetition finds the finished file."""
        try:
            job = RenderJob.from_json(argument)
        except (TypeError, ValueError):
            return UNREADABLE.to_json()
        if job.model_id != self.model.id:
            return JobEnd("failed", f"This worker renders with {self.model.id}, not with {job.model_id}.").to_json()
        video = self.data_dir / "videos" / f"{job.video_id}.mp4"
        revision = (
            self.child.loaded_model.revision if self.child.loaded_model is not None else known_revision(self.model)
        )
        finished = await asyncio.to_thread(finished_result, video, job, revision)
        if finished is not None and self._is_classified(finished):
            return {**finished, "machine": self.machine}
        start = time.monotonic()
        try:
            release = await self._files.release_of(job)
        except AdapterError as error:
            return JobEnd("failed", str(error)).to_json()
        request = RenderRequest(
            prompt=job.prompt,
            seed=job.seed,
            video_path=str(video),
            poster_path=str(video.with_suffix(".jpg")),
            fit_bytes=job.fit_bytes,
            label_frames=self._label_frames,
            signing=self._signing,
            latents_path=str(latents_path(video)) if self._keep_latents else None,
            release=release,
            best_of=await self._files.taste_of(job),
        )
        on_tick = await self._progress.of_render(
            job.video_id, model_id=self.model.id, model=self.child.loaded_model, history=self.history
        )
        try:
            async with watch_for_cancel(self.database, job.video_id) as cancel:
                rendered = await self.child.render(request, on_tick=on_tick, cancel=cancel)
        except RenderError as error:
            if error.kind is FailureKind.LOAD:
                log.error("%s", error)
                self.broken.set()
            if error.kind in {FailureKind.LOAD, FailureKind.CLOSED}:
                raise HandOverError from None
            outcome: Literal["cancelled", "failed"] = "failed"
            if error.kind is FailureKind.CANCELLED:
                outcome = "cancelled"
            return JobEnd(outcome, str(error)).to_json()
        await self._remember_timings(rendered.measured)
        await self.announce()  # anew where memory ran out, and the model is now loaded in a lighter way
        result = self._result_of(request, rendered, round(time.monotonic() - start, 3)).to_json()
        try:
            await asyncio.to_thread(remember_result, video, job, result)
        except OSError as error:  # the note only spares a repetition the work; the video is what matters
            log.warning("The note on video %s could not be written (%s).", job.video_id, error.strerror)
        return result

    def _result_of(self, request: RenderRequest, rendered: RenderedVideo, seconds: float) -> RenderResult:
        return RenderResult(
            video_path=request.video_path,
            poster_path=request.poster_path,
            sha256=rendered.sha256,
            size_bytes=rendered.size_bytes,
            width=rendered.width,
            height=rendered.height,
            fps=rendered.fps,
            frames=rendered.frames,
            seconds=seconds,
            model_id=rendered.model_id,
            model_revision=rendered.model_revision,
            machine=self.machine,
            provenance=rendered.provenance,
            findings=None if rendered.findings is None else asdict(rendered.findings),
            release=_name_of(request.release),
        )

    def _is_classified(self, finished: JsonObject) -> bool:
        """Return True when today's classifier has looked at an earlier result, or there is no classifier."""
        if self.model.classifier is None:
            return True
        findings = finished.get("findings")
        identity = findings.get("classifier") if isinstance(findings, dict) else None
        return identity == (self.child.loaded_model.classifier if self.child.loaded_model is not None else "")

    async def _remember_timings(self, measured: Measured) -> None:
        """Store the seconds that this render took, for the next one's estimate."""
        model = self.child.loaded_model
        if model is None:
            return
        try:
            seconds = dict(measured.seconds)
            if measured.prompt_known:
                del seconds["prompt"]  # it says nothing of the next prompt
            await asyncio.to_thread(self.history.add, kind_of(model), seconds)
        except OSError as error:  # an estimate less; the video is what matters
            log.warning("The timings of the render could not be written (%s).", error.strerror)

    # ------------------------------------------------------------------ upload

    async def upload(self, argument: JsonObject) -> JsonObject:
        """Upload one file: UploadJob in, {"outcome": "done"} or JobEnd out. A repetition resumes."""
        return await self._uploads.upload(argument)

    async def send_original(self, argument: JsonObject) -> JsonObject:
        """Send one file to the bot: OriginalJob in, {"outcome": "done"} or JobEnd out. A repetition resumes."""
        return await self._originals.send(argument)


# --------------------------------------------------------------------------- entries


async def run_worker(
    config: WorkerConfig,
    *,
    stop: asyncio.Event,
    at_once: asyncio.Event | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve jobs until `stop` is set; take none before the model is loaded and `on_ready` has been called.

    The jobs under way then have `config.drain_s` seconds, unless `at_once` is set too; the rest is handed over.
    Raises ModelError, ValueError, or RenderError of kind `load`, also when the model cannot be loaded again later;
    and whatever the database raises.
    """
    await upgrade_database(config.database_url)
    database = open_database(config.database_url)
    try:
        worker = Worker(config, database)
        try:
            if await first_of(worker.child.warm(), stop):
                _log_model(worker)
                await worker.engine.launch()
                await worker.announce()
                if on_ready is not None:
                    on_ready()
                if not await first_of(worker.broken.wait(), stop):
                    await worker.drain(config.drain_s, at_once or asyncio.Event())
        finally:
            await worker.close()
        if worker.broken.is_set():
            raise RenderError(FailureKind.LOAD, "The model can no longer be loaded; the log says why.")
    finally:
        await database.dispose()


def _name_of(release: ReleaseAdapter | None) -> JsonObject | None:
    return None if release is None else asdict(ReleaseName(release.number, release.adapter_sha256))


def _log_model(worker: Worker) -> None:
    model = worker.child.loaded_model
    if model is not None:
        log.info("Model %s at %s is loaded.", model.model_id, model.revision[:12])
    signer = worker.certificate
    origin = "self-made, vouched for by nobody" if signer.kind == "self-made" else "the operator's"
    log.info("Videos are signed with the certificate %s (%s).", signer.name, origin)
    for sentence in model.notes if model is not None else ():
        log.info("%s", sentence)


async def check(config: WorkerConfig) -> JsonObject:
    """Load the model, render two videos and return their measures. Raises RenderError, ModelError or ValueError."""
    data_dir = config.data_dir.resolve()
    model = choose(load_models(data_dir, config.models_file), config.model_id)
    return await check_model(model, data_dir, hang_s=config.hang_s, load_s=config.load_s)
