"""The workflow of a training, from the votes of closed rounds to a candidate that may be battled.

Every step may run twice: a candidate is found again by its data set and recipe, jobs by its number, posts by their
marks. No answer of Discord ends the workflow, and whatever fails is told to moderators in a sentence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TypedDict, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.cards import candidates as cards
from bot.domain.errors import LearningPausedError, TrainingUnderWayError
from bot.domain.releases import Candidate, Release
from bot.domain.training_report import TrainingFacts
from bot.files.lessons import Lessons, NoLessonError, PreparedLesson
from bot.posts.obstacles import Obstacle
from bot.posts.training import TrainingPosts
from bot.store.learning import candidates, releases, trainings
from bot.workflows.steps import step
from contracts.outbox.commitments import enqueue_dataset
from generation.adapters.file import AdapterError
from generation.answers import Done, read_answer
from generation.jobs import (
    BOT_QUEUE,
    CANDIDATE_WORKFLOW,
    TRAINING_WORKFLOW,
    CandidateJob,
    JobEnd,
    ReleaseName,
    TrainingJob,
    TrainingResult,
    candidates_queue,
    training_queue,
)
from generation.queue.engine import Engine, WorkCancelledError
from generation.strict_json import JsonObject
from migrations.states.learning import CandidateState

log = logging.getLogger(__name__)

WORKFLOW = "training_life"
MOST_TRAININGS = 3  # a candidate's file can be lost with its machine: then it is trained again
POLL_S = 1.0  # at the training worker's results
AGAIN_S, LONGEST_AGAIN_S = 30.0, 3600.0  # between two tries to post how it ended
MOST_TRIES = 48  # which take about two days
UNDER_WAY = (CandidateState.TRAINING, CandidateState.CHECKING)

UNFORESEEN = "Something went wrong on our side. The operator can see it in the log."
GIVEN_UP = "The training workers could not train it: the job was given up."
MACHINE_GONE = "The machine that trained it went away three times before its file was here."
GUARDED = "Its guards were set off: {names}."
PAUSED = "Learning is paused. `/admin model resume` ends that."
BUSY = "Candidate {number} is being trained. The votes since then go into the next one."
SAME = "Candidate {number} learned from exactly these votes already, by the same recipe."

# Begins the battle of a candidate in a guild; returns a sentence about it for moderators.
BeginBattle = Callable[[Candidate, int], Awaitable[str]]


class _Begun(TypedDict):
    """The candidate of a training, or the reason why there is none."""

    candidate_id: int | None
    release: JsonObject | None  # that is gone on from
    reason: str


@dataclass(frozen=True)
class _Place:
    """The place where a training is told of: one channel."""

    guild_id: int
    channel_id: int
    key: str


def workflow_id(key: str) -> str:
    """Return the id of the workflow of a training."""
    return f"training-{key}"


class TrainingWorkflow:
    """Begins trainings, follows them, and takes their candidates in."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        posts: TrainingPosts,
        lessons: Lessons,
        recipe: JsonObject,
        model_id: str,
        model_class: str,
        progress_s: float,
        begin_battle: BeginBattle | None = None,
        on_ledger: bool = True,
    ) -> None:
        """`begin_battle` is called with each candidate that is ready; `on_ledger` is False where there is no chain."""
        self._database = database
        self._engine = engine
        self._posts = posts
        self._lessons = lessons
        self._recipe = recipe
        self._model_id = model_id
        self._model_class = model_class
        self._progress_s = progress_s
        self._begin_battle = begin_battle
        self._on_ledger = on_ledger
        self._beginning = asyncio.Lock()  # one candidate at a time is entered

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def training_life(argument: JsonObject) -> JsonObject:
            place = _Place(cast(int, argument["guild_id"]), cast(int, argument["channel_id"]), str(argument["key"]))
            return await self.run(place)

        engine.workflow(WORKFLOW)(training_life)

    async def begin(self, connection: AsyncConnection, *, guild_id: int, channel_id: int, key: str) -> None:
        """Begin a training in the caller's transaction; the same key a second time changes nothing.

        Raises LearningPausedError, and TrainingUnderWayError where a candidate is being trained.
        """
        if await releases.is_paused(connection, self._model_id):
            raise LearningPausedError
        if busy := await candidates.in_states(connection, self._model_id, *UNDER_WAY):
            raise TrainingUnderWayError(number=busy[0].id)
        argument: JsonObject = {"guild_id": guild_id, "channel_id": channel_id, "key": key}
        await self._engine.submit(connection, WORKFLOW, workflow_id(key), argument, queue=BOT_QUEUE)

    async def run(self, place: _Place) -> JsonObject:
        """Votes → data set → candidate → trained → brought here and checked → ready; or rejected, with a reason."""
        lesson = await step("gather the votes", self._gather, place.guild_id)
        begun: _Begun = {"candidate_id": None, "release": None, "reason": str(lesson.get("reason") or "")}
        if not begun["reason"]:
            begun = await step("begin the candidate", self._enter, lesson)
        candidate_id = begun["candidate_id"]
        if candidate_id is None:
            log.info("No training began: %s", begun["reason"])
            mark = f"-# Training {place.key}."
            text = cards.not_begun_text(mark, begun["reason"])
            await self._tell(place, None, text, mark, f"no-training-{place.key}")
            return {"candidate_id": None, "reason": begun["reason"]}
        facts = _facts(candidate_id, lesson, begun["release"])
        message_id = await step("post the training", self._announce, place, facts)
        try:
            text = await self._train(place, facts, lesson, begun, message_id)
        except Exception:
            log.exception("The training of candidate %d ended by an unforeseen error.", candidate_id)
            await step("reject", self._reject, candidate_id, UNFORESEEN)
            text = cards.rejected_text(facts, UNFORESEEN)
        await step("withdraw the votes", self._lessons.withdraw, lesson)
        await self._tell(place, message_id, text, cards.mark_of(candidate_id), f"candidate-{candidate_id}-end")
        return {"candidate_id": candidate_id, "reason": ""}

    async def _train(
        self, place: _Place, facts: TrainingFacts, lesson: JsonObject, begun: _Begun, message_id: int | None
    ) -> str:
        """Train, bring and check a candidate; return the last text of its message."""
        candidate_id = facts.candidate_id
        job = self._job(candidate_id, lesson, begun["release"]).to_json()
        for attempt in range(1, MOST_TRAININGS + 1):
            await step("offer the votes", self._lessons.offer, lesson, begun["release"])
            job_id = f"candidate-{candidate_id}-training-{attempt}"
            await Engine.hand_over(
                TRAINING_WORKFLOW, job_id, job, queue=training_queue(self._model_class, self._model_id)
            )
            end = await step("follow the training", self._follow, job_id, place, facts, message_id)
            result = read_answer(TrainingResult, end)
            if isinstance(result, JobEnd):
                return await self._rejected(facts, result.reason)
            send_id = f"candidate-{candidate_id}-file-{attempt}"
            reason = await step("record the file", self._record, candidate_id, send_id, result)
            if reason is None:
                reason = await step("bring the file", self._bring, send_id, result)
            if reason == MACHINE_GONE:
                await step("train again", self._train_again, candidate_id)
                continue
            if reason is not None:
                return await self._rejected(facts, reason)
            if not result.guards_passed:
                reason = GUARDED.format(names=", ".join(result.vetoes) or "see below")
                return await self._rejected(facts, reason, result.guards)
            battle = await step("let it be ready", self._ready, candidate_id, place.guild_id)
            return cards.ready_text(facts, result, battle)
        return await self._rejected(facts, MACHINE_GONE)

    # ------------------------------------------------------------------ the beginning

    async def _gather(self, guild_id: int) -> JsonObject:
        """Write the data set, and the list of examples. Return what is in them, or a reason why nothing is."""
        try:
            return asdict(await self._lessons.prepare(guild_id, self._model_id))
        except NoLessonError as error:
            return {"reason": str(error)}

    async def _enter(self, lesson: JsonObject) -> _Begun:
        """Enter the candidate, and its data set for the ledger, in one transaction; a repetition finds the same one."""
        prepared = PreparedLesson.from_json(lesson)
        async with self._beginning, self._database.begin() as connection:
            if (entered := await self._entered_before(connection, prepared)) is not None:
                return entered
            if await releases.is_paused(connection, self._model_id):
                return _none(PAUSED)
            live = await releases.live_or_none(connection, self._model_id)
            parent = None if live is None else live.number
            alike = await trainings.trained_alike(
                connection, model_id=self._model_id, parent=parent, data_root=prepared.root, recipe=dict(self._recipe)
            )
            if alike is not None:
                return _none(SAME.format(number=alike.id))
            if busy := await candidates.in_states(connection, self._model_id, *UNDER_WAY):
                return _none(BUSY.format(number=busy[0].id))
            candidate_id = await candidates.begin(
                connection,
                model_id=self._model_id,
                base_revision=prepared.revision,
                parent=parent,
                data_root=prepared.root,
                data_votes=prepared.votes,
                data_rounds=prepared.rounds,
                recipe=self._recipe,
                seed=int(str(self._recipe.get("seed", 0))),
            )
            if self._on_ledger and not await trainings.is_entered(connection, prepared.root):
                before = await trainings.latest_data_root(connection, self._model_id, other_than=prepared.root)
                description = await asyncio.to_thread(self._lessons.manifest, prepared.root)
                await enqueue_dataset(connection, root=prepared.root, description=description, parent=before)
        log.info("Candidate %d of %s is entered: %d votes.", candidate_id, self._model_id, prepared.votes)
        return {"candidate_id": candidate_id, "release": _name_of(live), "reason": ""}

    async def _entered_before(self, connection: AsyncConnection, prepared: PreparedLesson) -> _Begun | None:
        """Return the candidate of an earlier attempt at this step, whatever is live or paused since then."""
        for each in await candidates.in_states(connection, self._model_id, CandidateState.TRAINING):
            if (each.data_root, dict(each.recipe)) == (prepared.root, dict(self._recipe)):
                parent = await releases.get_or_none(connection, self._model_id, each.parent or 0)
                return {"candidate_id": each.id, "release": _name_of(parent), "reason": ""}
        return None

    async def _announce(self, place: _Place, facts: TrainingFacts) -> int | None:
        posted = await self._posts.post(
            place.channel_id,
            cards.progress_text(facts, None),
            mark=cards.mark_of(facts.candidate_id),
            nonce=f"candidate-{facts.candidate_id}",
        )
        if isinstance(posted, Obstacle):
            log.warning("The message about candidate %d: %s", facts.candidate_id, posted.sentence)
            return None
        return posted

    def _job(self, candidate_id: int, lesson: JsonObject, release: JsonObject | None) -> TrainingJob:
        prepared = PreparedLesson.from_json(lesson)
        return TrainingJob(
            candidate_id=candidate_id,
            model_id=self._model_id,
            base_revision=prepared.revision,
            data_root=prepared.root,
            examples_sha256=prepared.examples_sha256,
            examples_bytes=prepared.examples_bytes,
            recipe=self._recipe,
            release=None
            if release is None
            else ReleaseName(int(str(release["number"])), str(release["adapter_sha256"])),
        )

    # ------------------------------------------------------------------ the training

    async def _follow(self, job_id: str, place: _Place, facts: TrainingFacts, message_id: int | None) -> JsonObject:
        """Wait for the end of a training, and show its progress meanwhile."""
        shown, last = "", 0.0
        while True:
            try:
                end = await self._engine.result(job_id)
            except WorkCancelledError:
                return {"outcome": "failed", "reason": GIVEN_UP}
            if end is not None:
                return cast(JsonObject, end)
            now = time.monotonic()
            if message_id is not None and now - last >= self._progress_s:
                progress = await trainings.step_of(self._database, f"training-{facts.candidate_id}")
                text = cards.progress_text(facts, progress)
                if text != shown:
                    shown, last = text, now
                    await self._posts.edit(place.channel_id, message_id, text)
            await asyncio.sleep(POLL_S)

    async def _record(self, candidate_id: int, send_id: str, result: TrainingResult) -> str | None:
        """Record the file, and ask for it: one transaction. Return the reason why it cannot come, if any."""
        job = CandidateJob(candidate_id, result.adapter_sha256, result.size_bytes, result.taste_sha256)
        try:
            async with self._database.begin() as connection:
                await candidates.record_file(
                    connection,
                    candidate_id,
                    adapter_sha256=result.adapter_sha256,
                    size_bytes=result.size_bytes,
                    machine=result.machine,
                )
                await self._lessons.expect_files(connection, result)
                queue = candidates_queue(result.machine)
                await self._engine.submit(connection, CANDIDATE_WORKFLOW, send_id, job.to_json(), queue=queue)
        except (AdapterError, ValueError) as error:
            return str(error)
        return None

    async def _bring(self, send_id: str, result: TrainingResult) -> str | None:
        """Wait for the file, and check it. Return the reason why it cannot be used, if any."""
        while True:
            try:
                end = await self._engine.result(send_id)
            except WorkCancelledError:
                return MACHINE_GONE
            if end is not None:
                break
            await asyncio.sleep(POLL_S)
        answer = read_answer(Done, end)
        if isinstance(answer, JobEnd):
            return MACHINE_GONE if answer.outcome == "file_missing" else answer.reason
        return await self._lessons.take_in(result.adapter_sha256, self._model_id, result.taste_sha256)

    async def _train_again(self, candidate_id: int) -> None:
        async with self._database.begin() as connection:
            await candidates.advance(connection, candidate_id, CandidateState.TRAINING)

    # ------------------------------------------------------------------ the end

    async def _ready(self, candidate_id: int, guild_id: int) -> str | None:
        """Let a candidate be ready, and begin its battle where that is wanted. Return a sentence about the battle."""
        async with self._database.begin() as connection:
            await candidates.advance(connection, candidate_id, CandidateState.READY)
            candidate = await candidates.get(connection, candidate_id)
        if self._begin_battle is None:
            return None
        return await self._begin_battle(candidate, guild_id)

    async def _rejected(self, facts: TrainingFacts, reason: str, guards: list[str] | None = None) -> str:
        await step("reject", self._reject, facts.candidate_id, reason)
        return cards.rejected_text(facts, reason, guards or [])

    async def _reject(self, candidate_id: int, reason: str) -> None:
        """Reject a candidate, unless it is ready or over already."""
        async with self._database.begin() as connection:
            candidate = await candidates.get(connection, candidate_id, lock=True)
            if candidate.state in UNDER_WAY:
                await candidates.advance(connection, candidate_id, CandidateState.REJECTED, reason)
        log.warning("Candidate %d is rejected: %s", candidate_id, reason)

    async def _tell(self, place: _Place, message_id: int | None, text: str, mark: str, nonce: str) -> None:
        """Let the message of a training have its last text; post one where there is none any more."""
        pause = AGAIN_S
        for _ in range(MOST_TRIES):
            if await step("tell how it ended", self._try_to_tell, place.channel_id, message_id, text, mark, nonce):
                return
            await Engine.sleep(pause)
            pause = min(pause * 2, LONGEST_AGAIN_S)
        log.error("How the training %s ended could not be posted.", place.key)

    async def _try_to_tell(self, channel_id: int, message_id: int | None, text: str, mark: str, nonce: str) -> bool:
        if message_id is not None:
            obstacle = await self._posts.edit(channel_id, message_id, text)
            if obstacle is None or not obstacle.is_gone:
                return obstacle is None
        posted = await self._posts.post(channel_id, text, mark=mark, nonce=nonce)
        if isinstance(posted, Obstacle):
            return False
        return await self._posts.edit(channel_id, posted, text) is None  # an earlier message may have been found


def _none(reason: str) -> _Begun:
    return {"candidate_id": None, "release": None, "reason": reason}


def _name_of(release: Release | None) -> JsonObject | None:
    return None if release is None else asdict(ReleaseName(release.number, release.adapter_sha256))


def _facts(candidate_id: int, lesson: JsonObject, release: JsonObject | None) -> TrainingFacts:
    prepared = PreparedLesson.from_json(lesson)
    return TrainingFacts(
        candidate_id=candidate_id,
        votes=prepared.votes,
        videos=prepared.videos,
        rounds=prepared.rounds,
        held_out=prepared.held_out,
        left_out=prepared.left_out,
        release=None if release is None else int(str(release["number"])),
    )
