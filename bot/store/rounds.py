"""Guilds and their rounds, as rows."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import case, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import RoundAlreadyOpenError, SetupMissingError
from bot.domain.rounds import NOT_CLOSED, Round
from bot.domain.videos import CANCELLABLE, chain_key
from contracts.outbox import entries as outbox
from migrations.database import now_ms, take_turns, upsert_into
from migrations.schema import guilds, rounds, videos
from migrations.states.battles import RoundKind
from migrations.states.community import RoundStatus

# Battle rounds have a workflow, posts and commands of their own: none of the functions below finds one but by its id.
_OF_VIDEOS = rounds.c.kind == RoundKind.VIDEOS


async def set_up_guild(database: AsyncEngine, guild_id: int, channel_id: int, member_id: int) -> None:
    """Save the channel in which a guild's rounds are posted."""
    values = {"rounds_channel_id": channel_id, "set_up_by": member_id, "updated_at_ms": now_ms()}
    upsert = upsert_into(database, guilds)
    async with database.begin() as connection:
        await connection.execute(
            upsert.values(guild_id=guild_id, **values).on_conflict_do_update(index_elements=["guild_id"], set_=values)
        )


async def rounds_channel(database: AsyncEngine, guild_id: int) -> int:
    """Return the channel of a guild's rounds. Raises SetupMissingError before `/setup`."""
    channel = await rounds_channel_or_none(database, guild_id)
    if channel is None:
        raise SetupMissingError
    return channel


async def rounds_channel_or_none(database: AsyncEngine, guild_id: int) -> int | None:
    """Return the channel of a guild's rounds; None before `/setup`."""
    async with database.connect() as connection:
        channel = await connection.scalar(select(guilds.c.rounds_channel_id).where(guilds.c.guild_id == guild_id))
    return None if channel is None else int(channel)


async def open_round(
    connection: AsyncConnection,
    *,
    guild_id: int,
    channel_id: int,
    task: str,
    opened_by: int,
    seconds: int,
    grace_s: int,
) -> Round:
    """Write a round and its outbox entry in the caller's transaction, and return the round.

    The round closes `grace_s` later on the ledger than on Discord, so that votes cast in the last second still arrive.
    Raises RoundAlreadyOpenError.
    """
    await take_turns(connection, "rounds", guild_id)
    await check_none_open(connection, guild_id)
    last = await connection.scalar(select(func.max(rounds.c.number)).where(rounds.c.guild_id == guild_id))
    number = (last or 0) + 1
    opens = now_ms()
    closes = opens + seconds * 1000
    key = chain_key("round", guild_id, number, opens)
    inserted = await connection.execute(
        insert(rounds)
        .values(
            guild_id=guild_id,
            number=number,
            task=task,
            opened_by=opened_by,
            channel_id=channel_id,
            status=RoundStatus.OPENING,
            opens_at_ms=opens,
            closes_at_ms=closes,
            chain_key=key,
        )
        .returning(rounds.c.id)
    )
    round_id = int(inserted.scalar_one())
    await outbox.record_round(
        connection,
        round_id=round_id,
        key=key,
        opens_ms=opens,
        closes_ms=closes,
        grace_s=grace_s,
        meta_hash=outbox.text_hash(task),
    )
    round_ = await get_or_none_within(connection, round_id)
    assert round_ is not None  # noqa: S101  # inserted above
    return round_


async def check_none_open(connection: AsyncConnection, guild_id: int) -> None:
    """Raise RoundAlreadyOpenError where a guild has a round that is not closed."""
    unclosed = (
        await connection.execute(
            select(rounds).where(rounds.c.guild_id == guild_id, rounds.c.status.in_(NOT_CLOSED), _OF_VIDEOS).limit(1)
        )
    ).first()
    if unclosed is not None:
        raise RoundAlreadyOpenError(number=unclosed.number, thread_id=unclosed.thread_id or unclosed.channel_id)


async def get_or_none_within(connection: AsyncConnection, round_id: int) -> Round | None:
    """Return the round, read within the caller's transaction; None where there is none."""
    row = (await connection.execute(select(rounds).where(rounds.c.id == round_id))).first()
    return Round.from_row(row) if row else None


async def lock_for_read(connection: AsyncConnection, round_id: int) -> Round:
    """Return the round, which cannot close before the caller's transaction ends (where rows can be locked)."""
    row = await connection.execute(select(rounds).where(rounds.c.id == round_id).with_for_update(read=True))
    return Round.from_row(row.one())


async def get_or_none(database: AsyncEngine, round_id: int) -> Round | None:
    """Return the round; None where there is none."""
    async with database.connect() as connection:
        return await get_or_none_within(connection, round_id)


async def get(database: AsyncEngine, round_id: int) -> Round:
    """Return the round. Raises NoResultFound where there is none."""
    async with database.connect() as connection:
        row = (await connection.execute(select(rounds).where(rounds.c.id == round_id))).one()
    return Round.from_row(row)


async def open_in(database: AsyncEngine, guild_id: int) -> Round | None:
    """Return the guild's round that is not closed yet; None where there is none."""
    async with database.connect() as connection:
        row = (
            await connection.execute(
                select(rounds)
                .where(rounds.c.guild_id == guild_id, rounds.c.status.in_(NOT_CLOSED), _OF_VIDEOS)
                .order_by(rounds.c.id.desc())
                .limit(1)
            )
        ).first()
    return Round.from_row(row) if row else None


async def by_number_or_none(database: AsyncEngine, guild_id: int, number: int | None) -> Round | None:
    """Return a round by its number in the guild, or the latest round for None; None where there is no such round."""
    query = select(rounds).where(rounds.c.guild_id == guild_id, _OF_VIDEOS)
    if number is not None:
        query = query.where(rounds.c.number == number)
    async with database.connect() as connection:
        row = (await connection.execute(query.order_by(rounds.c.number.desc()).limit(1))).first()
    return Round.from_row(row) if row else None


async def latest_or_none(database: AsyncEngine, guild_id: int) -> Round | None:
    """Return the latest round of a guild; None before its first round."""
    return await by_number_or_none(database, guild_id, None)


async def all_open(database: AsyncEngine) -> Sequence[Round]:
    """Return the rounds of all guilds that are not closed yet."""
    async with database.connect() as connection:
        rows = await connection.execute(select(rounds).where(rounds.c.status.in_(NOT_CLOSED), _OF_VIDEOS))
        return [Round.from_row(row) for row in rows]


async def change(database: AsyncEngine, round_id: int, **values: object) -> None:
    """Set columns of a round."""
    async with database.begin() as connection:
        await connection.execute(update(rounds).where(rounds.c.id == round_id).values(**values))


async def mark_open(database: AsyncEngine, round_id: int, thread_id: int) -> None:
    """Record the thread of a round. From then on it takes votes, unless somebody has closed it meanwhile."""
    async with database.begin() as connection:
        await connection.execute(update(rounds).where(rounds.c.id == round_id).values(thread_id=thread_id))
        await connection.execute(
            update(rounds)
            .where(rounds.c.id == round_id, rounds.c.status == RoundStatus.OPENING)
            .values(status=RoundStatus.OPEN)
        )


async def close(database: AsyncEngine, round_id: int, reason: str, *, trouble: str | None = None) -> bool:
    """Close a round, once, in whatever state: from then on it takes no votes, and the next round can be opened.

    The same transaction cancels the videos that are not done, for `reason`, and asks the ledger for the result.
    `trouble` says why a round could not be opened. Return False where the round is closed already.
    """
    async with database.begin() as connection:
        await connection.execute(select(rounds.c.id).where(rounds.c.id == round_id).with_for_update())
        now = now_ms()  # after the lock: votes that were taken while this waited are before the deadline
        changed = await connection.execute(
            update(rounds)
            .where(rounds.c.id == round_id, rounds.c.status.in_(NOT_CLOSED))
            .values(
                status=RoundStatus.CLOSED,
                closes_at_ms=case((rounds.c.closes_at_ms > now, now), else_=rounds.c.closes_at_ms),
                trouble=trouble,
            )
        )
        if not changed.rowcount:
            return False
        await connection.execute(
            update(videos)
            .where(
                videos.c.round_id == round_id,
                videos.c.status.in_(CANCELLABLE),
                videos.c.cancel_requested.is_(False),  # an earlier cancellation keeps its reason
            )
            .values(cancel_requested=True, reason=reason)
        )
        await outbox.record_close(connection, round_id=round_id)
    return True


async def closed_with_work_left(database: AsyncEngine, since_ms: int) -> Sequence[Round]:
    """Return the closed rounds with work left: on Discord (a result missing or not up to date), or on the ledger.

    A round that never got a message on Discord has no work left there.
    """
    unposted = rounds.c.result_message_id.is_(None) & or_(
        rounds.c.thread_id.is_not(None), rounds.c.announcement_id.is_not(None)
    )
    stale = rounds.c.thread_id.is_not(None) & rounds.c.trouble.is_not(None)
    query = select(rounds).where(
        _OF_VIDEOS,
        rounds.c.status == RoundStatus.CLOSED,
        rounds.c.closes_at_ms > since_ms,
        or_(unposted, stale, rounds.c.finalized_tx.is_(None)),
    )
    async with database.connect() as connection:
        return [Round.from_row(row) for row in await connection.execute(query)]
