"""The story of one round in a small community: each chapter is what people do, and what they see of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.people import Answer, CannotDoError, Community, Message, NoAnswerError, Person, wait_for
from bot.demo.discord.world import MEMBERS, MODERATOR
from bot.demo.result import AuditResult, RoundResult, StoryResult, VideoResult
from bot.demo.stack import Stack
from bot.demo.terminal import Terminal, plain
from bot.domain.errors import OperatorError
from bot.domain.rounds import Round
from bot.domain.videos import Video
from bot.store import rounds, videos
from contracts.audit.audit import audit
from contracts.ledger.client import Ledger
from contracts.outbox.progress import receipts
from contracts.rpc.node import LedgerError
from generation.worker.registry import is_served
from migrations.database import open_database
from migrations.states.community import RoundStatus, VideoStatus

PROMPTS = (
    "a red circle rolls to the right over a blue field",
    "a green square jumps up and down at night",
    "a yellow star spins slowly in the rain",
)
TASK = "shapes on the move"
VISITORS_TASK = "your turn: a colour, a shape, a motion"  # what the tiny model knows
VISITORS_PROMPT = "an orange heart jumps over a blue field"  # so that a visitor finds a video to vote on
ROUNDS_CHANNEL = "videos"
READY_S = 90.0
WORKER_S = 240.0  # until the worker has loaded its model
RENDER_S = 300.0  # for each video: generous, for machines that are busy with other things
LEDGER_S = 180.0

# The acts of members on each video, in order: the first video wins, whatever the prompts are.
_VOTES: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("ana", "Up"),
        ("ben", "Down"),
        ("ben", "Up"),
        ("chloé", "👍"),
        ("dmitri", "👎"),
        ("dmitri", "-👎"),
        ("emi", "Up"),
    ),
    (("ana", "Down"), ("ben", "Up"), ("chloé", "👎"), ("dmitri", "👍"), ("emi", "Up"), ("emi", "withdraw")),
    (("ana", "Up"), ("ben", "Down"), ("chloé", "Down"), ("dmitri", "👍"), ("dmitri", "Down"), ("emi", "👎")),
)


Chapter = Callable[[AsyncEngine], Awaitable[None]]


@dataclass
class Story:
    """One telling of the story. Raises OperatorError with a sentence when something does not go as it should."""

    stack: Stack
    community: Community
    terminal: Terminal
    prompts: Sequence[str]
    task: str = TASK
    seconds: dict[str, float] = field(default_factory=dict)
    round_id: int = 0
    video_ids: list[str] = field(default_factory=list)
    cards: list[Message] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # of members and channels, by id
    on_first_video: Callable[[], None] | None = None  # called once, when there is something to see

    async def tell(self) -> StoryResult:
        """Tell all chapters; returns the result as plain JSON types."""
        start = time.monotonic()
        database = open_database(self.stack.database_url)
        try:
            for name, chapter in self.chapters():
                since = time.monotonic()
                await chapter(database)
                self.seconds[name] = round(time.monotonic() - since, 2)
            since = time.monotonic()
            result = await self.look_back(database)
            self.seconds["audit"] = round(time.monotonic() - since, 2)
        except (CannotDoError, NoAnswerError, LookupError) as error:
            raise OperatorError(f"The story broke off: {error} The logs are in {self.stack.state / 'logs'}.") from error
        except LedgerError as error:
            raise OperatorError(f"The chain could not be read: {error}") from error
        finally:
            await database.dispose()
        self.seconds["total"] = round(time.monotonic() - start, 2)
        result["seconds"] = self.seconds
        return result

    def person(self, name: str) -> Person:
        return self.community.person(name)

    # ------------------------------------------------------------------ chapters

    def chapters(self) -> Sequence[tuple[str, Chapter]]:
        """Return the chapters in their order, with the names under which their seconds stand in the result."""
        return (
            ("ready", self.wait_until_ready),
            ("open", self.open_round),
            ("videos", self.make_videos),
            ("votes", self.vote),
            ("close", self.close_round),
        )

    async def wait_until_ready(self, database: AsyncEngine) -> None:
        """Wait for the bot, and for a worker with its model loaded: the first prompt is taken up at once."""
        await self.wait_for_bot(database)
        await self.wait_for_worker(database)

    async def wait_for_worker(self, database: AsyncEngine) -> None:
        """Wait until a worker takes prompts for the model of the rounds."""
        of_worker = self.stack.worker_env

        async def ready() -> bool | None:
            async with database.connect() as connection:
                served = await is_served(connection, of_worker["FLOCK_MODEL_CLASS"], of_worker["FLOCK_MODEL_ID"])
            return True if served else None

        await wait_for("a worker to load its model", ready, seconds=WORKER_S)
        self.terminal.say("worker", "has loaded the model and is waiting for prompts")

    async def wait_for_bot(self, _database: AsyncEngine) -> None:
        """Wait until the bot is in the guild and its commands can be typed."""

        async def ready() -> bool | None:
            world = await self.community.world()
            names = {command["name"] for command in world["commands"]}
            return True if world["connected"] and {"setup", "round", "prompt"} <= names else None

        await wait_for("the bot to come online", ready, seconds=READY_S)
        world = await self.community.world()
        self.names = {thing["id"]: thing["name"] for thing in [*world["members"], *world["channels"]]}
        self.terminal.say("FLock", "is online")

    async def open_round(self, database: AsyncEngine) -> None:
        """Let the moderator set the bot up and open a round."""
        mira = self.person(MODERATOR)
        channel = await self.community.channel(ROUNDS_CHANNEL)
        await self.expect(await mira.command("setup", channel=channel), "Rounds will be posted")
        self.terminal.say(MODERATOR, f"/setup channel: #{ROUNDS_CHANNEL}")
        opened = await mira.command("round open", task=self.task, duration="1h")
        if "still open" in opened.text:  # the round of an earlier telling that broke off
            await self.expect(await mira.command("round close"), "closed")
            await self.wait_until_closed(database, None)
            opened = await mira.command("round open", task=self.task, duration="1h")
        await self.expect(opened, "is open")
        guild_id = int((await self.community.world())["guild"]["id"])
        current = await rounds.open_in(database, guild_id)
        if current is None:
            raise LookupError("The round is not in the database.")
        self.round_id = current.id
        self.terminal.say(MODERATOR, f"/round open task: {self.task} duration: 1h  →  round {current.number}")

    async def open_a_round_for_visitors(self) -> None:
        """Open a round for visitors of the page, with one video to vote on. A round that is open already stays."""
        mira = self.person(MODERATOR)
        database = open_database(self.stack.database_url)
        try:
            opened = await mira.command("round open", task=VISITORS_TASK, duration="1d")
            if "is open" in opened.text:
                self.terminal.say(MODERATOR, f"/round open task: {VISITORS_TASK} duration: 1d")
                self.prompts = (VISITORS_PROMPT,)
                await self.make_videos(database)
        except (CannotDoError, NoAnswerError, LookupError) as error:
            self.terminal.say("demo", f"Visitors find no new round, or no video in it: {error}")
        finally:
            await database.dispose()

    async def make_videos(self, database: AsyncEngine) -> None:
        """Let members ask for videos, and wait until they are rendered, hosted and posted."""
        await self.submit()
        await self.wait_until_posted(database)

    async def submit(self) -> None:
        """Let members type every prompt; each is answered at once with a place in the queue."""
        for number, prompt in enumerate(self.prompts):
            name = MEMBERS[number % len(MEMBERS)]
            answer = await self.person(name).command("prompt", text=prompt)
            if answer.ephemeral or not answer.messages:
                raise NoAnswerError(f"The bot did not take the prompt: {answer.text}")
            # The id of an interaction is the id of its video.
            self.video_ids.append(answer.interaction_id)
            self.terminal.say(name, f"/prompt text: {prompt}")
            self.terminal.say("FLock", self.plain(answer.text.splitlines()[-1]))

    async def wait_until_posted(self, database: AsyncEngine) -> None:
        """Wait for the videos. Bars move with what the worker reports; a line is printed for each post."""
        posted: set[str] = set()

        async def look() -> bool | None:
            progress = await videos.progress_of(database, self.video_ids)
            for video in await self.videos_of_story(database):
                member, prompt = video.member_name, video.prompt
                if video.status in {VideoStatus.FAILED, VideoStatus.CANCELLED}:
                    raise NoAnswerError(f"The video “{prompt}” was not made: {video.reason}")
                if video.status == VideoStatus.PUBLISHED and video.id not in posted:
                    posted.add(video.id)
                    self.terminal.finish(video.id)
                    self.terminal.say("FLock", f"posted “{prompt}” for {member}  ·  {video.page_url}")
                    self.show_first()
                elif video.status != VideoStatus.PUBLISHED:
                    report = progress.get(video.id)
                    in_queue = video.status in {VideoStatus.QUEUED, VideoStatus.RENDERING}
                    if report is not None and (in_queue or report.phase == str(video.status)):
                        self.terminal.bar(video.id, member, prompt, report.phase, report.step, report.steps)
                    else:
                        self.terminal.bar(video.id, member, prompt, video.status, 0, 1)
            return True if len(posted) == len(set(self.video_ids)) else None

        with self.terminal.bars():
            await wait_for("the videos", look, seconds=60 + RENDER_S * len(self.video_ids), every=0.2)
        by_id = {video.id: video for video in await self.videos_of_story(database)}
        for video_id in self.video_ids:
            video = by_id[video_id]
            card = await self.person("ana").message(str(video.thread_id), str(video.message_id))
            await self.check_plays(card)
            self.cards.append(card)

    def show_first(self) -> None:
        if self.on_first_video is not None:
            self.on_first_video()
            self.on_first_video = None

    async def vote(self, _database: AsyncEngine) -> None:
        """Let members vote by buttons and reactions, change their minds, and write feedback."""
        for number, card in enumerate(self.cards):
            for name, act in _VOTES[min(number, len(_VOTES) - 1)]:
                await self._vote(self.person(name), card, act)
        emi = self.person("emi")
        form = await emi.press(self.cards[0], "Feedback")
        await self.expect(await emi.submit(form, text="More of this, please!"), "Thank you for your feedback")
        self.terminal.say("emi", "💬 More of this, please!")

    async def close_round(self, database: AsyncEngine) -> None:
        """Let the moderator close the round; wait until the result is posted and recorded on the ledger."""
        await self.expect(await self.person(MODERATOR).command("round close"), "is closed")
        self.terminal.say(MODERATOR, "/round close")
        # The button is about to leave the card, but stands in her client still.
        button = self.cards[0].button("Down")
        late = await self.person("ana").press_id(self.cards[0], button.custom_id, forged=True)
        await self.expect(late, "is closed")
        self.terminal.say("ana", f"presses 👎 too late  →  {self.plain(late.text)}")
        await self.wait_until_closed(database, self.terminal)
        round_ = await rounds.get(database, self.round_id)
        post = await self.person("ana").message(str(round_.channel_id), str(round_.result_message_id))
        self.terminal.say("FLock", self.plain(post.text.splitlines()[1]))

    async def look_back(self, database: AsyncEngine) -> StoryResult:
        """Return the videos, the votes and the records on the ledger, with the audit's verdict."""
        round_ = await rounds.get(database, self.round_id)
        tallies = {entry.video.id: entry.tally for entry in await videos.entries(database, self.round_id)}
        address = self.stack.deployment.address if self.stack.deployment else ""
        results: list[VideoResult] = []
        async with Ledger(self.stack.rpc_url, address) as ledger:
            for video in await self.videos_of_story(database):
                on_chain = await ledger.tally(video.chain_id or 0)
                tally = tallies[video.id]
                results.append(
                    {
                        "prompt": video.prompt,
                        "video_path": str(Path(video.video_path or "").resolve()),
                        "sha256": video.sha256,
                        "playback_id": video.playback_id,
                        "playback_url": video.playback_url,
                        "page_url": video.page_url,
                        "message_id": str(video.message_id),
                        "thread_id": str(video.thread_id),
                        "votes": {"up": tally.up, "down": tally.down},
                        "chain": {
                            "video": video.chain_id,
                            "up": on_chain.up,
                            "down": on_chain.down,
                            "tx": await receipts(database, video.id),
                        },
                    }
                )
        report = await audit(self.stack.rpc_url, address, database=database, pepper=self.stack.keys.pepper.encode())
        if not report.ok:
            raise OperatorError("The audit found differences: " + " ".join(report.problems + report.doubts))
        recomputed = sum(video.up + video.down for video in report.videos if video.round == round_.chain_id)
        verdict: AuditResult = {
            "ok": report.ok,
            "votes": recomputed,
            "batches": report.batches,
            "entries": report.votes,
            "digest": report.digest,
            "chain_id": report.chain_id,
            "ledger": report.address,
        }
        return {"round": await self._round_result(database, round_), "videos": results, "audit": verdict}

    # ------------------------------------------------------------------ pieces

    async def _vote(self, person: Person, card: Message, act: str) -> None:
        if act in {"Up", "Down"}:
            answer = await person.press(card, act)
            await self.expect(answer, f"is **{act.lower()}**")
            self.terminal.say(
                person.name, f"presses {'👍' if act == 'Up' else '👎'}  →  {self.plain(answer.text.splitlines()[0])}"
            )
        elif act == "withdraw":
            before = await person.press(card, "Up")
            answer = await person.press(before.message, "Withdraw my vote")
            await self.expect(answer, "is withdrawn")
            self.terminal.say(person.name, f"withdraws  →  {self.plain(answer.text.splitlines()[0])}")
        else:
            on = not act.startswith("-")
            await person.react(card, act.lstrip("-"), on=on)
            self.terminal.say(person.name, f"{'reacts with' if on else 'takes back'} {act.lstrip('-')}")

    async def wait_until_closed(self, database: AsyncEngine, terminal: Terminal | None) -> None:
        """Wait for the result on the ledger; without a terminal, until no round is open any more."""

        async def closed() -> bool | None:
            if terminal is None:
                open_rounds = await rounds.all_open(database)
                return None if open_rounds else True
            round_ = await rounds.get(database, self.round_id)
            return True if round_.status == RoundStatus.CLOSED and round_.finalized_tx else None

        await wait_for("the result on the ledger", closed, seconds=LEDGER_S, every=0.2)

    async def check_plays(self, card: Message) -> None:
        """Raise an error unless everybody who sees the card can play its video: attached, and served in ranges."""
        if not card.media:
            raise LookupError("The card shows no video.")
        answer = await self.community.fetch(card.media[0], Range="bytes=0-11")
        if answer.status_code != 206 or b"ftyp" not in answer.content:
            raise NoAnswerError(f"The video on the card cannot be played (HTTP {answer.status_code}).")

    async def expect(self, answer: Answer, words: str) -> None:
        """Raise NoAnswerError unless the answer has these words."""
        if words not in answer.text:
            raise NoAnswerError(f"The bot should have said “… {words} …”, but said: {answer.text}")

    def plain(self, text: str) -> str:
        return plain(text, self.names)

    async def videos_of_story(self, database: AsyncEngine) -> list[Video]:
        all_videos = [await videos.get_or_none(database, video_id) for video_id in self.video_ids]
        return [video for video in all_videos if video is not None]

    async def _round_result(self, database: AsyncEngine, round_: Round) -> RoundResult:
        best = await videos.get_or_none(database, round_.winner_video_id or "")
        return {
            "number": round_.number,
            "task": round_.task,
            "status": round_.status,
            "thread_id": str(round_.thread_id),
            "winner": best.prompt if best else None,
            "winner_message_id": str(best.message_id) if best else None,
            "chain": {"round": round_.chain_id, "finalized_tx": round_.finalized_tx},
        }
