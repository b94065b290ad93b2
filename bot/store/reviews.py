"""Reviews as rows: held once, decided once, with the moderator, the time and the reason."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.reviews import Review
from migrations.database import now_ms, take_turns
from migrations.schema import reviews
from migrations.states.community import ReviewKind, ReviewState


async def hold(
    connection: AsyncConnection,
    kind: ReviewKind,
    video_id: str,
    state: ReviewState,
    *,
    guild_id: int,
    round_id: int,
    member_id: int,
    member_name: str,
    prompt: str,
    finding: str,
    channel_id: int | None,
) -> Review:
    """Hold a prompt or a video in the caller's transaction. Return its review; an existing review stays as it is."""
    review = await of_video_or_none(connection, kind, video_id)
    if review is None:
        await connection.execute(
            insert(reviews).values(
                kind=kind,
                video_id=video_id,
                guild_id=guild_id,
                round_id=round_id,
                member_id=member_id,
                member_name=member_name,
                prompt=prompt,
                finding=finding,
                state=state,
                channel_id=channel_id,
                created_at_ms=now_ms(),
            )
        )
        review = await of_video_or_none(connection, kind, video_id)
        assert review is not None  # noqa: S101  # written three lines above
    return review


async def of_video_or_none(connection: AsyncConnection, kind: ReviewKind, video_id: str) -> Review | None:
    """Return the review of a prompt or of a video; None where there is none."""
    query = select(reviews).where(reviews.c.kind == kind, reviews.c.video_id == video_id)
    row = (await connection.execute(query)).first()
    return Review.from_row(row) if row else None


async def get_or_none_within(connection: AsyncConnection, review_id: int) -> Review | None:
    """Return the review, read within the caller's transaction; None where there is none."""
    row = (await connection.execute(select(reviews).where(reviews.c.id == review_id))).first()
    return Review.from_row(row) if row else None


async def get_or_none(database: AsyncEngine, review_id: int) -> Review | None:
    """Return the review; None where there is none."""
    async with database.connect() as connection:
        return await get_or_none_within(connection, review_id)


async def change_state(
    connection: AsyncConnection,
    review_id: int,
    before: ReviewState,
    after: ReviewState,
    *,
    by: int | None = None,
    reason: str = "",
) -> bool:
    """Move a review from one state to another, once. Return False where it is no longer in the first state."""
    values: dict[str, object] = {"state": after}
    if after != ReviewState.WAITING:
        values |= {"decided_by": by, "decided_at_ms": now_ms(), "reason": reason or None}
    changed = await connection.execute(
        update(reviews).where(reviews.c.id == review_id, reviews.c.state == before).values(**values)
    )
    return bool(changed.rowcount)


async def delete_old_blocked(connection: AsyncConnection, guild_id: int, member_id: int, *, keep: int) -> None:
    """Delete a member's blocked prompts that no moderator was asked about, except the latest `keep`."""
    mine = (reviews.c.guild_id == guild_id, reviews.c.member_id == member_id, reviews.c.state == ReviewState.BLOCKED)
    oldest = select(reviews.c.id).where(*mine).order_by(reviews.c.id.desc()).offset(keep).limit(1).scalar_subquery()
    await connection.execute(delete(reviews).where(*mine, reviews.c.id <= oldest))


async def take_turns_of(connection: AsyncConnection, guild_id: int, member_id: int) -> None:
    """Let the transactions that count a member's reviews, and then add one, follow each other."""
    await take_turns(connection, "reviews", guild_id, member_id)


async def count_waiting_prompts(connection: AsyncConnection, guild_id: int, member_id: int) -> int:
    """Return the number of a member's prompts that wait for a moderator."""
    query = select(func.count()).where(
        reviews.c.guild_id == guild_id,
        reviews.c.member_id == member_id,
        reviews.c.kind == ReviewKind.PROMPT,
        reviews.c.state == ReviewState.WAITING,
    )
    return int(await connection.scalar(query) or 0)


async def list_waiting(database: AsyncEngine, guild_id: int, most: int, after: int = 0) -> tuple[Sequence[Review], int]:
    """Return the oldest reviews that wait in a guild, from after the review `after` on, and how many wait in all."""
    mine = (reviews.c.guild_id == guild_id, reviews.c.state == ReviewState.WAITING)
    query = select(reviews).where(*mine, reviews.c.id > after).order_by(reviews.c.id).limit(most)
    async with database.connect() as connection:
        rows = await connection.execute(query)
        count = await connection.scalar(select(func.count()).where(*mine))
        return [Review.from_row(row) for row in rows], int(count or 0)


async def count_waiting_up_to(database: AsyncEngine, guild_id: int, review_id: int) -> int:
    """Return the number of reviews that wait in a guild up to a review, that review included."""
    query = select(func.count()).where(
        reviews.c.guild_id == guild_id, reviews.c.state == ReviewState.WAITING, reviews.c.id <= review_id
    )
    async with database.connect() as connection:
        return int(await connection.scalar(query) or 0)


async def prompts_of_member(database: AsyncEngine, guild_id: int, member_id: int, most: int) -> Sequence[Review]:
    """Return a member's held prompts that became no video, the newest first, without blocked ones left unappealed."""
    mine = (reviews.c.guild_id == guild_id, reviews.c.member_id == member_id, reviews.c.kind == ReviewKind.PROMPT)
    newest = [  # one query for each state, in the order of an index
        select(reviews.c.id).where(*mine, reviews.c.state == state).order_by(reviews.c.id.desc()).limit(most).subquery()
        for state in (ReviewState.WAITING, ReviewState.REJECTED, ReviewState.OVER)
    ]
    query = select(reviews).where(reviews.c.id.in_(union_all(*(select(each.c.id) for each in newest))))
    async with database.connect() as connection:
        rows = await connection.execute(query.order_by(reviews.c.id.desc()).limit(most))
        return [Review.from_row(row) for row in rows]
