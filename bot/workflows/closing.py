"""The workflow by which a closed round comes to look closed everywhere: its thread, announcement, cards and messages.

The result and the ledger do not wait for it. What Discord refuses for good is left as it is, and holds nothing else up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.cards.rounds import result_link
from bot.posts.obstacles import Obstacle, is_old
from bot.posts.progress import ProgressMessages
from bot.posts.rounds import RoundPosts
from bot.posts.videos import VideoPosts
from bot.retry import is_unreadable, passes
from bot.store import rounds, videos
from bot.workflows.steps import step
from generation.jobs import BOT_QUEUE
from generation.log_context import about
from generation.queue.engine import Engine
from generation.strict_json import JsonObject
from migrations.database import now_ms

log = logging.getLogger(__name__)

WORKFLOW = "closing_life"
PACE_S = 1.0  # between two edits: Discord allows about five in five seconds a channel, and others edit there too
OLD_PACE_S = 7.0  # the same for messages that are over an hour old
AT_ONCE = 10  # messages in one step: as many are edited again, at most, after a restart
AGAIN_S, LONGEST_AGAIN_S = 30.0, 3600.0  # between two tries at what Discord did not take
MOST_TRIES = 12  # which take about six hours
RESULT_POLL_S = 1.0
RESULT_DAYS = 30  # a result that is not posted by then is not linked any more
DAY_MS = 86_400_000

Close = Callable[[str], Awaitable[None]]


def workflow_id(round_id: int) -> str:
    """Return the id of the workflow that closes what members see of a round."""
    return f"closing-{round_id}"


class ClosingWorkflow:
    """Closes what members see of rounds. Each of its steps may run twice: it edits to what the rows say."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        posts: RoundPosts,
        video_posts: VideoPosts,
        progress: ProgressMessages,
    ) -> None:
        self._database = database
        self._engine = engine
        self._posts = posts
        self._video_posts = video_posts
        self._progress = progress

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def closing_life(argument: JsonObject) -> JsonObject:
            round_id = argument["round_id"]
            assert isinstance(round_id, int)  # noqa: S101  # `begin` wrote it
            with about(round=round_id):
                return await self.run(round_id)

        engine.workflow(WORKFLOW)(closing_life)

    async def begin(self, connection: AsyncConnection, round_id: int) -> None:
        """Begin to close what members see of a round; a second time changes nothing."""
        await self._engine.submit(connection, WORKFLOW, workflow_id(round_id), {"round_id": round_id}, queue=BOT_QUEUE)

    async def run(self, round_id: int) -> JsonObject:
        """Thread and announcement → cards → progress messages → archive; and the result's link, when there is one."""
        linked = await step("has a result", self._has_result, round_id)
        await self._try("close the thread", self._close_thread, [str(round_id)])
        await self._try("close the announcement", self._close_announcement, [str(round_id)])
        video_ids = await step("list the cards", self._video_ids, round_id)
        await self._try("close cards", self._video_posts.close_card, video_ids)
        await self._try("close progress messages", self._progress.finish, video_ids)
        await self._try("archive the thread", self._archive, [str(round_id)])
        if not linked:
            await step("wait for the result", self._wait_for_result, round_id)
            await self._try("close the thread", self._close_thread, [str(round_id)])
            await self._try("close the announcement", self._close_announcement, [str(round_id)])
        return {"round_id": round_id}

    async def _try(self, name: str, close: Close, ids: Sequence[str]) -> None:
        """Close each of these, and again later what Discord did not take: a refusal of one holds up no other."""
        pause = AGAIN_S
        for _ in range(MOST_TRIES):
            left: list[str] = []
            for start in range(0, len(ids), AT_ONCE):
                left += await self._try_some(name, close, ids[start : start + AT_ONCE])
            if not left:
                return
            ids = left
            await Engine.sleep(pause)
            pause = min(pause * 2, LONGEST_AGAIN_S)
        log.error("Given up: %s (%d left).", name, len(ids))

    async def _try_some(self, name: str, close: Close, ids: Sequence[str]) -> list[str]:
        """Close some of these in one step, not too quickly. Return those that are worth another try."""

        async def body() -> list[str]:
            left = []
            for number, id_ in enumerate(ids):
                if number:
                    await asyncio.sleep(await self._pace(id_))
                try:
                    await close(id_)
                except Exception as error:
                    if passes(error) or is_unreadable(error):
                        left.append(id_)
                    else:
                        log.exception("%s of %s failed, unforeseen.", name, id_)
            return left

        return await step(name, body)

    async def _pace(self, id_: str) -> float:
        video = await videos.get_or_none(self._database, id_)
        return OLD_PACE_S if video is not None and video.message_id and is_old(video.message_id) else PACE_S

    async def _has_result(self, round_id: int) -> bool:
        return result_link(await rounds.get(self._database, round_id)) is not None

    async def _close_thread(self, round_id: str) -> None:
        _raise_passing(await self._posts.close_thread(await rounds.get(self._database, int(round_id))))

    async def _close_announcement(self, round_id: str) -> None:
        _raise_passing(await self._posts.close_announcement(await rounds.get(self._database, int(round_id))))

    async def _archive(self, round_id: str) -> None:
        _raise_passing(await self._posts.archive(await rounds.get(self._database, int(round_id))))

    async def _video_ids(self, round_id: int) -> list[str]:
        entries = await videos.entries(self._database, round_id)
        return [entry.video.id for entry in sorted(entries, key=lambda entry: entry.video.message_id or 0)]

    async def _wait_for_result(self, round_id: int) -> None:
        """Wait until `recovery` has posted the result: it may need a permission that a moderator has to give first."""
        wait = RESULT_POLL_S
        while not await self._has_result(round_id):
            round_ = await rounds.get(self._database, round_id)
            if round_.closes_at_ms < now_ms() - RESULT_DAYS * DAY_MS:
                return
            await asyncio.sleep(wait)
            wait = min(wait * 1.2, 30.0)


def _raise_passing(obstacle: Obstacle | None) -> None:
    """Raise TimeoutError for what passes by itself: it is worth another try."""
    if obstacle is not None and obstacle.passes:
        raise TimeoutError(obstacle.sentence)
