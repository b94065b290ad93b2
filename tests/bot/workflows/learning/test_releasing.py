"""A release is made once, from a candidate that won, with its adapter on offer; every obstacle is a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import AdapterMissingError, CandidateNotWonError, CandidateOutdatedError, CandidateUnknownError
from bot.workflows.learning.releasing import Releasing
from migrations.schema import adapters
from migrations.schema import releases as table
from migrations.states.learning import CandidateState
from tests.builders.adapters import adapter_bytes, write_adapter
from tests.builders.releases import a_candidate, a_release


class Announced:
    """Keeps what would be posted."""

    def __init__(self) -> None:
        self.numbers: list[tuple[int, int]] = []

    async def announce_release(self, connection: Any, release: Any, guild_id: int) -> None:
        self.numbers.append((release.number, guild_id))


def releasing(database: AsyncEngine, data_dir: Path) -> tuple[Releasing, Announced]:
    announced = Announced()
    made = Releasing(database=database, model_id="tiny", data_dir=data_dir, announcements=announced)  # type: ignore[arg-type]  # as much of it as is used
    return made, announced


async def test_a_winner_is_released_and_its_adapter_offered(database: AsyncEngine, tmp_path: Path) -> None:
    """Announced where it was asked for."""
    release, announced = releasing(database, tmp_path)
    _, sha256 = write_adapter(tmp_path, adapter_bytes())
    made = await release.release(await a_candidate(database, adapter_sha256=sha256), 7)
    assert (made.release.number, made.release.adapter_sha256) == (1, sha256)
    assert announced.numbers == [(1, 7)]
    async with database.connect() as connection:
        assert list(await connection.scalars(select(adapters.c.sha256))) == [sha256]


async def test_nothing_else_is_released(database: AsyncEngine, tmp_path: Path) -> None:
    """An unknown one, one that lost, one whose file is gone, and one that won against a release of before."""
    release, announced = releasing(database, tmp_path)
    _, sha256 = write_adapter(tmp_path, adapter_bytes())
    late = await a_candidate(database, adapter_sha256=sha256)
    wrong = {
        99: CandidateUnknownError,
        await a_candidate(database, model_id="other"): CandidateUnknownError,
        await a_candidate(database, CandidateState.LOST): CandidateNotWonError,
        await a_candidate(database): AdapterMissingError,
        late: CandidateOutdatedError,
    }
    await a_release(database)
    for candidate_id, error in wrong.items():
        with pytest.raises(error):
            await release.release(candidate_id, 7)
    assert announced.numbers == []
    async with database.connect() as connection:
        assert len((await connection.execute(select(table))).all()) == 1
