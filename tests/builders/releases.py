"""Candidates and releases of a model, in any state, without a training and without a battle."""

from __future__ import annotations

import itertools
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.releases import Release
from bot.store.learning import candidates, releases
from migrations.schema import candidates as candidates_table
from migrations.schema import rounds
from migrations.states.learning import CandidateState

ADAPTER = "ad" * 32
VERDICT = {"state": "won", "voters": 41, "win_rate_permille": 710, "interval_permille": [600, 800]}
_numbers = itertools.count(1)


async def a_round(database: AsyncEngine) -> int:
    """The id of a round that is over."""
    number = next(_numbers)
    values = {"guild_id": 7, "number": number, "task": "t", "opened_by": 1, "channel_id": 1, "status": "closed"}
    async with database.begin() as connection:
        added = await connection.execute(
            insert(rounds)
            .values(**values, opens_at_ms=0, closes_at_ms=1, chain_key=f"round {number}")
            .returning(rounds.c.id)
        )
        return int(added.scalar_one())


async def a_candidate(
    database: AsyncEngine, state: CandidateState = CandidateState.WON, *, parent: int | None = None, **values: Any
) -> int:
    """The id of a candidate in that state."""
    row = {
        "model_id": "tiny",
        "base_revision": "r1",
        "parent": parent,
        "data_root": "da" * 32,
        "data_votes": 312,
        "data_rounds": 4,
        "recipe": {"method": "nft"},
        "seed": 1,
        "state": state,
        "begun_at_ms": 1,
    }
    if state != CandidateState.TRAINING:
        row |= {"adapter_sha256": ADAPTER, "size_bytes": 9, "machine": "m1", "made_at_ms": 2}
    if state == CandidateState.WON:
        row |= {"registration": "ee" * 32, "battle_round_id": await a_round(database), "verdict": VERDICT}
    async with database.begin() as connection:
        added = await connection.execute(
            insert(candidates_table).values(**{**row, **values}).returning(candidates_table.c.id)
        )
        return int(added.scalar_one())


async def a_release(database: AsyncEngine, **values: Any) -> Release:
    """A release of a candidate that won against the one that was live."""
    async with database.connect() as connection:
        live = await releases.live_or_none(connection, values.get("model_id", "tiny"))
    candidate_id = await a_candidate(database, parent=None if live is None else live.number, **values)
    async with database.begin() as connection:
        assert (await candidates.get(connection, candidate_id)).state == CandidateState.WON
        return await releases.make(connection, candidate_id)
