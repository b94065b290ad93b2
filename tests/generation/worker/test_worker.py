"""The generation worker: its steps with real files, a real child and a real host, and workers that are killed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.host import EmbeddedHost, Fault, Faults, HostConfig
from generation.adapters.file import adapter_path
from generation.adapters.transfer import offer, offer_file
from generation.feedback.scoring.taste import seeds_of
from generation.hosting.livepeer import LivepeerHost
from generation.jobs import (
    FILMSTRIP_WORKFLOW,
    RENDER_WORKFLOW,
    BestOf,
    FilmstripJob,
    ReleaseName,
    RenderJob,
    UploadJob,
    gpu_queue,
    release_queue,
)
from generation.models.registry import ModelError
from generation.models.weights import tensors_of
from generation.queue.engine import Engine, QueueSpec
from generation.queue.reaper import ReaperTimes
from generation.video.latents import latents_path, read_latents
from generation.worker.eta import kind_of
from generation.worker.files import sha256_of
from generation.worker.registry import living_workers
from generation.worker.rerender import rerender
from generation.worker.worker import Worker, WorkerConfig, check
from migrations.database import open_database, upgrade_database
from migrations.schema import render_progress, rounds, upload_urls, videos
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.tastes import a_taste, features_of, write_taste
from tests.generation.holding import Held

KEY = "lp-test-key-0123456789"
JOB = RenderJob("42", "a red circle", 7, "quick")

PROCESS = """
import asyncio, signal, sys
from pathlib import Path
from generation.worker.worker import WorkerConfig, run_worker

async def main(url, data_dir, models_file, drain_s):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = WorkerConfig(url, Path(data_dir), "test", "slow", Path(models_file), drain_s=float(drain_s))
    await run_worker(config, stop=stop)

asyncio.run(main(*sys.argv[1:]))
"""


async def add_video(database: AsyncEngine, video_id: str, **more: Any) -> None:
    async with database.begin() as connection:
        await connection.execute(
            insert(rounds).values(
                id=1,
                guild_id=1,
                number=1,
                task="t",
                opened_by=1,
                channel_id=1,
                status="open",
                opens_at_ms=0,
                closes_at_ms=1,
                chain_key="r",
            )
        )
        values = {"member_id": 1, "member_name": "m", "prompt": "p", "status": "queued", "created_at_ms": 0, "seed": 1}
        await connection.execute(
            insert(videos).values(
                id=video_id, guild_id=1, round_id=1, model_id="quick", chain_key="v", **{**values, **more}
            )
        )


def adapter_for(worker: Worker) -> bytes:
    """An adapter of one layer of the worker's model."""
    [weights] = Path(worker.model.source, "transformer").glob("*.safetensors")
    layer = next(name for name in sorted(tensors_of(weights)) if name.endswith("attn1.to_q.weight"))
    out, into = tensors_of(weights)[layer].shape
    half = f"transformer.{layer.removesuffix('.weight')}.lora"
    return adapter_bytes({f"{half}_A.weight": (2, into), f"{half}_B.weight": (out, 2)})


async def until(what: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await what()):
            await asyncio.sleep(0.05)
        return found


@pytest.fixture
async def worker(database: AsyncEngine, database_url: str, data_dir: Path, models_file: Path) -> AsyncIterator[Worker]:
    """A worker that serves no queue: its steps are called by the test."""
    worker = Worker(WorkerConfig(database_url, data_dir, "test", "quick", models_file), database)
    yield worker
    await worker.close()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def host(tmp_path: Path, faults: Faults) -> AsyncIterator[EmbeddedHost]:
    async with EmbeddedHost(tmp_path / "host", KEY, config=HostConfig(haste=200.0), faults=faults) as host:
        yield host


@pytest.fixture
def livepeer(host: EmbeddedHost, worker: Worker) -> LivepeerHost:
    return LivepeerHost(host.api_base, KEY, host.watch_page, worker.client, retry_s=0.01)


def file_of(worker: Worker, data: bytes = b"video" * 1000) -> tuple[str, str]:
    path = worker.data_dir / "videos" / "42.mp4"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return str(path), sha256_of(path) or ""


async def upload_job(worker: Worker, livepeer: LivepeerHost) -> UploadJob:
    ticket = await livepeer.request_upload("42", creator="discord:1")
    return UploadJob("42", ticket.asset_id, ticket.tus_endpoint, *file_of(worker))


def kept_under(job: UploadJob) -> str:
    return f"{job.asset_id}:{job.sha256[:16]}"


async def url_of(database: AsyncEngine, asset_id: str) -> str | None:
    async with database.connect() as connection:
        url: str | None = await connection.scalar(select(upload_urls.c.url).where(upload_urls.c.asset_id == asset_id))
    return url


# --------------------------------------------------------------------------- what it is


def test_the_worker_loads_neither_torch_nor_discord_nor_a_chain() -> None:
    """Only its child has torch; Discord and the chain are the bot's."""
    heavy = ("torch", "diffusers", "discord", "web3")
    code = f"import sys, generation.worker.worker; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_database_password_is_not_shown(tmp_path: Path) -> None:
    """A configuration may be logged."""
    config = WorkerConfig("postgresql://flock:hunter2@db/flock", tmp_path)
    assert "hunter2" not in repr(config)


async def test_an_unknown_model_is_refused(database: AsyncEngine, sqlite_url: str, tmp_path: Path) -> None:
    """Before anything is started, with the names that there are."""
    with pytest.raises(ModelError, match="there are tiny"):
        Worker(WorkerConfig(sqlite_url, tmp_path, "test", "wan"), database)
    with pytest.raises(ModelError, match="there are tiny"):
        await check(WorkerConfig(sqlite_url, tmp_path, "test", "wan"))


# --------------------------------------------------------------------------- render


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_job_is_rendered_once_and_cancelled_when_unwanted(worker: Worker, database: AsyncEngine) -> None:
    """The step's result names the file; its repetition takes no child; a damaged file is rendered anew;
    and a video that its member cancels ends as cancelled."""
    first = await worker.render(JOB.to_json())
    assert (first["outcome"], first["machine"], first["frames"]) == ("done", worker.machine, 9)
    assert sha256_of(Path(first["video_path"])) == first["sha256"]
    assert Path(first["poster_path"]).stat().st_size > 0
    kept = latents_path(Path(first["video_path"]))
    assert read_latents(kept, first["provenance"]["latents"]["sha256"]) is not None
    json.dumps(first)
    async with database.connect() as connection:
        told = (await connection.execute(select(render_progress))).one()
    assert (told.video_id, told.phase, told.worker_id) == ("42", "encoding", worker.engine.executor_id)

    child = worker.child.pid
    written = Path(first["video_path"]).stat().st_mtime_ns
    assert await worker.render(JOB.to_json()) == first
    assert Path(first["video_path"]).stat().st_mtime_ns == written
    Path(first["video_path"]).write_bytes(b"damaged")
    assert told.eta_s is None  # a first render here: how long it takes to decode and encode is not known
    again = await worker.render(JOB.to_json())
    assert again["provenance"]["frames_sha256"] == first["provenance"]["frames_sha256"]
    assert sha256_of(Path(again["video_path"])) == again["sha256"] != first["sha256"]  # signed anew
    async with database.connect() as connection:
        told = (await connection.execute(select(render_progress))).one()
    assert 0 < told.eta_s < 60
    loaded = worker.child.loaded_model
    assert loaded is not None
    assert worker.history.usual(kind_of(loaded))["step"] > 0

    await add_video(database, "43", cancel_requested=True)
    ended = await worker.render(RenderJob("43", "p", 1, "quick").to_json())
    assert ended["outcome"] == "cancelled"
    assert not (worker.data_dir / "videos" / "43.mp4").exists()
    assert worker.child.pid == child


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_job_is_rendered_with_the_release_that_it_names(
    worker: Worker, database: AsyncEngine, tmp_path: Path
) -> None:
    """Its adapter comes through the database; result and card name it; the job after it has the base's frames."""
    plain = await worker.render(JOB.to_json())
    data = adapter_for(worker)
    path, sha256 = write_adapter(tmp_path / "bot", data)
    job = replace(JOB, video_id="43", release=ReleaseName(3, sha256))
    refused = await worker.render(job.to_json())
    assert (refused["outcome"], "the bot does not offer it" in refused["reason"]) == ("failed", True)
    await offer(database, path, sha256)
    made = await worker.render(job.to_json())
    assert made["release"] == made["provenance"]["model"]["release"] == {"number": 3, "adapter_sha256": sha256}
    assert made["provenance"]["frames_sha256"] != plain["provenance"]["frames_sha256"]
    assert adapter_path(worker.data_dir, sha256).read_bytes() == data
    assert await worker.render(job.to_json()) == made  # a repetition finds the file
    after = await worker.render(replace(JOB, video_id="44").to_json())
    assert "release" not in after
    assert after["provenance"]["frames_sha256"] == plain["provenance"]["frames_sha256"]
    assert "release" not in after["provenance"]["model"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_best_of_several_is_the_video(
    worker: Worker, database: AsyncEngine, models_file: Path, tmp_path: Path
) -> None:
    """Its taste comes through the database; progress grows over all of them; the card renders the same frames again.

    A job of a battle round, which asks for no choice, is rendered from its own seed.
    """
    loaded = await worker.child.warm()
    taste = a_taste(f"quick@{loaded.revision}", features_of(Path(worker.model.source)), liking=-1.0)
    path = tmp_path / "bot" / "taste.safetensors"
    sha256 = write_taste(path, taste)
    await offer_file(database, path, sha256)
    job = replace(JOB, best_of=BestOf(3, sha256))
    assert job.queue("test") == release_queue("test", "quick")
    steps: list[tuple[int, int]] = []
    write = worker._progress.write

    async def noted(video_id: str, phase: Any, step: int, of: int, *more: Any) -> None:
        steps.extend([(step, of)] if phase == "denoising" else [])
        await write(video_id, phase, step, of, *more)

    worker._progress.write = noted  # type: ignore[method-assign]  # it looks on
    made = await worker.render(job.to_json())
    card = made["provenance"]
    assert isinstance(card["best_of"].pop("score"), float)
    assert card["best_of"] == {
        "count": 3, "index": seeds_of(7, 3).index(card["seed"]), "first_seed": 7, "taste_sha256": sha256
    }  # fmt: skip
    assert steps == sorted(steps)
    assert {of for _, of in steps} == {60}
    assert read_latents(latents_path(Path(made["video_path"])), card["latents"]["sha256"]) is not None
    assert (await worker.render(job.to_json()))["sha256"] == made["sha256"]  # a repetition finds the file

    plain = (await worker.render(replace(JOB, video_id="43").to_json()))["provenance"]
    assert (plain["seed"], "best_of" in plain) == (7, False)
    assert (plain["frames_sha256"] == card["frames_sha256"]) is (card["seed"] == 7)
    await worker.child.close()
    again = await rerender(card, worker.data_dir, models_file)
    assert again.same_frames
    assert again.same_latents


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_filmstrip_comes_by_the_queue_of_releases(
    worker: Worker, database: AsyncEngine, tmp_path: Path
) -> None:
    """The base model and the release render the same prompt and seed; their frames are not the same."""
    await worker.child.warm()  # the embedded model is copied to its folder
    path, sha256 = write_adapter(tmp_path / "bot", adapter_for(worker))
    await offer(database, path, sha256)
    await worker.engine.launch()
    job = FilmstripJob("a red circle", 7, "quick", [ReleaseName(1, sha256)])
    queue = release_queue("test", "quick")
    async with database.begin() as connection:
        await worker.engine.submit(
            connection, FILMSTRIP_WORKFLOW, "filmstrip-1", job.to_json(), queue=queue, member_id=-9
        )
    end = await until(lambda: worker.engine.result("filmstrip-1"), seconds=300)
    assert end["outcome"] == "done"
    assert base64.b64decode(end["png"]).startswith(b"\x89PNG")
    first, second = sorted((worker.data_dir / "filmstrips").glob("*.mp4"))
    assert first.read_bytes() != second.read_bytes()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_worker_serves_jobs_with_a_release_and_without(worker: Worker) -> None:
    """From two queues: one of before there were releases serves the other alone, and never renders without one."""
    names = {queue.name for queue in worker._queues()}
    assert {gpu_queue("test", "quick"), release_queue("test", "quick")} <= names
    assert gpu_queue("test", "quick") != release_queue("test", "quick")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_jobs_that_cannot_be_read_end_with_a_sentence(worker: Worker) -> None:
    """A path in place of an id, a missing field, another model: no file, no exception, no child."""
    bad = [{**JOB.to_json(), "video_id": "../../x"}, {"video_id": "42"}, {**JOB.to_json(), "model_id": "wan"}]
    for argument in bad:
        assert (await worker.render(argument))["outcome"] == "failed"
    assert (await worker.upload({"video_id": "42"}))["outcome"] == "failed"
    assert worker.child.pid is None
    assert not (worker.data_dir / "videos").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_next_job_is_taken_while_one_is_encoded(worker: Worker, database: AsyncEngine) -> None:
    """Of the queue itself: another member's job is denoised beside the one that is encoded, the same member's waits,
    and so does a third one's; all of them end, each with its own file. What runs here is told to whoever asks."""
    await worker.child.warm()
    await worker.engine.launch()
    await worker.announce()
    [seen] = await living_workers(database)
    assert (seen.executor_id, seen.model_class, seen.model_id) == (worker.engine.executor_id, "test", "quick")
    assert (seen.machine, seen.device, seen.memory_mode) == (worker.machine, "cpu", "float32")
    folder = worker.data_dir / "videos"
    folder.mkdir(mode=0o700)
    held = Held(worker.child, folder / "1.mp4")

    async def submit(video_id: str, member_id: int) -> None:
        job = RenderJob(video_id, f"prompt {video_id}", 7, "quick").to_json()
        async with database.begin() as connection:
            await worker.engine.submit(
                connection,
                RENDER_WORKFLOW,
                f"job{video_id}",
                job,
                queue=gpu_queue("test", "quick"),
                member_id=member_id,
            )

    async def statuses() -> list[str]:
        found = await worker.engine.client.list_workflows_async(load_output=False)
        return [status.status for status in sorted(found, key=lambda each: each.workflow_id)]

    def encodes(video_id: str) -> Callable[[], Awaitable[bool]]:
        query = select(render_progress.c.phase).where(render_progress.c.video_id == video_id)

        async def look() -> bool:
            async with database.connect() as connection:
                return (await connection.scalar(query)) == "encoding"

        return look

    async def all_done() -> bool:
        return await statuses() == ["SUCCESS"] * 4

    await submit("1", 1)
    await until(encodes("1"))
    await submit("2", 2)
    await until(encodes("2"))
    await submit("3", 1)
    await submit("4", 3)
    await asyncio.sleep(1)  # some looks into the queue, of which nothing comes
    assert await statuses() == ["PENDING", "PENDING", "ENQUEUED", "ENQUEUED"]
    held.let_go()
    await until(all_done)
    results = [status.output for status in await worker.engine.client.list_workflows_async()]
    assert {result["outcome"] for result in results} == {"done"}
    assert len({sha256_of(Path(result["video_path"])) for result in results}) == 4


# --------------------------------------------------------------------------- upload


async def test_an_upload_arrives_and_its_address_is_forgotten(
    worker: Worker, database: AsyncEngine, livepeer: LivepeerHost
) -> None:
    """The host has the bytes; the address, a credential, does not stay; a repetition of the step is done at once."""
    job = await upload_job(worker, livepeer)
    assert await worker.upload(job.to_json()) == {"outcome": "done"}
    assert (await livepeer.asset(job.asset_id)).phase != "uploading"
    assert await url_of(database, kept_under(job)) == ""
    assert await worker.upload(job.to_json()) == {"outcome": "done"}
    async with database.connect() as connection:
        told = (await connection.execute(select(render_progress))).one()
    assert (told.phase, told.step > 0) == ("uploading", True)


async def test_an_upload_goes_on_where_it_stood(
    worker: Worker, database: AsyncEngine, livepeer: LivepeerHost, host: EmbeddedHost
) -> None:
    """The address of a process that died is used: the host sees no second creation."""
    job = await upload_job(worker, livepeer)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(b"video" * 1000))}
    begun = await worker.client.post(job.tus_endpoint, headers=headers)
    location = str(httpx.URL(job.tus_endpoint).join(begun.headers["location"]))
    part = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    await worker.client.patch(location, headers=part, content=b"video" * 300)
    async with database.begin() as connection:
        await connection.execute(insert(upload_urls).values(asset_id=kept_under(job), url=location, created_at_ms=0))
    host.faults.answers.append(Fault(500, method="POST", times=1000))
    assert await worker.upload(job.to_json()) == {"outcome": "done"}
    assert (await livepeer.asset(job.asset_id)).phase != "uploading"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_repeated_render_is_never_sent_behind_the_first_ones_bytes(
    worker: Worker, database: AsyncEngine, livepeer: LivepeerHost, host: EmbeddedHost, tmp_path: Path
) -> None:
    """Its signature makes it another file of the same length: the half upload of the first one is left alone."""
    job = await upload_job(worker, livepeer)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "5000"}
    begun = await worker.client.post(job.tus_endpoint, headers=headers)
    location = str(httpx.URL(job.tus_endpoint).join(begun.headers["location"]))
    part = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    await worker.client.patch(location, headers=part, content=b"video" * 300)
    async with database.begin() as connection:
        await connection.execute(insert(upload_urls).values(asset_id=kept_under(job), url=location, created_at_ms=0))
    _, other = file_of(worker, b"again" * 1000)
    assert (await worker.upload({**job.to_json(), "sha256": other})) == {"outcome": "done"}
    left = await worker.client.head(location, headers={"Tus-Resumable": "1.0.0"})
    assert left.headers.get("upload-offset") in {None, "1500"}
    assert any(path.read_bytes() == b"again" * 1000 for path in (tmp_path / "host").rglob("*") if path.is_file())


async def test_an_upload_that_the_host_forgot_is_gone(
    worker: Worker, database: AsyncEngine, livepeer: LivepeerHost, host: EmbeddedHost
) -> None:
    """The bot then asks for a new ticket."""
    job = await upload_job(worker, livepeer)
    async with database.begin() as connection:
        await connection.execute(
            insert(upload_urls).values(asset_id=kept_under(job), url=job.tus_endpoint, created_at_ms=0)
        )
    host.faults.answers.append(Fault(404, method="HEAD"))
    assert (await worker.upload(job.to_json()))["outcome"] == "upload_gone"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_refused_upload_ends_with_the_hosts_sentence(worker: Worker, livepeer: LivepeerHost) -> None:
    """An endpoint that the host does not accept is no outage: the job ends, and says nothing of the endpoint."""
    job = await upload_job(worker, livepeer)
    for endpoint in (job.tus_endpoint[:-4] + "xxxx", "ftp://127.0.0.1/x", "http://user:pw@127.0.0.1/x"):
        ended = await worker.upload({**job.to_json(), "tus_endpoint": endpoint})
        assert ended["outcome"] in {"failed", "upload_gone"}
        assert endpoint not in ended["reason"]
    assert (await worker.upload(job.to_json()))["outcome"] == "done"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_only_our_own_whole_files_are_uploaded(worker: Worker, livepeer: LivepeerHost) -> None:
    """A missing file, another file than was rendered, and a file elsewhere on the machine stay here."""
    job = await upload_job(worker, livepeer)
    secret = worker.data_dir / "machine"
    elsewhere = worker.data_dir / "videos" / ".." / "machine"
    for path, digest in [
        (job.video_path, "0" * 64),
        (job.video_path + "x", job.sha256),
        (str(secret), sha256_of(secret)),
        (str(elsewhere), sha256_of(secret)),
        ("/etc/hostname", sha256_of(Path("/etc/hostname"))),
    ]:
        assert (await worker.upload({**job.to_json(), "video_path": path, "sha256": digest}))[
            "outcome"
        ] == "file_missing"
    assert (await livepeer.asset(job.asset_id)).phase == "uploading"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_upload_waits_for_its_host_until_it_is_cancelled(
    worker: Worker, database: AsyncEngine, tmp_path: Path
) -> None:
    """A host that is away is no failure; the member's cancellation is heard meanwhile."""
    async with EmbeddedHost(tmp_path / "gone", KEY) as host:
        endpoint = f"{host.public_url}/tus/token"
    await add_video(database, "42")
    job = UploadJob("42", "asset", endpoint, *file_of(worker))
    uploading = asyncio.create_task(worker.upload(job.to_json()))
    done, _ = await asyncio.wait([uploading], timeout=1)
    assert not done
    async with database.begin() as connection:
        await connection.execute(update(videos).values(cancel_requested=True))
    assert (await asyncio.wait_for(uploading, 60))["outcome"] == "cancelled"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_upload_survives_its_hosts_absence(
    database: AsyncEngine, database_url: str, data_dir: Path, models_file: Path, tmp_path: Path
) -> None:
    """The host goes away before the bytes are sent and comes back on the same port: the upload is done."""
    worker = Worker(WorkerConfig(database_url, data_dir, "test", "quick", models_file), database)
    path = worker.data_dir / "videos" / "42.mp4"
    path.parent.mkdir()
    path.write_bytes(b"video" * 1000)
    config = HostConfig(haste=200.0)
    try:
        async with EmbeddedHost(tmp_path / "host", KEY, config=config) as host:
            port = int(host.public_url.rsplit(":", 1)[1])
            livepeer = LivepeerHost(host.api_base, KEY, host.watch_page, worker.client, retry_s=0.01)
            ticket = await livepeer.request_upload("42", creator="discord:1")
        job = UploadJob("42", ticket.asset_id, ticket.tus_endpoint, str(path), sha256_of(path) or "")
        uploading = asyncio.create_task(worker.upload(job.to_json()))
        done, _ = await asyncio.wait([uploading], timeout=1)
        assert not done
        async with EmbeddedHost(tmp_path / "host", KEY, config=config, port=port) as host:
            assert await asyncio.wait_for(uploading, 60) == {"outcome": "done"}
            livepeer = LivepeerHost(host.api_base, KEY, host.watch_page, worker.client, retry_s=0.01)
            assert (await livepeer.asset(ticket.asset_id)).phase != "uploading"
    finally:
        await worker.close()


# --------------------------------------------------------------------------- processes


@pytest.mark.usefixtures("in_a_long_run")
async def test_a_job_outlives_its_workers(sqlite_url: str, data_dir: Path, models_file: Path, tmp_path: Path) -> None:
    """One worker is killed and one is asked to stop while they render: each time the next one takes the job over,
    no child stays behind, and there is one result."""
    quicker = tmp_path / "models.toml"
    quicker.write_text(models_file.read_text().replace("steps = 1000", "steps = 150"))
    await upgrade_database(sqlite_url)
    database = open_database(sqlite_url)
    queue = gpu_queue("test", "slow")
    engine = Engine(
        database,
        sqlite_url,
        role="bot",
        queues=[QueueSpec("bot", 1), QueueSpec(queue, 1, one_per_member=True, listen=False)],
        times=ReaperTimes(beat=0.5, lease=10, scan=0.3),
    )
    await engine.launch()
    running: list[asyncio.subprocess.Process] = []

    async def start() -> asyncio.subprocess.Process:
        command = [sys.executable, "-c", PROCESS, sqlite_url, str(data_dir), str(quicker), "0"]
        running.append(await asyncio.create_subprocess_exec(*command))
        return running[-1]

    async def renders() -> str | None:
        query = select(render_progress.c.worker_id).where(
            render_progress.c.phase == "denoising", render_progress.c.step > 1
        )
        async with database.connect() as connection:
            worker_id: str | None = await connection.scalar(query)
        return worker_id if worker_id not in seen else None

    async def ended() -> bool:
        found = await engine.client.list_workflows_async(workflow_ids=["job"])
        return found[0].status not in {"PENDING", "ENQUEUED"}

    seen: list[str] = []
    try:
        job = RenderJob("42", "a red circle", 7, "slow").to_json()
        async with database.begin() as connection:
            await engine.submit(connection, RENDER_WORKFLOW, "job", job, queue=queue, member_id=1)
        first = await start()
        seen.append(await until(renders))
        children = _children(first.pid)
        first.send_signal(signal.SIGKILL)
        second = await start()
        seen.append(await until(renders))
        children += _children(second.pid)
        second.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(second.wait(), 60) == 0
        assert len(children) == 2
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
        assert not await ended()
        await start()
        await until(ended)
        found = await engine.client.list_workflows_async(workflow_ids=["job"])
        result = found[0].output or {}
        assert (found[0].status, result["outcome"]) == ("SUCCESS", "done")
        assert sha256_of(Path(result["video_path"])) == result["sha256"]
    finally:
        for process in running:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()
        await engine.close()
        await database.dispose()


async def test_the_command_cancels_then_renders_then_ends(sqlite_url: str, data_dir: Path, models_file: Path) -> None:
    """`flock worker`: a job that is cancelled in mid-render ends as cancelled and leaves no file, the next one is a
    video, and SIGTERM ends the worker with 0 and without a child."""
    quicker = data_dir.parent / "models.toml"
    quicker.write_text(models_file.read_text().replace("steps = 1000", "steps = 100"))
    await upgrade_database(sqlite_url)
    database = open_database(sqlite_url)
    queue = gpu_queue("test", "slow")
    engine = Engine(
        database,
        sqlite_url,
        role="bot",
        queues=[QueueSpec("bot", 1), QueueSpec(queue, 1, one_per_member=True, listen=False)],
    )
    await engine.launch()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FLOCK_")}
    environment |= {
        "FLOCK_DATABASE_URL": sqlite_url,
        "FLOCK_DATA_DIR": str(data_dir),
        "FLOCK_MODEL_CLASS": "test",
        "FLOCK_MODEL_ID": "slow",
        "FLOCK_MODELS_FILE": str(quicker),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bot", "worker", env=environment)

    async def submit(video_id: str) -> None:
        job = RenderJob(video_id, "a red circle", 7, "slow").to_json()
        async with database.begin() as connection:
            await engine.submit(connection, RENDER_WORKFLOW, f"job{video_id}", job, queue=queue, member_id=1)

    async def denoises() -> bool:
        query = select(render_progress.c.step).where(
            render_progress.c.video_id == "42", render_progress.c.phase == "denoising"
        )
        async with database.connect() as connection:
            return (await connection.scalar(query) or 0) > 1

    def result_of(video_id: str) -> Callable[[], Awaitable[Any]]:
        async def ended() -> Any:
            found = await engine.client.list_workflows_async(workflow_ids=[f"job{video_id}"])
            return found[0].output if found[0].status == "SUCCESS" else None

        return ended

    try:
        await add_video(database, "42")
        await submit("42")
        await until(denoises)
        async with database.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == "42").values(cancel_requested=True))
        assert (await until(result_of("42")))["outcome"] == "cancelled"
        assert not (data_dir / "videos" / "42.mp4").exists()
        await submit("43")
        result = await until(result_of("43"), 120)
        assert (result["outcome"], result["model_id"]) == ("done", "slow")
        assert sha256_of(Path(result["video_path"])) == result["sha256"]
        children = _children(process.pid)
        assert len(children) == 1
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
        assert not Path(f"/proc/{children[0]}").exists()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await engine.close()
        await database.dispose()


def _children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


assert os.name == "posix", "these tests kill processes by signal"
