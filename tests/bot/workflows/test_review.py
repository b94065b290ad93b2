"""What is held, asked about and decided, as it stands in the database. The whole way is in tests/bot/demo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.client import Client
from bot.domain.errors import (
    PromptBlockedError,
    PromptWaitsError,
    ReviewOverError,
    ReviewTooLateError,
    ReviewUnknownError,
    TooManyWaitingError,
)
from bot.domain.policy import Quota
from bot.domain.reviews import Review, describe_flags
from bot.posts.progress import ProgressMessages
from bot.posts.reviews import ReviewPosts
from bot.prompt_filter.rules import Finding
from bot.store import reviews, videos
from bot.workflows import review as review_life
from bot.workflows.review import ReviewWorkflow
from bot.workflows.video_queue import VideoQueue
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import rounds as rounds_table
from tests.bot.store.test_vote_writer import GUILD, add_round, add_video
from tests.builders.engines import RecordingEngine

ANA, MIRA = 5, 9
BLOCK, REVIEW = Finding("block", "Not here.", 1), Finding("review", "It waits.", 2)


@dataclass
class Desk:
    """Reviews over a real database; what else the bot would begin is written down."""

    database: AsyncEngine
    engine: RecordingEngine = field(default_factory=RecordingEngine)
    asked: int = 100

    def __post_init__(self) -> None:
        client = Client()
        self.reviews = ReviewWorkflow(
            database=self.database,
            engine=self.engine,
            queue=VideoQueue(database=self.database, engine=self.engine),
            posts=ReviewPosts(database=self.database, client=client, model_class="tiny"),
            progress=ProgressMessages(database=self.database, client=client, progress_s=1.0, model_class="tiny"),
            quota=Quota(prompts_a_round=5, waiting=2),
            model_id="tiny",
        )

    @property
    def begun(self) -> list[str]:
        """The workflows that were begun, by their ids."""
        return self.engine.submitted

    async def prompt(self, finding: Finding, text: str = "a prompt") -> Review:
        """A member's prompt that a rule named, as it is held then."""
        self.asked += 1
        expected = PromptBlockedError if finding.action == "block" else PromptWaitsError
        with pytest.raises(expected, match=finding.say):
            await self.reviews.hold_prompt(
                finding,
                interaction_id=self.asked,
                guild_id=GUILD,
                member_id=ANA,
                member_name="ana",
                channel_id=3,
                prompt=text,
                round_id=1,
            )
        return await self.held(str(self.asked))

    async def held(self, video_id: str, kind: Any = "prompt") -> Review:
        async with self.database.connect() as connection:
            found = await reviews.of_video_or_none(connection, kind, video_id)
        assert found is not None
        return found

    async def decide(self, review: Review, *, approve: bool, reason: str = "", guild: int = GUILD) -> Review:
        return await self.reviews.decide(review.id, guild, MIRA, approve=approve, reason=reason)


@pytest.fixture
async def desk(sqlite_url: str) -> AsyncIterator[Desk]:
    await upgrade_database(sqlite_url)
    database = open_database(sqlite_url)
    await add_round(database, 1)
    yield Desk(database)
    await database.dispose()


async def test_a_blocked_prompt_is_appealed_and_approved(desk: Desk) -> None:
    """It waits only once its member asks; approved, it is in the queue as they wrote it, once."""
    blocked = await desk.prompt(BLOCK, "a kite")
    assert (blocked.state, desk.begun) == ("blocked", [])
    with pytest.raises(ReviewUnknownError):
        await desk.decide(blocked, approve=True)
    for stranger, guild in ((ANA + 1, GUILD), (ANA, GUILD + 1)):
        with pytest.raises(ReviewUnknownError):
            await desk.reviews.appeal(blocked.id, guild, stranger)
    for _ in range(2):  # pressed twice
        await desk.reviews.appeal(blocked.id, GUILD, ANA)
    assert desk.begun == [f"review-{blocked.id}"]
    with pytest.raises(ReviewUnknownError):
        await desk.decide(blocked, approve=True, guild=GUILD + 1)
    assert await videos.get_or_none(desk.database, blocked.video_id) is None

    decided = await desk.decide(blocked, approve=True, reason="It is a toy.")
    assert (decided.state, decided.decided_by, decided.reason) == ("approved", MIRA, "It is a toy.")
    assert decided.decided_at_ms is not None
    video = await videos.get(desk.database, blocked.video_id)
    assert (video.prompt, video.member_id, video.status) == ("a kite", ANA, "queued")
    with pytest.raises(ReviewOverError):
        await desk.decide(blocked, approve=False)
    with pytest.raises(ReviewOverError):
        await desk.reviews.appeal(blocked.id, GUILD, ANA)
    assert desk.begun.count(f"video-{video.id}") == 1


async def test_a_rejected_prompt_becomes_no_video(desk: Desk) -> None:
    held = await desk.prompt(REVIEW)
    assert (held.state, desk.begun) == ("waiting", [f"review-{held.id}"])
    assert [review.id for review in (await reviews.list_waiting(desk.database, GUILD, 5))[0]] == [held.id]
    assert (await desk.decide(held, approve=False, reason="No.")).state == "rejected"
    assert await videos.get_or_none(desk.database, held.video_id) is None
    assert await reviews.list_waiting(desk.database, GUILD, 5) == ([], 0)
    mine = await reviews.prompts_of_member(desk.database, GUILD, ANA, 5)
    assert [(review.state, review.reason) for review in mine] == [("rejected", "No.")]


async def test_a_member_may_have_so_many_waiting(desk: Desk) -> None:
    """As many as of their videos; what is blocked and not appealed is forgotten but for the latest."""
    for _ in range(2):
        await desk.prompt(REVIEW)
    late = await desk.prompt(BLOCK)
    with pytest.raises(TooManyWaitingError):
        await desk.reviews.appeal(late.id, GUILD, ANA)
    for _ in range(review_life.MOST_BLOCKED):
        latest = await desk.prompt(BLOCK)
    assert await reviews.get_or_none(desk.database, late.id) is None
    assert await reviews.get_or_none(desk.database, latest.id) is not None
    assert (await reviews.list_waiting(desk.database, GUILD, 5))[1] == 2


async def test_nothing_is_approved_after_the_close(desk: Desk) -> None:
    """The moderator reads why, and the review is over; a rejection still counts as one."""
    first, second = await desk.prompt(REVIEW), await desk.prompt(REVIEW)
    async with desk.database.begin() as connection:
        await connection.execute(update(rounds_table).values(closes_at_ms=now_ms() - 1))
    with pytest.raises(ReviewTooLateError, match="Round 1 is closed"):
        await desk.decide(first, approve=True)
    assert (await desk.held(first.video_id)).state == "over"
    assert await videos.get_or_none(desk.database, first.video_id) is None
    assert (await desk.decide(second, approve=False)).state == "rejected"


async def test_a_video_is_held_once_and_its_decision_stands(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered again because its machine was lost, it does not wait for a second decision."""
    monkeypatch.setattr(review_life, "POLL_S", 0.01)
    await add_video(desk.database, "7", 1, status="uploading")
    video = await videos.get(desk.database, "7")
    held = await desk.reviews.hold_video(video, "the classifier saw red (0.99)")
    assert held.state == "waiting"
    assert (await desk.reviews.hold_video(video, "again")).id == held.id
    await desk.decide(held, approve=True)
    assert (await desk.reviews.until_video_decided(video, "again")).state == "approved"
    assert desk.begun == [f"review-{held.id}"]
    assert (await videos.get(desk.database, "7")).reason is None


def test_findings_of_a_worker_are_not_believed_blindly() -> None:
    """Nothing found is nothing held; what cannot be read is held."""
    assert describe_flags(None) is None
    assert describe_flags({"flagged": []}) is None
    assert describe_flags({"flagged": [{"label": "red", "score": 0.991}]}) == "the classifier saw red (0.99)"
    for odd in ({}, [], "x", {"flagged": 3}, {"flagged": [{}]}, {"flagged": [{"label": "red", "score": "x"}]}):
        assert "cannot be read" in (describe_flags(odd) or "")
