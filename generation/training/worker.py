"""The training worker: takes training jobs, has another process train, and hands the candidate's file over.

It has no key of any kind, as a worker that renders. Of members it gets prompts and counts of votes: no name, no
pseudonym, no text of feedback. Imports no torch and no Discord.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.adapters.file import AdapterError, adapter_path, check_adapter, check_numbers
from generation.adapters.taste import check_taste, trained_taste_path
from generation.adapters.transfer import UnwantedError, fetch, fetch_file, send
from generation.feedback.tuning.examples import LATENTS, LIST, Example, ExamplesError, read_examples, write_examples
from generation.feedback.tuning.order import TASTE, Order
from generation.feedback.tuning.recipe import Recipe
from generation.jobs import (
    CANDIDATE_WORKFLOW,
    TRAINING_WORKFLOW,
    CandidateJob,
    JobEnd,
    ReleaseName,
    TrainingJob,
    TrainingPhase,
    TrainingResult,
    candidates_queue,
    training_queue,
)
from generation.models.registry import choose, full_revision, load_models
from generation.queue.engine import Engine, QueueSpec
from generation.render_messages import FailureKind, ReleaseAdapter
from generation.strict_json import JsonObject
from generation.training.latents import gather
from generation.training.tuning_process import TrainingEndedError, TrainingError, TuningProcess
from generation.worker.files import machine_name
from generation.worker.progress import JobProgress
from generation.worker.render_process import RenderChild, RenderError
from generation.worker.uploads import FIRST_PAUSE_S, UNREADABLE, HandOverError
from migrations.database import open_database, upgrade_database
from migrations.files import commit_draft, draft_path, sha256_file, write_private

log = logging.getLogger(__name__)

FOLDER = "trainings"  # in the data folder: one folder a job
DONE = "done.json"
STATE = "checkpoint.safetensors"
JobFunction = Callable[[JsonObject], Awaitable[JsonObject]]


@dataclass(frozen=True)
class TrainingConfig:
    """The configuration of a training worker. None of it opens anything but the database."""

    database_url: str
    data_dir: Path
    model_class: str = "tiny"
    model_id: str = "tiny"
    models_file: Path | None = None
    hang_s: float = 300.0  # of the process that renders voted videos again
    load_s: float = 1800.0  # the longest silence of the process that trains, and of one that loads a model

    def __repr__(self) -> str:
        return f"TrainingConfig({self.model_class}/{self.model_id})"  # a database URL may carry a password


class TrainingWorker:
    """The jobs of one training worker. One candidate is trained at a time."""

    def __init__(self, config: TrainingConfig, database: AsyncEngine) -> None:
        """Raise ModelError or ValueError with a sentence when the model or the data folder cannot be used."""
        self.data_dir = config.data_dir.resolve()
        self.model = choose(load_models(self.data_dir, config.models_file), config.model_id)
        self.database = database
        self.machine = machine_name(self.data_dir)
        self.process = TuningProcess(silence_s=config.load_s)
        self._config = config
        self._child: RenderChild | None = None
        self._closing = asyncio.Event()
        self.engine = Engine(
            database,
            config.database_url,
            role="worker",
            queues=[
                QueueSpec(training_queue(config.model_class, self.model.id), 1),
                QueueSpec(candidates_queue(self.machine), 1),
            ],
            on_fenced=self._kill,
        )
        self._progress = JobProgress(database, worker_id=self.engine.executor_id)
        self.engine.workflow(TRAINING_WORKFLOW)(self._as_workflow("training", self.train))
        self.engine.workflow(CANDIDATE_WORKFLOW)(self._as_workflow("sending of the candidate", self.send_candidate))

    def _as_workflow(self, name: str, function: JobFunction) -> JobFunction:
        async def body(argument: JsonObject) -> JsonObject:
            start = time.monotonic()
            log.info("The %s begins.", name)
            try:
                end = await function(argument)
            except HandOverError:
                # Nothing may be recorded: another worker takes the job over, or this one goes on after its restart.
                await asyncio.Event().wait()
                raise
            except Exception as error:
                log.exception("A job failed for a reason of this worker's own")
                sentence = f"The training worker failed ({type(error).__name__}); its log says why."
                end = JobEnd("failed", sentence).to_json()
            log.info("The %s ends after %.1f s: %s.", name, time.monotonic() - start, end.get("outcome"))
            return end

        async def workflow(argument: JsonObject) -> JsonObject:
            return await Engine.step(name, body, argument)

        return workflow

    def _kill(self) -> None:
        """End what runs at once: other workers take the job over."""
        self.process.kill()
        if self._child is not None:
            self._child.kill()

    async def close(self) -> None:
        """Stop serving; the checkpoint stays, and the job goes on here after a restart, or anew at another worker."""
        self._closing.set()
        self._kill()
        if self._child is not None:
            await self._child.close()
        await self.engine.close()

    # ------------------------------------------------------------------ training

    async def train(self, argument: JsonObject) -> JsonObject:
        """Train one candidate: TrainingJob in, TrainingResult or JobEnd out. A repetition goes on, or finds the result.

        Raises HandOverError when the worker ends.
        """
        try:
            job = TrainingJob.from_json(argument)
            recipe = Recipe.of(dict(job.recipe))
        except (TypeError, ValueError):
            return UNREADABLE.to_json()
        try:
            return (await self._train(job, recipe)).to_json()
        except (TrainingError, AdapterError, ExamplesError) as error:
            reason = str(error)
        except RenderError as error:
            if error.kind is FailureKind.CLOSED:
                raise HandOverError from None
            reason = str(error)
        except TrainingEndedError:
            raise HandOverError from None
        if self._closing.is_set():  # it failed because it was ended
            raise HandOverError
        return JobEnd("failed", reason).to_json()

    async def _train(self, job: TrainingJob, recipe: Recipe) -> TrainingResult:
        start = time.monotonic()
        folder = self.data_dir / FOLDER / folder_name(job)
        finished = await asyncio.to_thread(_finished, folder, self.data_dir, self.machine)
        if finished is not None:
            return finished
        await self._require_revision(job)
        examples = await self._examples(job, folder)
        live = None if job.release is None else await self._release(job.release)
        await self._write(job, "rendering", 0, len(examples))
        complete, notes = await gather(
            examples,
            folder / "data",
            self.data_dir,
            child=self._begin_child,
            releases=await self._releases_of(examples),
            on_video=lambda number, total: self._write(job, "rendering", number, total),
        )
        self._child = None
        await asyncio.to_thread(write_examples, folder / "data", complete)
        order = Order(
            data=str(folder / "data"),
            model=self.model,
            out=str(folder),
            recipe=recipe,
            live=None if live is None else live.path,
            guard_videos=job.guard_videos,
        )
        if self._closing.is_set():
            raise HandOverError
        said = await self.process.run(await asyncio.to_thread(order.write), self.model, _Ticks(self, job))
        result = await asyncio.to_thread(self._result_of, said, len(complete), notes, time.monotonic() - start)
        await asyncio.to_thread(_clean_up, folder, result)
        return result

    async def _require_revision(self, job: TrainingJob) -> None:
        """Raise TrainingError where the model here is another one than that which rendered the voted videos."""
        if job.model_id != self.model.id:
            raise TrainingError(f"This worker trains {self.model.id}, not {job.model_id}.")
        revision = await asyncio.to_thread(full_revision, self.model)
        if revision != job.base_revision:
            raise TrainingError(
                f"The model {self.model.id} is at the revision {revision} at the training worker, and the voted videos "
                f"were rendered at {job.base_revision}: an adapter would be for other weights."
            )

    async def _examples(self, job: TrainingJob, folder: Path) -> list[Example]:
        """Return the examples of a job, brought here in parts."""
        path = folder / "list" / LIST
        await self._patiently(lambda: fetch_file(self.database, path, job.examples_sha256))
        return await asyncio.to_thread(read_examples, path.parent)

    async def _releases_of(self, examples: list[Example]) -> dict[str, ReleaseAdapter]:
        """Return the releases that rendered the voted videos, as far as their adapters are to be had."""
        names = {each.release: each.release_number or 1 for each in examples if each.release is not None}
        adapters: dict[str, ReleaseAdapter] = {}
        for sha256, number in names.items():
            try:
                adapters[sha256] = await self._release(ReleaseName(number, sha256))
            except AdapterError as error:
                log.warning("Videos of release %d can only be used if their latents are here: %s", number, error)
        return adapters

    async def _release(self, name: ReleaseName) -> ReleaseAdapter:
        await self._patiently(lambda: fetch(self.database, self.data_dir, name.adapter_sha256))
        return ReleaseAdapter(name.number, name.adapter_sha256, str(adapter_path(self.data_dir, name.adapter_sha256)))

    async def _patiently(self, call: Callable[[], Awaitable[object]]) -> None:
        """Wait while the database is away: an outage is no failure. Raises HandOverError when the worker ends."""
        while not self._closing.is_set():
            try:
                await call()
            except SQLAlchemyError as error:
                log.warning("A file of a training waits: the database is away (%s).", type(error).__name__)
                await asyncio.sleep(FIRST_PAUSE_S)
            else:
                return
        raise HandOverError

    def _begin_child(self) -> RenderChild:
        self._child = RenderChild(self.model, hang_s=self._config.hang_s, load_s=self._config.load_s)
        return self._child

    async def _write(
        self, job: TrainingJob, phase: TrainingPhase, done: int, total: int, eta_s: float | None = None
    ) -> None:
        await self._progress.write(job.progress_id, phase, done, total, eta_s)

    def _result_of(self, said: JsonObject, videos: int, notes: list[str], seconds: float) -> TrainingResult:
        """Return the result of what the process said, once its file is checked and lies where adapters lie.

        Raises AdapterError for a file that no worker would render with.
        """
        path, sha256 = Path(str(said["adapter"])), str(said["sha256"])
        check_adapter(path, sha256)
        check_numbers(path)
        target = adapter_path(self.data_dir, sha256)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = draft_path(target)
        shutil.copyfile(path, draft)
        commit_draft(draft, target)
        taste_sha256, taste_bytes = self._keep_taste(path.with_name(TASTE), sha256)
        guards, told = said.get("guards"), said.get("notes")
        report = guards if isinstance(guards, dict) else {}
        return TrainingResult(
            adapter_sha256=sha256,
            size_bytes=target.stat().st_size,
            machine=self.machine,
            videos=videos,
            drift=float(str(said["drift"])),
            seconds=round(seconds, 1),
            guards_passed=bool(report.get("passed", True)),
            guards=_texts(report.get("sentences")),
            vetoes=_texts(report.get("vetoes")),
            notes=[*notes, *_texts(told)],
            taste_sha256=taste_sha256,
            taste_bytes=taste_bytes,
        )

    def _keep_taste(self, path: Path, adapter_sha256: str) -> tuple[str | None, int]:
        """Put the taste scorer of a training beside its adapter; return its hash and size: None and 0 without one."""
        try:
            taste_sha256 = sha256_file(path)
            check_taste(path, taste_sha256)
            target = trained_taste_path(self.data_dir, adapter_sha256)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(target, path.read_bytes())
        except (OSError, AdapterError) as error:  # it only spares members worse videos: the candidate is what matters
            log.warning("A training left no taste scorer that can be used: %s", error)
            return None, 0
        return taste_sha256, target.stat().st_size

    # ------------------------------------------------------------------ the way to the bot

    async def send_candidate(self, argument: JsonObject) -> JsonObject:
        """Send a candidate's files to the bot: CandidateJob in, {"outcome": "done"} or JobEnd out."""
        try:
            job = CandidateJob.from_json(argument)
        except (TypeError, ValueError):
            return UNREADABLE.to_json()
        path = adapter_path(self.data_dir, job.adapter_sha256)
        try:
            await asyncio.to_thread(check_adapter, path, job.adapter_sha256)
            await self._patiently(lambda: send(self.database, path, job.adapter_sha256))
        except AdapterError as error:
            return JobEnd("file_missing", str(error)).to_json()
        except UnwantedError:
            return JobEnd("cancelled", "The bot does not wait for this candidate any more.").to_json()
        if job.taste_sha256 is not None:
            await self._send_taste(job.adapter_sha256, job.taste_sha256)
        return {"outcome": "done"}

    async def _send_taste(self, adapter_sha256: str, taste_sha256: str) -> None:
        """Send the taste scorer too. No candidate fails for it: the bot says in its log where it did not come."""
        path = trained_taste_path(self.data_dir, adapter_sha256)
        try:
            await asyncio.to_thread(check_taste, path, taste_sha256)
            await self._patiently(lambda: send(self.database, path, taste_sha256))
        except (AdapterError, UnwantedError, OSError) as error:
            log.warning("The taste scorer of a candidate is not sent (%s).", str(error) or type(error).__name__)


class _Ticks:
    """Writes the progress of a training, with an estimate of what is left of its steps."""

    def __init__(self, worker: TrainingWorker, job: TrainingJob) -> None:
        self._worker, self._job = worker, job
        self._began: tuple[str, int, float] = ("", 0, 0.0)

    async def __call__(self, what: str, done: int, total: int) -> None:
        kind, first, start = self._began
        if kind != what:
            self._began = (what, done, time.monotonic())
        left = (time.monotonic() - start) / (done - first) * (total - done) if kind == what and done > first else None
        await self._worker._write(self._job, phase_of(what), done, total, left)


def phase_of(what: str) -> TrainingPhase:
    """Return the phase of a training, as the process that trains names it."""
    phases: dict[str, TrainingPhase] = {"prompts": "prompts", "videos": "videos", "guards": "guards"}
    return "fresh" if what.startswith("fresh videos") else phases.get(what, "training")


def folder_name(job: TrainingJob) -> str:
    """Return the name of a job's folder: the same job finds its checkpoint there, another one nothing."""
    text = json.dumps(job.to_json(), sort_keys=True)
    return f"{job.candidate_id}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _finished(folder: Path, data_dir: Path, machine: str) -> TrainingResult | None:
    """Return the result of a job that is done, if its file is whole."""
    try:
        result = TrainingResult.from_json({**json.loads((folder / DONE).read_text()), "machine": machine})
        check_adapter(adapter_path(data_dir, result.adapter_sha256), result.adapter_sha256)
    except (OSError, ValueError, TypeError, AdapterError):
        return None
    return result


def _clean_up(folder: Path, result: TrainingResult) -> None:
    """Keep result, recipe, metrics and guards of a training, and delete what only the next step would need."""
    write_private(folder / DONE, json.dumps(result.to_json()).encode())
    shutil.rmtree(folder / "data" / LATENTS, ignore_errors=True)
    (folder / STATE).unlink(missing_ok=True)
    for fresh in folder.glob("fresh-*"):
        shutil.rmtree(fresh, ignore_errors=True)


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


async def run_training_worker(
    config: TrainingConfig, *, stop: asyncio.Event, on_ready: Callable[[], None] | None = None
) -> None:
    """Serve training jobs until `stop` is set; a training under way goes on after a restart.

    Raises ModelError or ValueError where the model cannot be used, and whatever the database raises.
    """
    await upgrade_database(config.database_url)
    database = open_database(config.database_url)
    try:
        worker = TrainingWorker(config, database)
        try:
            await worker.engine.launch()
            log.info("Candidates of the model %s are trained here.", worker.model.id)
            if on_ready is not None:
                on_ready()
            await stop.wait()
        finally:
            await worker.close()
    finally:
        await database.dispose()
