"""The story with `--learn`: a community of one taste asks and votes, its votes train, and a battle decides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.people import Message, NoAnswerError, wait_for
from bot.demo.discord.world import CROWD, MODERATOR
from bot.demo.learning import figures
from bot.demo.learning.figures import SeenPair
from bot.demo.learning.plan import LearningPlan
from bot.demo.learning.result import LearningResult, ReleaseResult, TrainingResult
from bot.demo.learning.voting import Polls, insist
from bot.demo.learning.watching import Watching
from bot.demo.page.learning import keep_comparisons
from bot.demo.stack import MODEL
from bot.demo.story import LEDGER_S, RENDER_S, ROUNDS_CHANNEL, VISITORS_TASK, Chapter, Story
from bot.domain.battles import Battle, Verdict, VerdictState
from bot.domain.releases import Candidate
from bot.store import videos
from bot.store.battles import rounds as battles
from bot.store.learning import releases, trainings
from contracts.outbox.commitments import commitment_status
from generation.feedback.community.prompts import captions_for
from generation.feedback.community.voters import Voters
from generation.tiny.training.captions import Caption
from migrations.schema import candidates as candidate_rows
from migrations.schema import outbox
from migrations.schema import videos as video_rows
from migrations.states.community import RoundStatus, VideoStatus
from migrations.states.learning import CandidateState
from migrations.states.ledger import CommitmentKind, OutboxState

TASK = "whatever you like, out of shapes and motions"
PHASES = {
    "rendering": "takes the voted videos",
    "prompts": "reads the prompts",
    "videos": "reads the videos",
    "training": "learns from the votes",
    "fresh": "makes new videos and judges them",
    "guards": "compares videos from before and after",
}
TRAIN_S = 3600.0  # generous, for machines that are busy with other things
VOTES_S = 1800.0
WAITING = 8  # videos that are asked for at the same time
COMPARED = 3  # pairs on the page
TOLD_EVERY = 16  # videos or pairs
SAY_EVERY = 12  # acts of the crowd, of which one is printed
SHORTEST_S, VOTING_S = 420, 300  # of a battle round: at least, and what of it is left for voting


@dataclass
class LearningStory(Story):
    """One telling. Raises OperatorError with a sentence when something does not go as it should."""

    plan: LearningPlan = field(default_factory=LearningPlan)
    task: str = TASK
    captions: Mapping[str, Caption] = field(default_factory=dict)  # what the community's prompts ask for
    training: TrainingResult | None = None
    candidate: Candidate | None = None
    battle: Battle | None = None
    pairs: Sequence[SeenPair] = ()
    release: ReleaseResult | None = None
    refused: str | None = None
    thumbs: int = 0
    said: int = 0

    def __post_init__(self) -> None:
        plan = self.plan
        self.captions = captions_for(plan.taste, plan.prompts, plan.seed, plain=True)
        self.prompts = [prompt for prompt in self.captions for _ in range(plan.videos_a_prompt)]
        self.names_of_crowd = CROWD[: plan.voters]
        self.voters = Voters(plan.taste, self.names_of_crowd, seed=plan.seed, noise=plan.noise, hostile=plan.hostile)
        self.watching = Watching(self.community)
        self.polls = Polls(self.community, self.voters, self.watching, self._now_and_then)

    @property
    def data_dir(self) -> Path:
        return self.stack.state / "data"

    async def tell_all(self) -> LearningResult:
        """Tell all chapters, as `tell` does; return the result of the loop as well."""
        return cast(LearningResult, await self.tell())

    def chapters(self) -> Sequence[tuple[str, Chapter]]:
        return (
            *super().chapters(),
            ("training", self.train),
            ("battle", self.hold_battle),
            ("release", self.make_release),
        )

    # ------------------------------------------------------------------ the round

    async def make_videos(self, database: AsyncEngine) -> None:
        """Let members ask for videos, a few at a time, and let the voters watch each as it is posted."""
        posted: dict[str, Message] = {}
        gate = asyncio.Semaphore(WAITING)
        asked: list[str] = []

        async def ask(number: int, prompt: str) -> None:
            name = self.names_of_crowd[number % len(self.names_of_crowd)]
            async with gate:
                answer = await insist(lambda: self.person(name).command("prompt", text=prompt))
                if answer.ephemeral or not answer.messages:
                    raise NoAnswerError(f"The bot did not take the prompt: {answer.text}")
                self._now_and_then(name, f"/prompt text: {prompt}")
                asked.append(answer.interaction_id)
                is_here = partial(_is_here, answer.interaction_id, posted, watching)
                await wait_for("a video", is_here, seconds=RENDER_S, every=0.5)

        watching = asyncio.create_task(self._watch_posts(database, asked, posted), name="watch posts")
        with self.terminal.bars():
            try:
                await asyncio.gather(*(ask(*each) for each in enumerate(self.prompts)))
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        self.video_ids = list(asked)
        self.cards = [posted[video_id] for video_id in asked]
        await self.check_plays(self.cards[0])

    async def _watch_posts(self, database: AsyncEngine, asked: Sequence[str], posted: dict[str, Message]) -> None:
        """Note the card of each video as it is posted, and let the voters watch it; until cancelled."""
        total, told = len(self.prompts), 0
        while True:
            await asyncio.sleep(0.7)
            new = [video for video in await self._states(database, asked) if video.id not in posted]
            ready = [video for video in new if video.status == VideoStatus.PUBLISHED and video.message_id]
            if not ready:
                continue
            thread, limit = str(ready[0].thread_id), 4 * WAITING
            shown = {each.id: each for each in await self.person(MODERATOR).messages(thread, limit=limit)}
            for video in ready:
                if (card := shown.get(str(video.message_id))) is not None:
                    await self.watching.at(card.media[0])
                    posted[video.id] = card
            self.show_first()
            self.terminal.bar("videos", "worker", f"{total} videos", "rendering and hosting", len(posted), total)
            if len(posted) // TOLD_EVERY != told:
                told = len(posted) // TOLD_EVERY
                self.terminal.say("FLock", f"has posted {len(posted)} of {total} videos")

    async def _states(self, database: AsyncEngine, ids: Sequence[str]) -> Sequence[Any]:
        """Return the rows of videos. Raises NoAnswerError for one that was not made."""
        async with database.connect() as connection:
            rows = (await connection.execute(select(video_rows).where(video_rows.c.id.in_(ids)))).all()
        for row in rows:
            if row.status in {VideoStatus.FAILED, VideoStatus.CANCELLED}:
                raise NoAnswerError(f"The video “{row.prompt}” was not made: {row.reason}")
        return rows

    async def vote(self, _database: AsyncEngine) -> None:
        """Let the community vote by its taste, with errors, and with some who want the opposite."""
        plan = self.plan
        self.terminal.say(
            "demo",
            f"{plan.voters} members like {plan.likes}; {len(self.voters.hostile)} of them vote for the opposite, and "
            f"{plan.noise:.0%} of all votes are errors. Only the voters know.",
        )
        self.thumbs = len(await self.polls.thumbs(self.cards, plan.votes_a_video, plan.seed))
        self.terminal.say("demo", f"{self.thumbs} votes on {len(self.cards)} videos")

    # ------------------------------------------------------------------ the training

    async def train(self, database: AsyncEngine) -> None:
        """Let the moderator have a candidate trained on the round's votes, and wait until it is ready or rejected."""
        await self.stack.open_trainer()
        mira, before = self.person(MODERATOR), await self._newest_candidate(database)
        await self.expect(await insist(lambda: mira.command("admin model train")), "are being gathered")
        self.terminal.say(MODERATOR, "/admin model train")
        with self.terminal.bars():
            candidate = await self._until_trained(database, 0 if before is None else before.id)
        self.candidate = candidate
        self.training = training = await asyncio.to_thread(figures.training_of, self.data_dir, candidate)
        if candidate.state != CandidateState.READY:
            self.refused = candidate.reason or f"The candidate is {candidate.state}."
            self.terminal.say("FLock", f"candidate {candidate.id} is rejected: {self.refused}")
            return
        self.terminal.say(
            "FLock",
            f"candidate {candidate.id} is ready: {training['votes']} votes on {training['videos']} videos, "
            f"{training['seconds']:.0f} s, drift {training['drift']:.3f}",
        )

    async def _until_trained(self, database: AsyncEngine, after: int) -> Candidate:
        """Wait for the end of the training of the candidate after that one. Raises NoAnswerError where none began."""
        channel = await self.community.channel(ROUNDS_CHANNEL)
        last = ""

        async def look() -> Candidate | None:
            nonlocal last
            candidate = await self._newest_candidate(database)
            if candidate is None or candidate.id <= after:
                for newest in await self.person(MODERATOR).messages(channel, limit=1):
                    if "No training began" in newest.text:
                        raise NoAnswerError(self.plain(newest.text))
                return None
            step = await trainings.step_of(database, f"training-{candidate.id}")
            if step is not None:
                words = PHASES.get(step.phase, step.phase)
                self.terminal.bar("training", "trainer", f"candidate {candidate.id}", words, step.step, step.steps)
                if words != last:
                    last = words
                    self.terminal.say("trainer", f"candidate {candidate.id}: {words}")
            waits = {CandidateState.TRAINING, CandidateState.CHECKING}
            return None if candidate.state in waits else candidate

        return await wait_for("the training", look, seconds=TRAIN_S, every=0.5)

    async def _newest_candidate(self, database: AsyncEngine) -> Candidate | None:
        query = select(candidate_rows).order_by(candidate_rows.c.id.desc()).limit(1)
        async with database.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Candidate.from_row(row)

    # ------------------------------------------------------------------ the battle

    async def hold_battle(self, database: AsyncEngine) -> None:
        """Let the moderator hold a battle round, and members compare pairs until it is decided or over."""
        if self.refused is not None or self.candidate is None:
            return
        candidate, pairs, duration = self.candidate, self.plan.pairs, self._duration()
        mira = self.person(MODERATOR)
        answer = await insist(
            lambda: mira.command("admin model battle", candidate=candidate.id, duration=f"{duration}s", pairs=pairs)
        )
        await self.expect(answer, "is registered")
        self.terminal.say(
            MODERATOR, f"/admin model battle candidate: {candidate.id} duration: {duration}s pairs: {pairs}"
        )
        battle = await self._until_open(database)
        if battle.round.status == RoundStatus.OPEN:
            self.pairs = await figures.pairs_seen(database, battle.round.id, self.data_dir, self.watching)

            async def is_over() -> bool:
                return (await battles.get(database, battle.round.id)).round.status == RoundStatus.CLOSED

            channel = await self.community.channel(ROUNDS_CHANNEL)
            await self.polls.battle(channel, self.captions, self.plan.seed, is_over)
        self.battle = await self._until_judged(database, battle.round.id)
        verdict = self._verdict()
        self.terminal.say("FLock", f"{verdict.state}: {' '.join(verdict.reasons)}")
        if verdict.state != VerdictState.RELEASED or self.battle.round.trouble is not None:
            self.refused = self.battle.round.trouble or " ".join(verdict.reasons)

    def _duration(self) -> int:
        """Return the seconds of a battle round: its videos take about as long, one by one, as the round's took."""
        pace = self.seconds.get("videos", 60.0) / max(1, len(self.video_ids))
        videos_to_make = 2 * self.plan.pairs * 7 / 6  # with those that check attention
        return max(SHORTEST_S, round(2 * pace * videos_to_make) + VOTING_S)

    async def _until_open(self, database: AsyncEngine) -> Battle:
        """Wait until the pairs are made and the registration stands on the ledger, or until the round is over."""
        guild_id = int((await self.community.world())["guild"]["id"])
        said = -1

        async def look() -> Battle | None:
            nonlocal said
            battle = await battles.latest_or_none(database, guild_id)
            if battle is None:
                return None
            count = await battles.count_pairs(database, battle.round.id)
            made = count.all - count.waiting
            self.terminal.bar("battle", "worker", f"{count.all} pairs of videos", "rendering", made, count.all)
            if made // TOLD_EVERY != said:
                said = made // TOLD_EVERY
                self.terminal.say("worker", f"has made {made} of {count.all} pairs: the live model and the candidate")
            return battle if battle.round.status in {RoundStatus.OPEN, RoundStatus.CLOSED} else None

        with self.terminal.bars():
            return await wait_for("the battle round", look, seconds=60 + RENDER_S * self.plan.pairs, every=1.0)

    async def _until_judged(self, database: AsyncEngine, round_id: int) -> Battle:
        async def look() -> Battle | None:
            battle = await battles.get(database, round_id)
            return battle if battle.handed_on and battle.round.result_message_id is not None else None

        return await wait_for("the verdict", look, seconds=VOTES_S, every=0.5)

    def _verdict(self) -> Verdict:
        verdict = None if self.battle is None else self.battle.verdict
        if verdict is None:
            raise LookupError("The battle round has no verdict.")
        return verdict

    # ------------------------------------------------------------------ the release

    async def make_release(self, database: AsyncEngine) -> None:
        """Let the moderator release a candidate that won, and a member ask for a video: the release renders it."""
        if self.refused is not None or self.candidate is None:
            return
        candidate, mira = self.candidate, self.person(MODERATOR)
        answer = await insist(lambda: mira.command("admin model release", candidate=candidate.id))
        await self.expect(answer, "is live")
        self.terminal.say(MODERATOR, f"/admin model release candidate: {candidate.id}")
        self.terminal.say("FLock", self.plain(answer.text.splitlines()[0]))
        async with database.connect() as connection:
            live = await releases.live_or_none(connection, MODEL)
        if live is None or live.manifest_sha256 is None:
            raise LookupError("The release is not on its way to the ledger.")
        root = live.manifest_sha256

        async def on_ledger() -> str | None:
            status = await commitment_status(database, CommitmentKind.RELEASE, root)
            return status.tx if status is not None and status.on_ledger else None

        tx = await wait_for("the release on the ledger", on_ledger, seconds=LEDGER_S, every=0.3)
        await asyncio.to_thread(keep_comparisons, self.stack.state, live.number, self._compared())
        video = await self._first_video(database, live.number)
        self.release = {"number": live.number, "adapter": live.adapter_sha256, "tx": tx, "video": video}
        await self._until_told(live.number)

    def _compared(self) -> list[tuple[str, bytes, bytes]]:
        """Return the first pairs of the battle, not chosen, for the page."""
        return [(pair.prompt, *pair.files) for pair in self.pairs[:COMPARED]]

    async def _first_video(self, database: AsyncEngine, number: int) -> str:
        """Let a member ask for a video in a new round; return its id, once it is posted. Raises NoAnswerError."""
        mira, name, prompt = self.person(MODERATOR), self.names_of_crowd[0], next(iter(self.captions))
        await self.expect(await mira.command("round open", task=VISITORS_TASK, duration="1d"), "is open")
        answer = await insist(lambda: self.person(name).command("prompt", text=prompt))
        self.terminal.say(name, f"/prompt text: {prompt}")

        async def posted() -> str | None:
            video = await videos.get_or_none(database, answer.interaction_id)
            if video is None or video.status != VideoStatus.PUBLISHED:
                return None
            if video.release != number:
                raise NoAnswerError(f"The video was made without release {number}.")
            return video.id

        made = await wait_for("the first video of the release", posted, seconds=RENDER_S, every=0.3)
        self.terminal.say("FLock", f"posted “{prompt}” for {name}, made with release {number}")
        return made

    async def _until_told(self, number: int) -> None:
        """Wait for the post of the release, with its filmstrip."""
        channel = await self.community.channel(ROUNDS_CHANNEL)

        async def look() -> Message | None:
            messages = await self.person(self.names_of_crowd[0]).messages(channel)
            return next((each for each in messages if f"release {number} is live" in each.text), None)

        post = await wait_for("the post of the release", look, seconds=RENDER_S, every=0.5)
        self.terminal.say("FLock", self.plain(post.text.splitlines()[0].removeprefix("### ")))

    # ------------------------------------------------------------------ the end

    async def look_back(self, database: AsyncEngine) -> LearningResult:
        """Return the round's result, and that of the loop, once the ledger holds all of it: the sides as well."""
        await wait_for("the ledger", partial(_all_is_written, database), seconds=LEDGER_S, every=0.5)
        result = await super().look_back(database)
        assert self.training is not None  # noqa: S101  # the chapter before set it
        round_id = None if self.battle is None else self.battle.round.id
        return {
            **result,
            "taste": self.plan.taste_name,
            "voters": self.plan.voters,
            "votes": self.thumbs,
            "noise": self.plan.noise,
            "hostile": len(self.voters.hostile),
            "training": self.training,
            "battle": None if self.battle is None else figures.battle_result(self.battle, self.pairs, self.plan.taste),
            "adherence": figures.adherence_of(self.pairs, self.captions),
            "motion": None if round_id is None else await figures.motion_of(database, round_id),
            "release": self.release,
            "refused": self.refused,
        }

    def _now_and_then(self, name: str, sentence: str) -> None:
        """Print one of many acts."""
        self.said += 1
        if self.said % SAY_EVERY == 1:
            self.terminal.say(name, sentence)


async def _is_here(key: str, things: Mapping[str, object], watching: asyncio.Task[None]) -> bool | None:
    """Return True once there is something. Raises whatever has ended the watching."""
    if watching.done():
        watching.result()
    return True if key in things else None


async def _all_is_written(database: AsyncEngine) -> bool | None:
    """Return True once no entry is on its way to the ledger."""
    under_way = outbox.c.state.in_((OutboxState.PENDING, OutboxState.BATCHED))
    async with database.connect() as connection:
        count = await connection.scalar(select(func.count()).select_from(outbox).where(under_way))
    return None if count else True
