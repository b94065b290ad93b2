"""Members' choices about training: who has read the notice, and who has opted out. One row a member and guild."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.training import TrainingState
from migrations.database import now_ms, upsert_into
from migrations.schema import training_choices
from migrations.states.community import TrainingChoice


async def state_of(database: AsyncEngine, guild_id: int, member_id: int) -> TrainingState:
    """Return a member's state."""
    table = training_choices.c
    query = select(table.notice_at_ms, table.choice).where(table.guild_id == guild_id, table.member_id == member_id)
    async with database.connect() as connection:
        row = (await connection.execute(query)).first()
    if row is None:
        return TrainingState()
    return TrainingState(row.notice_at_ms is not None, TrainingChoice(row.choice) if row.choice else None)


async def record_notice(database: AsyncEngine, guild_id: int, member_id: int) -> None:
    """Record that a member has been shown the notice. The first time counts."""
    async with database.begin() as connection:
        upsert = upsert_into(connection, training_choices).values(
            guild_id=guild_id, member_id=member_id, notice_at_ms=now_ms()
        )
        await connection.execute(
            upsert.on_conflict_do_update(
                index_elements=["guild_id", "member_id"],
                set_={"notice_at_ms": upsert.excluded.notice_at_ms},
                where=training_choices.c.notice_at_ms.is_(None),
            )
        )


async def choose(database: AsyncEngine, guild_id: int, member_id: int, choice: TrainingChoice) -> None:
    """Record a member's choice. The answer to it says what the notice says, so that it counts as read."""
    await record_notice(database, guild_id, member_id)
    async with database.begin() as connection:
        values = {"choice": choice, "changed_at_ms": now_ms()}
        await connection.execute(
            upsert_into(connection, training_choices)
            .values(guild_id=guild_id, member_id=member_id, **values)
            .on_conflict_do_update(index_elements=["guild_id", "member_id"], set_=values)
        )
