"""Feedback and reports: one of each for a member and video."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.store import feedback
from migrations.schema import feedback as feedback_table
from tests.bot.store.test_vote_writer import add_round, add_video


async def test_a_new_text_replaces_the_old_one(database: AsyncEngine) -> None:
    """And is counted once, with those of others."""
    await add_round(database, 1)
    await add_video(database, "10", 1)
    assert await feedback.count_in_round(database, 1) == (0, 0)
    for member, text in ((5, "Nice."), (5, "Very nice."), (6, "Hm.")):
        await feedback.save_feedback(database, "10", member, text)
    await feedback.save_report(database, "10", 6, "It is rude.")
    assert await feedback.count_in_round(database, 1) == (2, 1)
    assert await feedback.count_in_round(database, 2) == (0, 0)
    async with database.connect() as connection:
        texts = (await connection.scalars(select(feedback_table.c.text).order_by(feedback_table.c.member_id))).all()
    assert texts == ["Very nice.", "Hm."]
