"""Reviews as rows: held once, decided once, with who decided, when and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.reviews import Review
from migrations.database import now_ms
from migrations.schema import reviews
from migrations.states_community import ReviewKind, ReviewState


async def hold(
    connection: AsyncConnection, kind: ReviewKind, video_id: str, state: ReviewState, **values: Any
) -> Review:
    """Holds a prompt or a video in the caller's transaction; what is held already stays as it is."""
    found = await of_video_or_none(connection, kind, video_id)
    if found is None:
        await connection.execute(
            insert(reviews).values(kind=kind, video_id=video_id, state=state, created_at_ms=now_ms(), **values)
        )
        found = await of_video_or_none(connection, kind, video_id)
        assert found is not None  # noqa: S101  # written three lines above
    return found


async def of_video_or_none(connection: AsyncConnection, kind: ReviewKind, video_id: str) -> Review | None:
    """The review of a prompt or of a video, if there is one."""
    query = select(reviews).where(reviews.c.kind == kind, reviews.c.video_id == video_id)
    row = (await connection.execute(query)).first()
    return Review.from_row(row) if row else None


async def get_or_none_within(connection: AsyncConnection, review_id: int) -> Review | None:
    """The review, within the caller's transaction."""
    row = (await connection.execute(select(reviews).where(reviews.c.id == review_id))).first()
    return Review.from_row(row) if row else None


async def get_or_none(database: AsyncEngine, review_id: int) -> Review | None:
    """The review, if there is one."""
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
    """From one state to another, once; False where it is no longer in the first one."""
    values: dict[str, Any] = {"state": after}
    if after != "waiting":
        values |= {"decided_by": by, "decided_at_ms": now_ms(), "reason": reason or None}
    changed = await connection.execute(
        update(reviews).where(reviews.c.id == review_id, reviews.c.state == before).values(**values)
    )
    return bool(changed.rowcount)


async def delete_old_blocked(connection: AsyncConnection, guild_id: int, member_id: int, *, keep: int) -> None:
    """Deletes a member's blocked prompts that no moderator was asked about, but for the latest ones."""
    mine = (reviews.c.guild_id == guild_id, reviews.c.member_id == member_id, reviews.c.state == "blocked")
    oldest = select(reviews.c.id).where(*mine).order_by(reviews.c.id.desc()).offset(keep).limit(1).scalar_subquery()
    await connection.execute(delete(reviews).where(*mine, reviews.c.id <= oldest))


async def count_waiting_prompts(connection: AsyncConnection, guild_id: int, member_id: int) -> int:
    """How many of a member's prompts wait for a moderator."""
    query = select(func.count()).where(
        reviews.c.guild_id == guild_id,
        reviews.c.member_id == member_id,
        reviews.c.kind == "prompt",
        reviews.c.state == "waiting",
    )
    return int(await connection.scalar(query) or 0)


async def list_waiting(database: AsyncEngine, guild_id: int, most: int, after: int = 0) -> tuple[Sequence[Review], int]:
    """What waits for a guild's moderators, the oldest first, from the one `after` a review on; how many wait in all."""
    mine = (reviews.c.guild_id == guild_id, reviews.c.state == "waiting")
    query = select(reviews).where(*mine, reviews.c.id > after).order_by(reviews.c.id).limit(most)
    async with database.connect() as connection:
        rows = await connection.execute(query)
        count = await connection.scalar(select(func.count()).where(*mine))
        return [Review.from_row(row) for row in rows], int(count or 0)


async def count_waiting_up_to(database: AsyncEngine, guild_id: int, review_id: int) -> int:
    """How many wait for a guild's moderators up to a review, that one included."""
    query = select(func.count()).where(
        reviews.c.guild_id == guild_id, reviews.c.state == "waiting", reviews.c.id <= review_id
    )
    async with database.connect() as connection:
        return int(await connection.scalar(query) or 0)


async def prompts_of_member(database: AsyncEngine, guild_id: int, member_id: int, most: int) -> Sequence[Review]:
    """A member's prompts that were held and became no video, the newest first; those that they left at that are not."""
    mine = (reviews.c.guild_id == guild_id, reviews.c.member_id == member_id, reviews.c.kind == "prompt")
    newest = [  # of each state by itself, in the order of an index
        select(reviews.c.id).where(*mine, reviews.c.state == state).order_by(reviews.c.id.desc()).limit(most).subquery()
        for state in ("waiting", "rejected", "over")
    ]
    query = select(reviews).where(reviews.c.id.in_(union_all(*(select(each.c.id) for each in newest))))
    async with database.connect() as connection:
        rows = await connection.execute(query.order_by(reviews.c.id.desc()).limit(most))
        return [Review.from_row(row) for row in rows]
