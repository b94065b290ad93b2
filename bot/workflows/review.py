"""The workflow of a review: what is held waits for a moderator, through any restart; then its member is told."""

from __future__ import annotations

import asyncio
import logging
from typing import NoReturn, cast

import discord
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import (
    PromptBlockedError,
    PromptWaitsError,
    ReviewOverError,
    ReviewTooLateError,
    ReviewUnknownError,
    TooManyWaitingError,
)
from bot.domain.policy import Quota
from bot.domain.reviews import Review
from bot.domain.rounds import Round
from bot.domain.videos import OVER, Video
from bot.posts.progress import ProgressMessages
from bot.posts.reviews import ReviewPosts
from bot.prompt_filter.rules import Finding
from bot.retry import passes
from bot.store import reviews, rounds, videos
from bot.workflows.steps import step
from bot.workflows.video_queue import VideoQueue
from generation.jobs import BOT_QUEUE
from generation.log_context import about
from generation.queue.engine import Engine
from generation.strict_json import JsonObject
from migrations.database import now_ms
from migrations.states.community import ReviewKind, ReviewState, RoundStatus

log = logging.getLogger(__name__)

WORKFLOW = "review_life"
POLL_S = 1.0
MOST_BLOCKED = 20  # of a member's blocked prompts about which no moderator was asked
HELD_NOTE = "A moderator will look at your video before it is posted."
CLOSED = "The round closed before a moderator had looked at it."
# A moderator's approval is not limited by the member's quota: the number that waits is bounded already.
APPROVED = Quota(prompts_a_round=1 << 30, waiting=1 << 30)


def workflow_id(review_id: int) -> str:
    """Return the id of the workflow of a review."""
    return f"review-{review_id}"


class ReviewWorkflow:
    """Holds prompts and videos, takes decisions about them, and carries those out."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        queue: VideoQueue,
        posts: ReviewPosts,
        progress: ProgressMessages,
        quota: Quota,
        model_id: str,
    ) -> None:
        """`model_id` renders the prompts that are approved."""
        self._database = database
        self._engine = engine
        self._queue = queue
        self._posts = posts
        self._progress = progress
        self._quota = quota
        self._model_id = model_id

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def review_life(argument: JsonObject) -> JsonObject:
            with about(video=str(argument["video_id"])):
                return await self.run(cast(int, argument["review_id"]))

        engine.workflow(WORKFLOW)(review_life)

    async def begin(self, connection: AsyncConnection, review: Review) -> None:
        """Begin the workflow of a review in the transaction that lets it wait."""
        argument: JsonObject = {"review_id": review.id, "video_id": review.video_id}
        await self._engine.submit(connection, WORKFLOW, workflow_id(review.id), argument, queue=BOT_QUEUE)

    # ------------------------------------------------------------------ what is held

    async def hold_prompt(
        self,
        finding: Finding,
        *,
        interaction_id: int,
        guild_id: int,
        member_id: int,
        member_name: str,
        channel_id: int | None,
        prompt: str,
        round_id: int,
    ) -> NoReturn:
        """Hold a prompt in which a rule found something. Raises PromptBlockedError or PromptWaitsError."""
        async with self._database.begin() as connection:
            await reviews.take_turns_of(connection, guild_id, member_id)
            if finding.action == "review":
                await self._check_room(connection, guild_id, member_id)
            review = await reviews.hold(
                connection,
                ReviewKind.PROMPT,
                str(interaction_id),
                ReviewState.WAITING if finding.action == "review" else ReviewState.BLOCKED,
                guild_id=guild_id,
                round_id=round_id,
                member_id=member_id,
                member_name=member_name,
                prompt=prompt,
                finding=f"rule {finding.rule}: {finding.say}",
                channel_id=channel_id,
            )
            if review.state == ReviewState.WAITING:
                await self.begin(connection, review)
            await reviews.delete_old_blocked(connection, guild_id, member_id, keep=MOST_BLOCKED)
        log.info("A prompt is held by rule %d (%s).", finding.rule, finding.action)
        if review.state == ReviewState.BLOCKED:
            raise PromptBlockedError(say=finding.say, review_id=review.id)
        raise PromptWaitsError(say=finding.say)

    async def _check_room(self, connection: AsyncConnection, guild_id: int, member_id: int) -> None:
        waiting = await reviews.count_waiting_prompts(connection, guild_id, member_id)
        if waiting >= self._quota.waiting:
            raise TooManyWaitingError(waiting=waiting)

    async def appeal(self, review_id: int, guild_id: int, member_id: int) -> None:
        """Let a blocked prompt wait for a moderator, as its member asks. Raises MemberError."""
        async with self._database.begin() as connection:
            await reviews.take_turns_of(connection, guild_id, member_id)
            review = await reviews.get_or_none_within(connection, review_id)
            if review is None or (review.guild_id, review.member_id) != (guild_id, member_id):
                raise ReviewUnknownError
            if review.state == ReviewState.WAITING:
                return  # pressed twice
            await self._check_room(connection, guild_id, member_id)
            if not await reviews.change_state(connection, review_id, ReviewState.BLOCKED, ReviewState.WAITING):
                raise ReviewOverError
            await self.begin(connection, review)

    async def hold_video(self, video: Video, finding: str) -> Review:
        """Hold a rendered video that a classifier flagged. An earlier decision about it stands."""
        async with self._database.begin() as connection:
            await reviews.take_turns_of(connection, video.guild_id, video.member_id)
            before = await reviews.of_video_or_none(connection, ReviewKind.VIDEO, video.id)
            review = before or await reviews.hold(
                connection,
                ReviewKind.VIDEO,
                video.id,
                ReviewState.WAITING,
                guild_id=video.guild_id,
                round_id=video.round_id,
                member_id=video.member_id,
                member_name=video.member_name,
                prompt=video.prompt,
                finding=finding,
                channel_id=video.progress_channel_id,
            )
            if before is None:
                await self.begin(connection, review)
        return review

    async def until_video_decided(self, video: Video, finding: str) -> Review:
        """Hold a video and wait, through restarts, until a moderator has decided or nobody wants it any more."""
        review = await self.hold_video(video, finding)
        await videos.set_note(self._database, video.id, HELD_NOTE)
        while review.state == ReviewState.WAITING:
            await asyncio.sleep(POLL_S)
            review = await self._review(review.id)
        await videos.set_note(self._database, video.id, None)
        return review

    # ------------------------------------------------------------------ decisions

    async def decide(self, review_id: int, guild_id: int, by: int, *, approve: bool, reason: str) -> Review:
        """Take a moderator's decision, once. The same transaction puts an approved prompt into the queue.

        Raises ReviewUnknownError, ReviewOverError or ReviewTooLateError.
        """
        late: Round | None = None
        async with self._database.begin() as connection:
            review = await reviews.get_or_none_within(connection, review_id)
            if review is None or review.guild_id != guild_id or review.state == ReviewState.BLOCKED:
                raise ReviewUnknownError
            if approve and review.kind == ReviewKind.PROMPT:
                round_ = await rounds.lock_for_read(connection, review.round_id)
                late = None if _open(round_) else round_
            state = ReviewState.OVER if late else ReviewState.APPROVED if approve else ReviewState.REJECTED
            if not await reviews.change_state(
                connection, review_id, ReviewState.WAITING, state, by=by, reason=CLOSED if late else reason
            ):
                raise ReviewOverError
            if state == ReviewState.APPROVED and review.kind == ReviewKind.PROMPT:
                await self._enqueue(connection, review)
            decided = await reviews.get_or_none_within(connection, review_id)
        if late is not None:
            raise ReviewTooLateError(number=late.number)
        log.info("A moderator has decided: the %s is %s.", review.kind, state)
        assert decided is not None  # noqa: S101  # found above, and nothing deletes reviews
        return decided

    async def _enqueue(self, connection: AsyncConnection, review: Review) -> None:
        created = await videos.add(
            connection,
            video_id=review.video_id,
            guild_id=review.guild_id,
            round_id=review.round_id,
            member_id=review.member_id,
            member_name=review.member_name,
            prompt=review.prompt,
            model_id=self._model_id,
            quota=APPROVED,
        )
        if created:
            await self._queue.begin(connection, review.video_id)

    # ------------------------------------------------------------------ the workflow

    async def run(self, review_id: int) -> JsonObject:
        """Waiting → approved, rejected or over → the member is told. A video's own workflow tells of a video."""
        await step("wait for a moderator", self._until_decided, review_id)
        await step("tell the member", self._tell, review_id)
        return {"review_id": review_id}

    async def _until_decided(self, review_id: int) -> None:
        while (review := await self._review(review_id)).state == ReviewState.WAITING:
            if await self._is_unwanted(review):
                async with self._database.begin() as connection:
                    await reviews.change_state(
                        connection, review_id, ReviewState.WAITING, ReviewState.OVER, reason=CLOSED
                    )
            await asyncio.sleep(POLL_S)

    async def _is_unwanted(self, review: Review) -> bool:
        if review.kind == ReviewKind.PROMPT:
            return not _open(await rounds.get(self._database, review.round_id))
        video = await videos.get(self._database, review.video_id)
        return video.cancel_requested or video.status in OVER

    async def _tell(self, review_id: int) -> None:
        review = await self._review(review_id)
        if review.kind == ReviewKind.VIDEO or review.channel_id is None:
            return
        try:
            await self._posts.post_decision(review)
        except discord.HTTPException as error:
            if passes(error):
                raise
            log.warning("A member could not be told of a decision: HTTP %s. `/videos` tells them.", error.status)
            return
        if review.state == ReviewState.APPROVED and (await videos.get(self._database, review.video_id)).status in OVER:
            await self._progress.finish(review.video_id)  # the video was quicker than its message

    async def _review(self, review_id: int) -> Review:
        review = await reviews.get_or_none(self._database, review_id)
        if review is None:
            raise LookupError(f"There is no review {review_id}.")
        return review


def _open(round_: Round) -> bool:
    return round_.status == RoundStatus.OPENING or round_.accepts_votes(now_ms())
