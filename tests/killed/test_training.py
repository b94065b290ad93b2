"""A training, with bot, training worker and tuning process killed in it: it goes on, and ends in the same candidate."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from sqlalchemy import delete, func, insert, select

from bot.demo.discord.people import wait_for
from bot.files.lessons import LISTS
from bot.store.learning import candidates, choices
from generation.adapters.file import adapter_path, check_adapter
from generation.adapters.taste import trained_taste_path
from generation.adapters.transfer import offer_file
from generation.feedback.dataset.prompts import split_of
from generation.feedback.tuning.examples import LIST
from generation.feedback.tuning.recipe import Recipe
from generation.jobs import TrainingJob, TrainingResult
from generation.models.registry import choose, full_revision, load_models
from generation.training.worker import TrainingConfig, TrainingWorker
from migrations.database import now_ms
from migrations.files import sha256_file
from migrations.schema import adapter_parts, commitments, executor_leases, leases, rounds, videos, votes
from migrations.schema import candidates as table
from migrations.states.learning import CandidateState
from tests.builders.bot_process import PATIENT_S, Death, House, open_house
from tests.builders.killed import ROOT
from tests.generation.families.built import build

LOOKS = "width = 32\nheight = 32\nframes = 9\nsteps = 3\n"
RECIPE = asdict(Recipe(steps=24, batch=4, warm_up=2, rank=2, save_every=4, drift_cap=10.0))
PROMPTS = [prompt for prompt in (f"a prompt number {n}" for n in range(60)) if split_of(prompt) == "train"][:4]
MEMBERS = range(501, 508)
FIRST_SAVED = 4  # steps at least, before anybody is killed


def step(name: str, moment: str = "done") -> Death:
    return {"step": name, "moment": moment}


# By the part of the training in which the bot dies there, in their order.
DEATHS: dict[str, dict[str, Death]] = {
    "command": {"begun, not answered": {"place": "bot.cogs.learning.trainings:TrainingOpening.begin"}},
    "before": {
        "votes gathered": step("gather the votes"),
        "candidate entered": step("begin the candidate"),
        "message sent": step("post the training", "sent"),
        "votes offered": step("offer the votes"),
    },
    "after": {
        "training over": step("follow the training"),
        "file recorded": step("record the file"),
        "file brought": step("bring the file"),
        "ready": step("let it be ready"),
        "votes withdrawn": step("withdraw the votes"),
        "end told": step("tell how it ended", "sent"),
    },
}
QUICK = frozenset({"candidate entered", "file recorded"})


class Workers:
    """`flock worker --train` as processes, one after the other, on one data folder."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.data_dir = house.folder / "worker"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command; it serves the database of the house."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        settings = {
            "FLOCK_DATABASE_URL": self._house.settings["database_url"], "FLOCK_DATA_DIR": str(self.data_dir),
            "FLOCK_MODEL_ID": "wan", "FLOCK_MODELS_FILE": self._house.settings["models_file"], "OMP_NUM_THREADS": "1",
            "FLOCK_METRICS_PORT": "0",
        }  # fmt: skip
        with (self._house.folder / "worker.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.builders.killed"],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT, env={**kept, **settings},
            )  # fmt: skip
        assert self.process.stdin is not None
        wanted = {"arguments": ["worker", "--train"], "folder": str(self._house.folder)}
        self.process.stdin.write(json.dumps(wanted).encode())
        self.process.stdin.close()

    async def until_saved(self, steps: int) -> int:
        """The step of the checkpoint, once it is at least that one."""

        async def look() -> int | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            saved = self.saved()
            return saved if saved is not None and saved >= steps else None

        return await wait_for(f"a checkpoint\n{self.log()}", look, seconds=PATIENT_S, every=0.02)

    def saved(self) -> int | None:
        """The step of the checkpoint that lies there."""
        for path in self.data_dir.glob("trainings/*/checkpoint.safetensors"):
            try:
                with safe_open(path, "np") as file:
                    return int(file.metadata()["step"])
            except OSError:  # it was deleted, as the training is over
                return None
        return None

    def tuning(self) -> int | None:
        """The process that trains for the worker."""
        assert self.process is not None
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if _is_tuning(int(child)):
                return int(child)
        return None

    async def kill(self) -> None:
        """SIGKILL, and the lease runs out."""
        assert self.process is not None
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        async with self._house.database.begin() as connection:
            await connection.execute(delete(executor_leases).where(executor_leases.c.role == "worker"))
            await connection.execute(delete(leases))

    def stop(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        """The end of what the workers said."""
        return (self._house.folder / "worker.log").read_text()[-4000:]


def _only(workers: Workers, name: str) -> Path:
    [path] = workers.data_dir.glob(f"trainings/*/{name}")
    return path


def _is_tuning(pid: int) -> bool:
    try:
        return b"generation.feedback" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture(scope="module")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    path = folder / "models.toml"
    path.write_text(f'[models.wan]\nsource = "{build("Wan", folder)}"\n{LOOKS}')
    return path


@pytest.fixture
def settings(models_file: Path) -> Iterator[dict[str, Any]]:
    yield {"model_id": "wan", "models_file": str(models_file), "train_recipe": json.dumps(RECIPE)}


async def a_voted_round(house: House, revision: str) -> None:
    """A closed round with a video of each prompt, which everybody votes on: the even ones up, the odd ones down."""
    async with house.database.begin() as connection:
        added = await connection.execute(
            insert(rounds)
            .values(
                guild_id=house.guild, number=900, task="t", opened_by=1, channel_id=house.channel, status="closed",
                opens_at_ms=0, closes_at_ms=now_ms(), chain_key=f"{900:064x}", result_message_id=1,
            )
            .returning(rounds.c.id)
        )  # fmt: skip
        round_id = int(added.scalar_one())
        for number, prompt in enumerate(PROMPTS):
            video_id = str(70_000 + number)
            await connection.execute(
                insert(videos).values(
                    id=video_id, guild_id=house.guild, round_id=round_id, member_id=501, member_name="maker",
                    prompt=prompt, status="published", created_at_ms=now_ms(), cancel_requested=False, seed=number,
                    model_id="wan", model_revision=revision, chain_key=f"{int(video_id):064x}",
                )
            )  # fmt: skip
            for member_id in MEMBERS:
                values = {"video_id": video_id, "member_id": member_id, "choice": 1 + number % 2}
                await connection.execute(insert(votes).values(**values, source="button", cast_at_ms=1))
    for member_id in MEMBERS:
        await choices.record_notice(house.database, house.guild, member_id)


async def begin_and_kill(house: House, wanted: Any) -> None:
    """A moderator begins the training, and the bot dies at the wanted steps before a worker has it."""

    async def ask() -> object:
        return await house.mira.command("admin model train")

    is_asked = False
    for part in ("command", "before"):
        for name, death in DEATHS[part].items():
            if wanted(name):
                await house.stop()
                await house.die_at(name, death, None if is_asked else ask)
                is_asked = True
    if not is_asked:
        await ask()


async def kill_both_in_the_training(workers: Workers) -> None:
    """The worker dies: its tuning process ends with it. Then the next worker's tuning process dies; both go on."""
    workers.start()
    saved = await workers.until_saved(FIRST_SAVED)
    orphan = workers.tuning()
    assert orphan is not None
    await workers.kill()

    async def gone() -> bool | None:
        return None if _is_tuning(orphan) else True

    await wait_for("the end of the orphan", gone, seconds=PATIENT_S)
    saved = max(saved, workers.saved() or 0)
    workers.start()

    async def training() -> int | None:
        assert workers.process is not None
        assert workers.process.poll() is None, workers.log()
        assert (workers.saved() or saved) >= saved  # it does not begin anew
        return workers.tuning()

    successor = await wait_for(f"the training to go on\n{workers.log()}", training, seconds=PATIENT_S, every=0.05)
    assert successor != orphan
    os.kill(successor, signal.SIGKILL)


async def tell(folder: Path, settings: dict[str, Any], wanted: Any) -> None:
    """A training from its command to its candidate, and what is left of it."""
    model = choose(load_models(folder, Path(settings["models_file"])), "wan")
    async with open_house(folder, **settings) as house:
        workers = Workers(house)
        try:
            house.start()
            await house.online()
            await a_voted_round(house, full_revision(model))
            await begin_and_kill(house, wanted)
            if house.process is None:
                house.start()
            await kill_both_in_the_training(workers)
            for name, death in DEATHS["after"].items():
                if wanted(name):
                    await house.stop()
                    await house.die_at(name, death)
            if house.process is None:
                house.start()
            await house.online()
            await check(house, workers)
        finally:
            workers.stop()
    assert house.died_at == [name for part in DEATHS.values() for name in part if wanted(name)]


async def check(house: House, workers: Workers) -> None:
    """One candidate, one message, one data set for the ledger, nothing on offer; and the hash of a quiet training."""

    async def told() -> bool | None:
        texts = [each.text for each in await house.shown() if "Candidate " in each.text]
        return True if texts and "no member has judged it yet" in texts[0] else None

    await wait_for(f"the end of the training\n{house.log()}\n{workers.log()}", told, seconds=PATIENT_S, every=0.5)
    assert len([each for each in await house.shown() if "Candidate " in each.text]) == 1
    async with house.database.connect() as connection:
        [candidate] = await candidates.in_states(connection, "wan")
        assert await connection.scalar(select(func.count()).select_from(commitments)) == 1
    assert candidate.state == CandidateState.READY
    sha256 = candidate.adapter_sha256 or ""
    check_adapter(adapter_path(house.data_dir, sha256), sha256)
    quiet = await train_undisturbed(house, candidate.id)
    assert quiet.adapter_sha256 == sha256
    steps = [json.loads(line) for line in _only(workers, "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "loss" in line] == list(range(1, RECIPE["steps"] + 1))
    async with house.database.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(table)) == 1
        kept = {sha256, sha256_file(trained_taste_path(house.data_dir, sha256))}
        others = select(func.count()).select_from(adapter_parts).where(adapter_parts.c.sha256.not_in(kept))
        assert await connection.scalar(others) == 0


async def train_undisturbed(house: House, candidate_id: int) -> TrainingResult:
    """The same job at a worker that nobody kills."""
    async with house.database.connect() as connection:
        rows = await connection.exec_driver_sql(
            "SELECT workflow_input.inputs FROM workflow_input JOIN workflow_status USING (workflow_uuid) "
            "WHERE name = 'train_candidate'"
        )
        [inputs] = rows.scalars().all()
    job = TrainingJob.from_json(json.loads(inputs)["positionalArgs"][0])
    assert job.candidate_id == candidate_id
    path = house.data_dir / LISTS / job.data_root / LIST
    await offer_file(house.database, path, job.examples_sha256)
    config = TrainingConfig(
        house.settings["database_url"], house.folder / "quiet", "tiny", "wan", Path(house.settings["models_file"])
    )
    worker = TrainingWorker(config, house.database)
    try:
        end = await worker.train(job.to_json())
    finally:
        await worker.close()
    assert end["outcome"] == "done", end
    async with house.database.begin() as connection:
        await connection.execute(delete(adapter_parts).where(adapter_parts.c.sha256 == job.examples_sha256))
    return TrainingResult.from_json(end)


@pytest.mark.usefixtures("in_a_long_run")
async def test_a_killed_training_ends_in_the_same_candidate(tmp_path: Path, settings: dict[str, Any]) -> None:
    """SIGKILL for bot, training worker and tuning process: one candidate, with the bytes of a quiet training."""
    await tell(tmp_path, settings, QUICK.__contains__)


@pytest.mark.usefixtures("in_a_long_run")
async def test_wherever_the_bot_is_killed(tmp_path: Path, settings: dict[str, Any]) -> None:
    """At every step of the training's workflow."""
    await tell(tmp_path, settings, lambda _: True)
