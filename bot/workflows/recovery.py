"""The recovery of workflows that ended by an error, and of results that could not be posted.

Everything here follows from the rows: the bot looks for what is left to do at its start, every few seconds, and when a
permission, a channel or `/setup` changes. The trouble of one round holds up no other round.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import aiohttp
import discord
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.reviews import Review
from bot.domain.rounds import Round
from bot.posts.obstacles import UNFORESEEN
from bot.posts.progress import ProgressMessages
from bot.posts.rounds import RoundPosts
from bot.posts.vote_counts import VoteCounts
from bot.retry import patiently
from bot.store import reviews, rounds, videos
from bot.workflows import closing, removal, review, video, video_queue
from bot.workflows.round import RoundWorkflow
from bot.workflows.round import workflow_id as round_workflow_id
from generation.jobs import BOT_QUEUE
from generation.queue.engine import Engine, LifeState
from migrations.database import now_ms
from migrations.states.community import ReviewState, RoundStatus, VideoStatus

log = logging.getLogger(__name__)

DAYS = 30  # older rounds are left as they are
TOLD_DAYS = 1  # an older decision is not told any more: `/videos` shows it
FIRST_S, MOST_S = 20.0, 600.0  # between two tries at a post
MOST_AGAIN = 5  # workflows begun for one round in one run of the bot: one that fails each time is for the operator
TRY_S = 5.0
DAY_MS = 86_400_000


class Recovery:
    """Looks for what is left to do. All of it may be repeated."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        round_workflow: RoundWorkflow,
        posts: RoundPosts,
        progress: ProgressMessages,
        vote_counts: VoteCounts,
    ) -> None:
        self._database = database
        self._engine = engine
        self._round_workflow = round_workflow
        self._posts = posts
        self._progress = progress
        self._vote_counts = vote_counts
        self._begun_counts: Counter[int] = Counter()  # workflows, by round
        self._next: dict[int, tuple[float, float]] = {}  # by round: the time of the next try, and the pause after it
        self._tries: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[int, set[int]] = {}  # rounds with something to post, by guild
        self._closed = False
        self._last_edits: set[asyncio.Task[None]] = set()  # of progress messages

    async def start(self) -> None:
        """Recover what failed before this start, of every kind. No error here keeps the bot from starting."""
        for name, look in (
            ("rounds", self._rounds),
            ("videos", self._videos),
            ("removals", self._removals),
            ("closings", self._closings),
            ("reviews", self._reviews),
        ):
            try:
                await look()
            except Exception:
                log.exception("Workflows of %s that failed could not be looked for.", name)

    async def tick(self) -> None:
        """Look once at what is left of rounds."""
        try:
            await self._rounds()
        except (SQLAlchemyError, OSError) as error:
            log.warning("Rounds could not be looked at (%s).", type(error).__name__)
        except Exception:
            if not self._closed:  # else the engine was closed under it
                log.exception("Rounds could not be looked at.")

    async def close(self) -> None:
        """Stop trying; the next start goes on."""
        self._closed = True
        tries = [*self._tries.values(), *self._last_edits]
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)

    def hurry(self, guild_id: int) -> None:
        """Try at the next look what could not be posted in a guild: something has changed there."""
        for round_id in self._waiting.get(guild_id, ()):
            self._next.pop(round_id, None)
        self._vote_counts.hurry(guild_id)

    # ------------------------------------------------------------------ rounds

    async def close_now(self, round_: Round) -> None:
        """Close a round at once, whatever its workflow does, and have what is left of it done."""
        await self._round_workflow.close(round_.id)
        try:
            await self.wake(round_.id)
        except (SQLAlchemyError, OSError) as error:  # it is closed all the same, and the next look goes on
            log.warning("The workflow of round %s could not be woken (%s).", round_.id, type(error).__name__)

    async def wake(self, round_id: int) -> None:
        """Wake the workflow of a round; where it failed, begin another one."""
        latest, state, after = await self._latest(round_workflow_id(round_id))
        if state == "alive":
            await self._engine.wake(latest)
        elif state != "done":
            await self._begin_round(round_id, after)

    async def _rounds(self) -> None:
        open_rounds = await rounds.all_open(self._database)
        closed = await rounds.closed_with_work_left(self._database, now_ms() - DAYS * DAY_MS)
        states = await self._engine.states([round_workflow_id(each.id) for each in [*open_rounds, *closed]])
        self._waiting = {}
        for round_ in [*open_rounds, *closed]:
            try:
                await self._look_at(round_, states.get(round_workflow_id(round_.id)))
            except (SQLAlchemyError, OSError):
                raise  # it is the same for all of them
            except Exception:
                if not self._closed:
                    log.exception("Round %s could not be seen to.", round_.id)
        self._next = {id_: due for id_, due in self._next.items() if id_ in {each.id for each in closed}}

    async def _look_at(self, round_: Round, state: LifeState | None) -> None:
        if round_.status != RoundStatus.CLOSED or round_.finalized_tx is None:
            state = await self._see_to(round_, state)
        if round_.status != RoundStatus.CLOSED:
            return
        has_work_left = round_.result_message_id is None or (round_.opened and round_.trouble is not None)
        on_discord = round_.opened or round_.announcement_id is not None
        if has_work_left and on_discord and (round_.trouble is not None or state != "alive"):
            self._waiting.setdefault(round_.guild_id, set()).add(round_.id)
            self._try(round_)

    async def _see_to(self, round_: Round, state: LifeState | None) -> LifeState | None:
        """Begin another workflow where the round's has failed, and wake one that has missed its deadline."""
        if state == "alive" and (round_.status == RoundStatus.CLOSED or round_.closes_at_ms > now_ms()):
            return state
        if (
            state == "done" and round_.status == RoundStatus.CLOSED
        ):  # the ledger has rejected it: there is nothing to wait for
            return state
        latest, state, after = await self._latest(round_workflow_id(round_.id))
        if state == "alive":
            if round_.status == RoundStatus.OPEN and round_.closes_at_ms <= now_ms():
                await self._engine.wake(latest)
        elif state != "done" or round_.status != RoundStatus.CLOSED:
            if await self._begin_round(round_.id, after):
                return "alive"
            if (
                round_.status == RoundStatus.OPENING or round_.closes_at_ms <= now_ms()
            ):  # no workflow will ever close it
                await rounds.close(self._database, round_.id, "The round closed.", trouble=UNFORESEEN)
            return "dead"
        return state

    async def _begin_round(self, round_id: int, new_id: str) -> bool:
        """Begin another workflow. Return False if too many have failed."""
        if self._begun_counts[round_id] >= MOST_AGAIN:
            return False
        self._begun_counts[round_id] += 1
        log.error("The workflow of round %s had ended by an error; %s goes on with it.", round_id, new_id)
        async with self._database.begin() as connection:
            await self._round_workflow.begin(connection, round_id, new_id)
        return True

    async def _latest(self, first: str) -> tuple[str, LifeState | None, str]:
        """Return the latest workflow of a thing, its state (None: there is none), and the id of the next one.

        Ids follow from each other, so that two callers that begin a workflow at once begin the same one.
        """
        latest, state, number = first, (await self._engine.states([first])).get(first), 0
        if state is None:
            return first, None, first
        while True:
            number += 1
            after = f"{first}-again-{number}"
            later = (await self._engine.states([after])).get(after)
            if later is None:
                return latest, state, after
            latest, state = after, later

    def _try(self, round_: Round) -> None:
        """Try to post what is left of a round, with growing pauses, in a task of its own."""
        now = asyncio.get_running_loop().time()
        due, pause = self._next.get(round_.id, (now, FIRST_S))
        if round_.id in self._tries or now < due or self._closed:
            return
        self._next[round_.id] = (now + pause, min(pause * 2, MOST_S))
        task = asyncio.create_task(self._end(round_.id), name=f"the result of round {round_.id}")
        self._tries[round_.id] = task
        task.add_done_callback(lambda _: self._tries.pop(round_.id, None))

    async def _end(self, round_id: int) -> None:
        try:
            round_ = await rounds.get(self._database, round_id)
            if round_.result_message_id is not None:
                await self._posts.show_result(round_id)
            elif await self._posts.end(round_, TRY_S) is None:
                log.info("What was left of round %s on Discord is done.", round_id)
                await self._round_workflow.begin_closing(round_id)
        except (SQLAlchemyError, discord.DiscordException, aiohttp.ClientError, OSError) as error:
            log.warning("The result of round %s could not be posted now (%s).", round_id, type(error).__name__)
        except Exception:
            log.exception("The result of round %s could not be posted.", round_id)

    # ------------------------------------------------------------------ other workflows

    async def _videos(self) -> None:
        """Fail a video whose workflow failed, and tell its member: nothing else would ever end it."""
        under_way = await videos.under_way(self._database)
        states = await self._engine.states([video_queue.workflow_id(each.id) for each in under_way])
        for each in under_way:
            if states.get(video_queue.workflow_id(each.id), "dead") == "alive":
                continue
            log.error("The workflow of video %s had ended by an error; the video is failed.", each.id)
            await videos.end(self._database, each.id, VideoStatus.FAILED, video.UNFORESEEN)
            task = asyncio.create_task(self._finish(each.id), name=f"last edit for video {each.id}")
            self._last_edits.add(task)
            task.add_done_callback(self._finished)

    async def _finish(self, video_id: str) -> None:
        await patiently("Discord", lambda: self._progress.finish(video_id))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._last_edits.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("A member could not be told how their video ended (%s).", type(error).__name__)

    async def _removals(self) -> None:
        for argument in (await self._engine.dead(removal.WORKFLOW, now_ms() - DAYS * DAY_MS)).values():
            if isinstance(argument.get("video_id"), str):  # else no bot wrote the argument
                await self._again(removal.WORKFLOW, removal.workflow_id(argument["video_id"]), argument)

    async def _closings(self) -> None:
        for argument in (await self._engine.dead(closing.WORKFLOW, now_ms() - DAYS * DAY_MS)).values():
            if isinstance(argument.get("round_id"), int):
                await self._again(closing.WORKFLOW, closing.workflow_id(argument["round_id"]), argument)

    async def _reviews(self) -> None:
        for argument in (await self._engine.dead(review.WORKFLOW, now_ms() - DAYS * DAY_MS)).values():
            number = argument.get("review_id")
            review_row = await reviews.get_or_none(self._database, number) if isinstance(number, int) else None
            if review_row is not None and _is_wanted(review_row):
                await self._again(review.WORKFLOW, review.workflow_id(review_row.id), argument)

    async def _again(self, workflow: str, first: str, argument: dict[str, object]) -> None:
        _, state, after = await self._latest(first)
        if state != "dead":
            return
        log.error("%s had ended by an error; %s goes on with it.", first, after)
        async with self._database.begin() as connection:
            await self._engine.submit(connection, workflow, after, argument, queue=BOT_QUEUE)


def _is_wanted(review_row: Review) -> bool:
    decided = review_row.decided_at_ms or 0
    return review_row.state == ReviewState.WAITING or decided > now_ms() - TOLD_DAYS * DAY_MS
