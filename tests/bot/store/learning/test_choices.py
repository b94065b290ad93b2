"""Members' choices about training: each server has its own, and nothing counts before the notice was read."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.training import TrainingState
from bot.store.learning import choices
from migrations.schema import training_choices
from migrations.states.community import TrainingChoice

GUILD, MEMBER = 7, 5


async def test_a_member_takes_part_from_the_notice_on(database: AsyncEngine) -> None:
    """Not before; in this server alone; and the first time is the one that counts."""
    assert await choices.state_of(database, GUILD, MEMBER) == TrainingState()
    await choices.record_notice(database, GUILD, MEMBER)
    assert (await choices.state_of(database, GUILD, MEMBER)).is_in
    for other in ((GUILD + 1, MEMBER), (GUILD, MEMBER + 1)):
        assert await choices.state_of(database, *other) == TrainingState()
    async with database.begin() as connection:
        await connection.execute(training_choices.update().values(notice_at_ms=1))
    await choices.record_notice(database, GUILD, MEMBER)
    async with database.connect() as connection:
        assert await connection.scalar(select(training_choices.c.notice_at_ms)) == 1


@pytest.mark.parametrize("has_read", [False, True])
async def test_the_last_choice_stands(database: AsyncEngine, has_read: bool) -> None:
    """Whether or not the notice came first: the answer to a choice says the same. A notice changes no choice."""
    if has_read:
        await choices.record_notice(database, GUILD, MEMBER)
    for choice in (TrainingChoice.OUT, TrainingChoice.IN, TrainingChoice.OUT):
        await choices.choose(database, GUILD, MEMBER, choice)
        assert await choices.state_of(database, GUILD, MEMBER) == TrainingState(True, choice)
    await choices.record_notice(database, GUILD, MEMBER)
    assert not (await choices.state_of(database, GUILD, MEMBER)).is_in
