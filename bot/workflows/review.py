"""Reviews: what is held waits for a moderator, through any restart; then its member is told. Each its own workflow."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import discord
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cards import layout
from bot.cards import reviews as review_cards
from bot.cards import videos as video_cards
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
from bot.posts.once import post_once
from bot.prompt_filter.rules import Finding
from bot.retry import patiently, step
from bot.store import reviews, rounds, videos
from generation.jobs import BOT_QUEUE
from generation.log_context import about
from generation.queue.engine import Engine
from migrations.database import now_ms
from migrations.states_community import ReviewKind, ReviewState

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

WORKFLOW = "review_life"
POLL_S = 1.0
KEPT = 20  # of a member's blocked prompts that no moderator was asked about
HELD = "A moderator looks at your video before it is posted."
CLOSED = "The round closed before a moderator had looked at it."
# A moderator's word goes beyond the member's quota: what waits is bounded, and so is what they can approve.
APPROVED = Quota(prompts_a_round=1 << 30, waiting=1 << 30)

Json = dict[str, Any]


class ReviewLife:
    """Holds prompts and videos, takes decisions about them, and carries those out."""

    def __init__(self, app: App) -> None:
        self.app = app

    def register(self, engine: Engine) -> None:
        """Makes the workflow known to the engine, before it is launched."""

        async def review_life(argument: Json) -> Json:
            with about(video=argument["video_id"]):
                return await self.live(int(argument["review_id"]))

        engine.workflow(WORKFLOW)(review_life)

    async def begin(self, connection: AsyncConnection, review: Review) -> None:
        """Begins the life of a review in the transaction that lets it wait."""
        argument = {"review_id": review.id, "video_id": review.video_id}
        await self.app.engine.submit(connection, WORKFLOW, f"review-{review.id}", argument, queue=BOT_QUEUE)

    # ------------------------------------------------------------------ what is held

    async def hold_prompt(self, finding: Finding, interaction: discord.Interaction[Any], prompt: str, r: Round) -> None:
        """Keeps a prompt that a rule named. Raises PromptBlockedError or PromptWaitsError, which tell the member."""
        guild_id, member = interaction.guild_id or 0, interaction.user
        async with self.app.database.begin() as connection:
            if finding.action == "review":
                await self._check_room(connection, guild_id, member.id)
            review = await reviews.hold(
                connection,
                ReviewKind.PROMPT,
                str(interaction.id),
                ReviewState.WAITING if finding.action == "review" else ReviewState.BLOCKED,
                guild_id=guild_id,
                round_id=r.id,
                member_id=member.id,
                member_name=member.display_name[:100],
                prompt=prompt,
                finding=f"rule {finding.rule}: {finding.say}",
                channel_id=interaction.channel_id,
            )
            if review.state == "waiting":
                await self.begin(connection, review)
            await reviews.delete_old_blocked(connection, guild_id, member.id, keep=KEPT)
        log.info("A prompt is held by rule %d (%s).", finding.rule, finding.action)
        if review.state == "blocked":
            raise PromptBlockedError(say=finding.say, review_id=review.id)
        raise PromptWaitsError(say=finding.say)

    async def _check_room(self, connection: AsyncConnection, guild_id: int, member_id: int) -> None:
        waiting = await reviews.count_waiting_prompts(connection, guild_id, member_id)
        if waiting >= self.app.quota.waiting:
            raise TooManyWaitingError(waiting=waiting)

    async def appeal(self, review_id: int, guild_id: int, member_id: int) -> None:
        """A member asks a moderator about a prompt that was blocked. Raises MemberError."""
        async with self.app.database.begin() as connection:
            review = await reviews.get_or_none_within(connection, review_id)
            if review is None or (review.guild_id, review.member_id) != (guild_id, member_id):
                raise ReviewUnknownError
            if review.state == "waiting":
                return  # pressed twice
            await self._check_room(connection, guild_id, member_id)
            if not await reviews.change_state(connection, review_id, ReviewState.BLOCKED, ReviewState.WAITING):
                raise ReviewOverError
            await self.begin(connection, review)

    async def hold_video(self, video: Video, finding: str) -> Review:
        """Holds a rendered video that a classifier flagged; what was decided about it once stands."""
        async with self.app.database.begin() as connection:
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
        """Holds a video and waits, through restarts, until a moderator has decided or nobody wants it any more."""
        review = await self.hold_video(video, finding)
        await videos.set_note(self.app.database, video.id, HELD)
        while review.state == "waiting":
            await asyncio.sleep(POLL_S)
            review = await self._review(review.id)
        await videos.set_note(self.app.database, video.id, None)
        return review

    # ------------------------------------------------------------------ decisions

    async def decide(self, review_id: int, guild_id: int, by: int, *, approve: bool, reason: str) -> Review:
        """A moderator decides, once; an approved prompt is in the queue with the same transaction.

        Raises ReviewUnknownError, ReviewOverError or ReviewTooLateError.
        """
        late: Round | None = None
        async with self.app.database.begin() as connection:
            review = await reviews.get_or_none_within(connection, review_id)
            if review is None or review.guild_id != guild_id or review.state == "blocked":
                raise ReviewUnknownError
            if approve and review.kind == "prompt":
                round_ = await rounds.lock_for_read(connection, review.round_id)
                late = None if _open(round_) else round_
            state = ReviewState.OVER if late else ReviewState.APPROVED if approve else ReviewState.REJECTED
            if not await reviews.change_state(
                connection, review_id, ReviewState.WAITING, state, by=by, reason=CLOSED if late else reason
            ):
                raise ReviewOverError
            if state == "approved" and review.kind == "prompt":
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
            model_id=self.app.settings.model_id,
            quota=APPROVED,
        )
        if created:
            await self.app.video_life.begin(connection, review.video_id)

    # ------------------------------------------------------------------ the workflow

    async def live(self, review_id: int) -> Json:
        """Waiting → approved, rejected or over → the member is told. A video's own life tells of it."""
        await step("wait for a moderator", self._until_decided, review_id)
        await step("tell the member", self._tell, review_id)
        return {"review_id": review_id}

    async def _until_decided(self, review_id: int) -> None:
        while (review := await self._review(review_id)).state == "waiting":
            if await self._unwanted(review):
                async with self.app.database.begin() as connection:
                    await reviews.change_state(
                        connection, review_id, ReviewState.WAITING, ReviewState.OVER, reason=CLOSED
                    )
            await asyncio.sleep(POLL_S)

    async def _unwanted(self, review: Review) -> bool:
        if review.kind == "prompt":
            return not _open(await rounds.get(self.app.database, review.round_id))
        video = await videos.get(self.app.database, review.video_id)
        return video.cancel_requested or video.status in OVER

    async def _tell(self, review_id: int) -> None:
        review = await self._review(review_id)
        if review.kind == "video" or review.channel_id is None:
            return
        try:
            await patiently("Discord", lambda: self._post(review))
        except discord.HTTPException as error:
            log.warning("A member could not be told of a decision: HTTP %s. `/videos` tells them.", error.status)

    async def _post(self, review: Review) -> None:
        channel = await self.app.client.channel(review.channel_id or 0)
        nonce = f"review-{review.id}"[:25]
        if review.state != "approved":
            text = f"{review_cards.notice_text(review)}\n-# Review {review.id}."
            mark = f"-# Review {review.id}."
            await post_once(channel, layout.note(text), nonce=nonce, mark=mark, again=True)
            return
        video = await videos.get(self.app.database, review.video_id)
        round_ = await rounds.get(self.app.database, video.round_id)
        place = await videos.queue_place(self.app.database, video, self.app.settings.model_class)
        card = video_cards.progress_card(video_cards.progress_text(video, round_, place, None), video)
        mark = video_cards.custom_id("cancel", video.id)
        message = await post_once(channel, card, nonce=nonce, mark=mark, again=True)
        await videos.change(self.app.database, video.id, progress_channel_id=channel.id, progress_message_id=message.id)
        if (await videos.get(self.app.database, video.id)).status in OVER:  # it was quicker than its message
            await self.app.video_life.tell(video.id)

    async def _review(self, review_id: int) -> Review:
        review = await reviews.get_or_none(self.app.database, review_id)
        if review is None:
            raise LookupError(f"There is no review {review_id}.")
        return review


def _open(round_: Round) -> bool:
    return round_.status == "opening" or round_.accepts_votes(now_ms())
