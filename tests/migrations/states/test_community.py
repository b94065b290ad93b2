"""The states in the community's tables: stored as the plain words that every earlier version wrote."""

from __future__ import annotations

import json
from enum import StrEnum

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.database import now_ms
from migrations.schema import rounds
from migrations.states.community import (
    ReviewKind,
    ReviewState,
    RoundStatus,
    SigningKind,
    TrainingChoice,
    VideoStatus,
    VoteSource,
)

KINDS: list[type[StrEnum]] = [
    ReviewKind,
    ReviewState,
    RoundStatus,
    SigningKind,
    TrainingChoice,
    VideoStatus,
    VoteSource,
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_its_word(kind: type[StrEnum]) -> None:
    """In comparisons, texts, dictionaries and JSON; another word is none of its states."""
    for state in kind:
        word = state.value
        assert state == word
        assert f"{state}" == str(state) == word
        assert {word: 1}[state] == 1
        assert json.dumps(state) == json.dumps(word)
    with pytest.raises(ValueError, match="ajar"):
        kind("ajar")


async def test_states_are_stored_and_found_as_plain_words(database: AsyncEngine) -> None:
    """Written by a state, found by its word and by the state, in both databases and in SQL by hand."""
    async with database.begin() as connection:
        for number, status in enumerate(RoundStatus, 1):
            await connection.execute(
                insert(rounds).values(
                    id=number, guild_id=1, number=number, task="t", opened_by=1, channel_id=1, status=status,
                    opens_at_ms=now_ms(), closes_at_ms=now_ms(), chain_key=f"{number:064}",
                )
            )  # fmt: skip
    async with database.connect() as connection:
        words = (await connection.scalars(text("SELECT status FROM rounds ORDER BY id"))).all()
        assert words == [status.value for status in RoundStatus]
        assert {type(word) for word in words} == {str}
        for number, status in enumerate(RoundStatus, 1):
            assert await connection.scalar(select(rounds.c.id).where(rounds.c.status == status)) == number
            assert await connection.scalar(select(rounds.c.id).where(rounds.c.status == status.value)) == number
        some = select(rounds.c.id).where(rounds.c.status.in_([RoundStatus.OPEN, RoundStatus.CLOSED]))
        assert len((await connection.scalars(some)).all()) == 2
