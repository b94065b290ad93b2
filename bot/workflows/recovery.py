"""Lives that died are begun anew, and results that could not be posted are posted when they can be.

Everything here follows from the rows: what is left to do is looked for at the start, every few seconds, and when a
permission, a channel or `/setup` changes. One round's trouble holds up no other round.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import discord
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.reviews import Review
from bot.domain.rounds import Round
from bot.posts.obstacles import UNFORESEEN
from bot.store import reviews, rounds, videos
from bot.workflows import hosting as hosting_life
from bot.workflows import removal as removal_life
from bot.workflows import review as review_life
from bot.workflows import round as round_life
from generation.jobs import BOT_QUEUE
from generation.queue.engine import LifeState
from migrations.database import now_ms
from migrations.states_community import VideoStatus

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

DAYS = 30  # what is older is left as it is
TOLD_DAYS = 1  # a decision that is older than this is not told any more: `/videos` has it
FIRST_S, MOST_S = 20.0, 600.0  # between two tries at a post
MOST_AGAIN = 5  # lives of one round in one run of the bot: one that dies each time is for the operator
TRY_S = 5.0
DAY_MS = 86_400_000


class Mending:
    """Looks for what is left to do. All of it may be repeated."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._begun: Counter[int] = Counter()  # lives, by round
        self._next: dict[int, tuple[float, float]] = {}  # round -> when it is tried next, and the pause after that
        self._tries: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[int, set[int]] = {}  # rounds with something to post, by guild
        self._closed = False
        self._telling: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """What died before this start, of every kind of life. Nothing that fails here keeps the bot from starting."""
        for name, look in (
            ("rounds", self._rounds),
            ("videos", self._videos),
            ("removals", self._removals),
            ("reviews", self._reviews),
        ):
            try:
                await look()
            except Exception:
                log.exception("Lives of %s that died could not be looked for.", name)

    async def tick(self) -> None:
        """One look at what is left of rounds."""
        try:
            await self._rounds()
        except (SQLAlchemyError, OSError) as error:
            log.warning("Rounds could not be looked at (%s).", type(error).__name__)
        except Exception:
            if not self._closed:  # else the engine was closed under it
                log.exception("Rounds could not be looked at.")

    async def close(self) -> None:
        """Tries nothing more; the next start goes on."""
        self._closed = True
        tries = [*self._tries.values(), *self._telling]
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)

    def hurry(self, guild_id: int) -> None:
        """Something has changed in a guild: what could not be posted there is tried at the next look."""
        for round_id in self._waiting.get(guild_id, ()):
            self._next.pop(round_id, None)

    # ------------------------------------------------------------------ rounds

    async def wake(self, round_id: int) -> None:
        """Wakes a round's life that sleeps; where it died, another one goes on."""
        life, state, after = await self._latest(round_life.workflow_id(round_id))
        if state == "alive":
            await self.app.engine.wake(life)
        elif state != "done":
            await self._begin_round(round_id, after)

    async def _rounds(self) -> None:
        open_rounds = await rounds.all_open(self.app.database)
        closed = await rounds.closed_with_work_left(self.app.database, now_ms() - DAYS * DAY_MS)
        states = await self.app.engine.states([round_life.workflow_id(one.id) for one in [*open_rounds, *closed]])
        self._waiting = {}
        for round_ in [*open_rounds, *closed]:
            try:
                await self._look_at(round_, states.get(round_life.workflow_id(round_.id)))
            except (SQLAlchemyError, OSError):
                raise  # it is the same for all of them
            except Exception:
                if not self._closed:
                    log.exception("Round %s could not be seen to.", round_.id)
        self._next = {id_: due for id_, due in self._next.items() if id_ in {one.id for one in closed}}

    async def _look_at(self, round_: Round, state: LifeState | None) -> None:
        if round_.status != "closed" or round_.finalized_tx is None:
            state = await self._see_to(round_, state)
        if round_.status != "closed":
            return
        left = round_.result_message_id is None or (round_.opened and round_.trouble is not None)
        on_discord = round_.opened or round_.announcement_id is not None
        if left and on_discord and (round_.trouble is not None or state != "alive"):
            self._waiting.setdefault(round_.guild_id, set()).add(round_.id)
            self._try(round_)

    async def _see_to(self, round_: Round, state: LifeState | None) -> LifeState | None:
        """Has a life go on where the round's has died, and wakes one that has missed its deadline."""
        if state == "alive" and (round_.status == "closed" or round_.closes_at_ms > now_ms()):
            return state
        if state == "done" and round_.status == "closed":  # the ledger has refused it: there is nothing to wait for
            return state
        life, state, after = await self._latest(round_life.workflow_id(round_.id))
        if state == "alive":
            if round_.status == "open" and round_.closes_at_ms <= now_ms():
                await self.app.engine.wake(life)
        elif state != "done" or round_.status != "closed":
            if await self._begin_round(round_.id, after):
                return "alive"
            if round_.status == "opening" or round_.closes_at_ms <= now_ms():  # no life of it will ever close it
                await rounds.close(self.app.database, round_.id, "The round closed.", trouble=UNFORESEEN)
            return "dead"
        return state

    async def _begin_round(self, round_id: int, life: str) -> bool:
        """Begins another life; False where too many have died."""
        if self._begun[round_id] >= MOST_AGAIN:
            return False
        self._begun[round_id] += 1
        log.error("The life of round %s had ended by an error; %s goes on with it.", round_id, life)
        async with self.app.database.begin() as connection:
            await self.app.round_life.begin(connection, round_id, life)
        return True

    async def _latest(self, first: str) -> tuple[str, LifeState | None, str]:
        """The latest of a thing's lives, how it is (None: there was none), and the id of the one to come after it.

        Ids follow from each other, so that two that begin a life at once begin the same one.
        """
        life, state, number = first, (await self.app.engine.states([first])).get(first), 0
        if state is None:
            return first, None, first
        while True:
            number += 1
            after = f"{first}-again-{number}"
            later = (await self.app.engine.states([after])).get(after)
            if later is None:
                return life, state, after
            life, state = after, later

    def _try(self, round_: Round) -> None:
        """Tries to post what is left of a round, ever more seldom, beside everything else."""
        now = asyncio.get_running_loop().time()
        due, pause = self._next.get(round_.id, (now, FIRST_S))
        if round_.id in self._tries or now < due or self._closed:
            return
        self._next[round_.id] = (now + pause, min(pause * 2, MOST_S))
        task = asyncio.create_task(self._end(round_.id), name=f"the result of round {round_.id}")
        self._tries[round_.id] = task
        task.add_done_callback(lambda _: self._tries.pop(round_.id, None))

    async def _end(self, round_id: int) -> None:
        posts = self.app.round_life.posts
        try:
            round_ = await rounds.get(self.app.database, round_id)
            if round_.result_message_id is not None:
                await posts.show_result(round_id)
            elif await posts.end(round_, TRY_S) is None:
                log.info("What was left of round %s on Discord is done.", round_id)
                await posts.lock(round_)
        except (SQLAlchemyError, discord.DiscordException, aiohttp.ClientError, OSError) as error:
            log.warning("The result of round %s could not be posted now (%s).", round_id, type(error).__name__)
        except Exception:
            log.exception("The result of round %s could not be posted.", round_id)

    # ------------------------------------------------------------------ other lives

    async def _videos(self) -> None:
        """A video whose life died is failed, and its member told: nothing else would ever end it."""
        under_way = await videos.under_way(self.app.database)
        states = await self.app.engine.states([f"video-{video.id}" for video in under_way])
        for video in under_way:
            if states.get(f"video-{video.id}", "dead") == "alive":
                continue
            log.error("The life of video %s had ended by an error; the video is failed.", video.id)
            await videos.end(self.app.database, video.id, VideoStatus.FAILED, hosting_life.UNFORESEEN)
            task = asyncio.create_task(self.app.video_life.tell(video.id), name=f"tell of video {video.id}")
            self._telling.add(task)
            task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("A member could not be told how their video ended (%s).", type(error).__name__)

    async def _removals(self) -> None:
        for argument in (await self.app.engine.dead(removal_life.WORKFLOW, now_ms() - DAYS * DAY_MS)).values():
            if isinstance(argument.get("video_id"), str):  # else it is no argument of ours
                await self._again(removal_life.WORKFLOW, f"removal-{argument['video_id']}", argument)

    async def _reviews(self) -> None:
        for argument in (await self.app.engine.dead(review_life.WORKFLOW, now_ms() - DAYS * DAY_MS)).values():
            number = argument.get("review_id")
            review = await reviews.get_or_none(self.app.database, number) if isinstance(number, int) else None
            if review is not None and _is_wanted(review):
                await self._again(review_life.WORKFLOW, f"review-{review.id}", argument)

    async def _again(self, workflow: str, first: str, argument: dict[str, object]) -> None:
        _, state, after = await self._latest(first)
        if state != "dead":
            return
        log.error("%s had ended by an error; %s goes on with it.", first, after)
        async with self.app.database.begin() as connection:
            await self.app.engine.submit(connection, workflow, after, argument, queue=BOT_QUEUE)


def _is_wanted(review: Review) -> bool:
    decided = review.decided_at_ms or 0
    return review.state == "waiting" or decided > now_ms() - TOLD_DAYS * DAY_MS
