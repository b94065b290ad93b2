"""The workflow of a training, in a live bot: from votes to a candidate, and whatever keeps it from one."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from bot.demo.discord.people import wait_for
from bot.domain.releases import Candidate
from bot.store.learning import choices, releases
from bot.workflows import training as training_workflow
from bot.workflows.automatic_training import AutomaticTraining
from bot.workflows.training import MACHINE_GONE
from generation.feedback.dataset.files import verify
from generation.feedback.dataset.prompts import split_of
from generation.jobs import JobEnd, TrainingJob, TrainingResult
from generation.queue.engine import WorkCancelledError
from migrations.database import now_ms
from migrations.schema import adapter_parts, commitments, rounds, videos, votes
from migrations.schema import candidates as table
from migrations.states.learning import CandidateState
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.live_bot import Town
from tests.builders.releases import a_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPTS = [prompt for prompt in (f"a prompt number {n}" for n in range(60)) if split_of(prompt) == "train"][:4]
MEMBERS = range(501, 508)
_numbers = itertools.count(1)


class StandInWorkers:
    """Answers in place of training workers, and hands everything else to the engine."""

    def __init__(self, town: Town) -> None:
        self._town, self._engine = town, town.app.engine
        self.failure: str | None = None
        self.lost = 0  # machines that are lost with their file
        self.guards_passed = True
        self.trainings: list[str] = []
        self.lists: list[str] = []  # of examples, as they lie in the database

    async def submit(self, *arguments: Any, **options: Any) -> None:
        await self._engine.submit(*arguments, **options)

    async def result(self, job_id: str) -> Any:
        if "-file-" in job_id:
            if self.lost:
                self.lost -= 1
                raise WorkCancelledError(job_id)
            return {"outcome": "done"}
        if job_id not in self.trainings:
            self.trainings.append(job_id)
            async with self._town.database.connect() as connection:
                parts = await connection.scalars(select(adapter_parts.c.data))
                self.lists.append(b"".join(parts).decode())
        if self.failure is not None:
            return JobEnd("failed", self.failure).to_json()
        _, sha256 = write_adapter(self._town.data_dir, adapter_bytes(number=len(self.trainings) / 64))
        said = ["The motion is 2 % less than before.", "The drift is 0.05."]
        result = TrainingResult(
            sha256, 123, "elsewhere", 4, 0.05, 9.0, self.guards_passed, said, [] if self.guards_passed else ["motion"],
            ["A note of the tuning."],
        )  # fmt: skip
        return json.loads(json.dumps(result.to_json()))


@pytest.fixture
def workers(town: Town, monkeypatch: pytest.MonkeyPatch) -> StandInWorkers:
    monkeypatch.setattr(training_workflow, "POLL_S", 0.05)
    stand_in = StandInWorkers(town)
    monkeypatch.setattr(town.app.learning.trainings.workflow, "_engine", stand_in)
    return stand_in


async def a_voted_round(town: Town, *, members: Any = MEMBERS) -> int:
    """A closed round with a video of each prompt, which everybody votes on: the even ones up, the odd ones down."""
    number = next(_numbers)
    async with town.database.begin() as connection:
        added = await connection.execute(
            insert(rounds)
            .values(
                guild_id=town.guild, number=900 + number, task="t", opened_by=1, channel_id=town.channel,
                status="closed", opens_at_ms=0, closes_at_ms=now_ms(), chain_key=f"{900 + number:064x}",
            )
            .returning(rounds.c.id)
        )  # fmt: skip
        round_id = int(added.scalar_one())
        for place, prompt in enumerate(PROMPTS):
            video_id = str(70_000 + 10 * number + place)
            await connection.execute(
                insert(videos).values(
                    id=video_id, guild_id=town.guild, round_id=round_id, member_id=501, member_name="maker",
                    prompt=prompt, status="published", created_at_ms=now_ms(), cancel_requested=False, seed=place,
                    model_id="tiny", model_revision="r1", chain_key=f"{int(video_id):064x}",
                )
            )  # fmt: skip
            for member_id in members:
                values = {"video_id": video_id, "member_id": member_id, "choice": 1 + place % 2}
                await connection.execute(insert(votes).values(**values, source="button", cast_at_ms=1))
    for member_id in MEMBERS:
        await choices.record_notice(town.database, town.guild, member_id)
    return round_id


async def newest(town: Town) -> Candidate | None:
    async with town.database.connect() as connection:
        row = (await connection.execute(select(table).order_by(table.c.id.desc()).limit(1))).first()
    return None if row is None else Candidate.from_row(row)


async def until_told(town: Town, words: str, times: int = 1) -> str:
    """The text of the channel's message with these words."""

    async def look() -> str | None:
        there = [message.text for message in await town.shown(town.channel) if words in message.text]
        return there[-1] if len(there) >= times else None

    return await wait_for(f"a message with {words!r}", look, seconds=300, every=0.2)


async def set_aside(town: Town) -> None:
    """Let no candidate be on its way."""
    async with town.database.begin() as connection:
        await connection.execute(table.update().values(state=CandidateState.WITHDRAWN))


async def test_too_few_votes_are_told(town: Town, workers: StandInWorkers) -> None:
    """In a sentence in the channel; there is no candidate, and nobody trains."""
    await a_voted_round(town, members=MEMBERS[:1])
    answer = await town.mira.command("admin model train")
    assert answer.ephemeral
    assert "being gathered" in answer.text
    said = await until_told(town, "No training began")
    assert "There are 4 votes on 4 videos to learn from, and at least 20 votes" in said
    assert await newest(town) is None
    assert not workers.trainings


async def test_votes_become_a_candidate(town: Town, workers: StandInWorkers) -> None:
    """One message tells it; its data set is entered for the ledger, and workers get no member's id."""
    await a_voted_round(town)
    await town.mira.command("admin model train")
    said = await until_told(town, "no member has judged it yet")
    candidate = await newest(town)
    assert candidate is not None
    assert candidate.state == CandidateState.READY
    assert (candidate.base_revision, candidate.data_votes, candidate.data_rounds) == ("r1", 32, 2)
    assert candidate.recipe["method"] == "nft"
    for words in (
        "32 votes on 8 videos of 2 rounds", "goes on from the base model", "The motion is 2 % less", "A note of the",
        candidate.adapter_sha256 or "?",
    ):  # fmt: skip
        assert words in said
    folder = town.data_dir / "datasets" / candidate.data_root
    assert verify(folder).root == candidate.data_root
    async with town.database.connect() as connection:
        assert await connection.scalar(select(commitments.c.root)) == candidate.data_root
        query = text(
            "SELECT workflow_input.inputs FROM workflow_input JOIN workflow_status USING (workflow_uuid) "
            "WHERE name = 'train_candidate'"
        )
        [inputs] = (await connection.scalars(query)).all()
    [job] = json.loads(inputs)["positionalArgs"]
    assert set(job) == {field.name for field in fields(TrainingJob)}  # hashes, numbers and names of models
    handed_over = workers.lists[-1]
    assert PROMPTS[0] in handed_over
    assert not any(str(member_id) in handed_over for member_id in MEMBERS)
    async with town.database.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(adapter_parts)) == 0
    messages = [each.text for each in await town.shown(town.channel) if "Candidate " in each.text]
    assert len(messages) == 1

    workflow = town.app.learning.trainings.workflow  # every step may run twice
    await workflow._reject(candidate.id, "too late")
    await workflow._ready(candidate.id, town.guild)
    assert await newest(town) == candidate


async def test_the_same_votes_are_not_trained_twice(town: Town, workers: StandInWorkers) -> None:
    """The message says which candidate learned from them."""
    before = await newest(town)
    assert before is not None
    await town.mira.command("admin model train")
    await until_told(town, f"Candidate {before.id} learned from exactly these votes already")
    assert await newest(town) == before
    assert not workers.trainings


async def test_nothing_is_trained_while_learning_is_paused(town: Town, workers: StandInWorkers) -> None:
    """The moderator reads why; a training that had been asked for before says it in the channel."""
    await a_voted_round(town)
    await town.mira.command("admin model pause")
    try:
        assert "Learning is paused" in (await town.mira.command("admin model train")).text
        automatic = AutomaticTraining(
            database=town.database, workflow=town.app.learning.trainings.workflow, model_id="tiny", after_votes=1
        )
        await set_aside(town)
        await automatic.tick()
        assert not [name for name in await town.workflows() if name.startswith("training-after-round")]
    finally:
        await town.mira.command("admin model resume")


async def test_enough_new_votes_begin_a_training_once(town: Town, workers: StandInWorkers) -> None:
    """And too few of them, or none after it, begin nothing."""
    await set_aside(town)
    round_id = await a_voted_round(town)
    before = await newest(town)
    values: dict[str, Any] = {
        "database": town.database,
        "workflow": town.app.learning.trainings.workflow,
        "model_id": "tiny",
    }
    await AutomaticTraining(**values, after_votes=10_000).tick()
    await AutomaticTraining(**values, after_votes=0).tick()
    assert not [name for name in await town.workflows() if name.startswith("training-after-round")]
    automatic = AutomaticTraining(**values, after_votes=20)
    await automatic.tick()
    await automatic.tick()
    candidate = await until_state(town, CandidateState.READY, after=before)
    await set_aside(town)
    await automatic.tick()
    begun = [name for name in await town.workflows() if name.startswith("training-after-round")]
    assert begun == [f"training-after-round-{round_id}"]
    assert (await newest(town) or candidate).id == candidate.id


async def until_state(town: Town, state: CandidateState, after: Candidate | None) -> Candidate:
    async def look() -> Candidate | None:
        candidate = await newest(town)
        is_new = candidate is not None and (after is None or candidate.id > after.id)
        return candidate if is_new and candidate is not None and candidate.state == state else None

    return await wait_for(f"a candidate that is {state}", look, seconds=300, every=0.2)


async def test_a_training_that_fails_says_why(town: Town, workers: StandInWorkers) -> None:
    """The candidate is rejected with the worker's sentence; the same votes may be trained again."""
    await set_aside(town)
    await a_voted_round(town)
    before, workers.failure = await newest(town), "No two videos of a prompt differ in their score."
    await town.mira.command("admin model train")
    said = await until_told(town, "It is rejected. No two videos of a prompt differ")
    rejected = await until_state(town, CandidateState.REJECTED, before)
    assert rejected.reason == workers.failure
    assert f"Candidate {rejected.id}\n" in said
    workers.failure = None
    await town.mira.command("admin model train")
    again = await until_state(town, CandidateState.READY, rejected)
    assert again.data_root == rejected.data_root


async def test_a_guard_that_is_set_off_rejects_the_candidate(town: Town, workers: StandInWorkers) -> None:
    """The moderators read what the guards say."""
    await set_aside(town)
    await a_voted_round(town)
    before, workers.guards_passed = await newest(town), False
    await town.mira.command("admin model train")
    rejected = await until_state(town, CandidateState.REJECTED, before)
    assert rejected.reason == "Its guards were set off: motion."
    assert "The motion is 2 % less" in await until_told(town, f"Candidate {rejected.id}\n⚠️ It is rejected.")


@pytest.mark.parametrize(("lost", "state"), [(1, CandidateState.READY), (3, CandidateState.REJECTED)])
async def test_a_lost_machine_has_its_candidate_trained_again(
    town: Town, workers: StandInWorkers, lost: int, state: CandidateState
) -> None:
    """At another one, three times in all."""
    await set_aside(town)
    await a_voted_round(town)
    before, workers.lost = await newest(town), lost
    await town.mira.command("admin model train")
    candidate = await until_state(town, state, before)
    assert [name.rpartition("-")[2] for name in workers.trainings] == [str(n + 1) for n in range(min(lost + 1, 3))]
    assert (candidate.reason == MACHINE_GONE) == (state == CandidateState.REJECTED)


async def test_a_battle_begins_by_itself_where_that_is_wanted(
    town: Town, workers: StandInWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the candidate that is ready; its message has the sentence about the battle."""
    await set_aside(town)
    await a_voted_round(town)
    before, begun = await newest(town), list[int]()

    async def begin(candidate: Candidate, guild_id: int) -> str:
        begun.append(candidate.id)
        return f"Its battle has begun in {guild_id}."

    monkeypatch.setattr(town.app.learning.trainings.workflow, "_begin_battle", begin)
    await town.mira.command("admin model train")
    candidate = await until_state(town, CandidateState.READY, before)
    await until_told(town, f"Its battle has begun in {town.guild}.")
    assert begun == [candidate.id]


async def test_a_candidate_that_was_entered_is_found_again(town: Town, workers: StandInWorkers) -> None:
    """Whatever a moderator did between a bot's death and its restart; a training of other votes finds nothing."""
    await set_aside(town)
    await a_voted_round(town)
    workflow = town.app.learning.trainings.workflow
    lesson = await workflow._gather(town.guild)
    entered = await workflow._enter(lesson)
    assert entered["candidate_id"] is not None
    await town.mira.command("admin model pause")
    try:
        assert await workflow._enter(lesson) == entered
        assert (await workflow._enter({**lesson, "root": "ab" * 32}))["candidate_id"] is None
    finally:
        await town.mira.command("admin model resume")
    release = await a_release(town.database)
    try:
        assert await workflow._enter(lesson) == entered
    finally:
        async with town.database.begin() as connection:
            await releases.roll_back(connection, "tiny", number=release.number, by=1)
        await set_aside(town)
