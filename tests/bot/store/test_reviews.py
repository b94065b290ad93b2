"""Reviews as rows: held once, decided once."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.reviews import Review
from bot.store import reviews
from migrations.states.community import ReviewKind, ReviewState
from tests.bot.store.test_vote_writer import GUILD, add_round

MEMBER = 5


async def hold(database: AsyncEngine, video_id: str, state: ReviewState) -> Review:
    async with database.begin() as connection:
        return await reviews.hold(
            connection, ReviewKind.PROMPT, video_id, state, guild_id=GUILD, round_id=1, member_id=MEMBER,
            member_name="ana", prompt="a prompt", finding="rule 1", channel_id=None,
        )  # fmt: skip


async def test_a_prompt_is_held_once(database: AsyncEngine) -> None:
    """Held again, it stays as it is."""
    await add_round(database, 1)
    first = await hold(database, "1", ReviewState.WAITING)
    assert await hold(database, "1", ReviewState.BLOCKED) == first
    assert first.state is ReviewState.WAITING
    assert await reviews.get_or_none(database, first.id) == first
    assert await reviews.get_or_none(database, first.id + 1) is None
    async with database.connect() as connection:
        assert await reviews.of_video_or_none(connection, ReviewKind.PROMPT, "1") == first
        assert await reviews.of_video_or_none(connection, ReviewKind.VIDEO, "1") is None
        assert await reviews.count_waiting_prompts(connection, GUILD, MEMBER) == 1


async def test_a_review_is_decided_once(database: AsyncEngine) -> None:
    """By whom and why is kept; the second decision changes nothing."""
    await add_round(database, 1)
    review = await hold(database, "1", ReviewState.WAITING)
    async with database.begin() as connection:
        change = (connection, review.id, ReviewState.WAITING)
        assert await reviews.change_state(*change, ReviewState.REJECTED, by=9, reason="It is late.")
        assert not await reviews.change_state(*change, ReviewState.APPROVED, by=8)
        decided = await reviews.get_or_none_within(connection, review.id)
    assert decided is not None
    assert (decided.state, decided.decided_by, decided.reason) == (ReviewState.REJECTED, 9, "It is late.")
    assert [held.id for held in await reviews.prompts_of_member(database, GUILD, MEMBER, 10)] == [review.id]


async def test_what_waits_is_listed_page_by_page(database: AsyncEngine) -> None:
    """The oldest first; blocked prompts are not among them, and only the latest of those are kept."""
    await add_round(database, 1)
    waiting = [(await hold(database, str(n), ReviewState.WAITING)).id for n in range(3)]
    blocked = [(await hold(database, f"b{n}", ReviewState.BLOCKED)).id for n in range(3)]
    page, count = await reviews.list_waiting(database, GUILD, 2)
    assert ([review.id for review in page], count) == (waiting[:2], 3)
    rest, count = await reviews.list_waiting(database, GUILD, 2, waiting[1])
    assert ([review.id for review in rest], count) == (waiting[2:], 3)
    assert await reviews.count_waiting_up_to(database, GUILD, waiting[1]) == 2
    async with database.begin() as connection:
        await reviews.delete_old_blocked(connection, GUILD, MEMBER, keep=1)
    assert [await reviews.get_or_none(database, review_id) is not None for review_id in blocked] == [False, False, True]
