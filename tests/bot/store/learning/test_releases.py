"""Releases: one is live, none is made twice or without a victory, and one step takes the live one back."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.store.learning import releases
from bot.store.learning.candidates import WrongStateError
from migrations.states.learning import CandidateState, ReleaseState
from tests.builders.releases import ADAPTER, a_candidate, a_release


async def live(database: AsyncEngine, model_id: str = "tiny") -> int | None:
    async with database.connect() as connection:
        release = await releases.live_or_none(connection, model_id)
    return None if release is None else release.number


async def roll_back(database: AsyncEngine, number: int) -> tuple[int, int | None] | None:
    async with database.begin() as connection:
        changed = await releases.roll_back(connection, "tiny", number=number, by=5)
    return None if changed is None else (changed[0].number, None if changed[1] is None else changed[1].number)


async def states(database: AsyncEngine) -> list[tuple[int, str]]:
    async with database.connect() as connection:
        return [(each.number, each.state.value) for each in await releases.history(connection, "tiny")]


async def test_a_victory_makes_one_release(database: AsyncEngine) -> None:
    """It has the next number of its model, and what its candidate was; making it again gives the same."""
    assert await live(database) is None
    candidate_id = await a_candidate(database)
    made = []
    for _ in range(2):
        async with database.begin() as connection:
            made.append(await releases.make(connection, candidate_id))
    assert made[0] == made[1]
    assert (made[0].number, made[0].adapter_sha256, made[0].parent) == (1, ADAPTER, None)
    assert made[0].registration == "ee" * 32
    await a_release(database, model_id="other")
    await a_release(database)
    assert await states(database) == [(2, "live"), (1, "replaced")]
    assert await live(database, "other") == 1


@pytest.mark.parametrize("state", [state for state in CandidateState if state not in {"won", "released"}])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_without_a_victory_there_is_no_release(database: AsyncEngine, state: CandidateState) -> None:
    candidate_id = await a_candidate(database, state)
    with pytest.raises(WrongStateError):
        async with database.begin() as connection:
            await releases.make(connection, candidate_id)
    assert await live(database) is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_victory_over_another_release_is_none(database: AsyncEngine) -> None:
    """The one that is live now was never compared with the candidate."""
    late = await a_candidate(database)
    await a_release(database)
    with pytest.raises(releases.OutdatedCandidateError):
        async with database.begin() as connection:
            await releases.make(connection, late)
    assert await live(database) == 1


async def test_a_release_is_taken_back_by_one_step(database: AsyncEngine) -> None:
    """The one before it is live again, and at last the base model; the same step again takes nothing else back."""
    for _ in range(3):
        await a_release(database)
    assert await roll_back(database, 2) is None
    assert await roll_back(database, 3) == (3, 2)
    assert await roll_back(database, 3) is None
    assert await roll_back(database, 2) == (2, 1)
    fourth = await a_release(database)
    assert (fourth.number, fourth.parent) == (4, 1)
    assert await roll_back(database, 4) == (4, 1)
    assert await roll_back(database, 1) == (1, None)
    assert await live(database) is None
    assert {state for _, state in await states(database)} == {ReleaseState.ROLLED_BACK}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_loop_is_paused_and_goes_on(database: AsyncEngine) -> None:
    """Of one model alone; each twice is once."""
    async with database.begin() as connection:
        assert not await releases.is_paused(connection, "tiny")
        assert await releases.pause(connection, "tiny", by=5)
        assert not await releases.pause(connection, "tiny", by=6)
        assert await releases.is_paused(connection, "tiny")
        assert not await releases.is_paused(connection, "other")
        assert await releases.resume(connection, "tiny")
        assert not await releases.resume(connection, "tiny")
        assert not await releases.is_paused(connection, "tiny")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_shaped_a_release_is_read_with_it(database: AsyncEngine) -> None:
    """Votes and rounds of its data set, and the margin of its battle; a verdict without figures gives none."""
    shown = [await a_release(database), await a_release(database, verdict={"win_rate_permille": 7000}, data_votes=None)]
    async with database.begin() as connection:
        await releases.set_manifest(connection, "tiny", 1, "cd" * 32)
        first = await releases.get_or_none(connection, "tiny", 1)
        assert await releases.get_or_none(connection, "tiny", 9) is None
        known, unknown = await releases.facts(connection, shown)
    assert first is not None
    assert first.manifest_sha256 == "cd" * 32
    assert known.margin is not None
    assert (known.data_votes, known.data_rounds, known.margin.voters, known.margin.win_rate) == (312, 4, 41, 0.71)
    assert known.battle_round is not None
    assert (unknown.data_votes, unknown.margin) == (None, None)


async def test_two_first_releases_at_once_are_one(database: AsyncEngine) -> None:
    """Before the first release there is no row that one of them could lock; the other has won against no release."""
    winners = [await a_candidate(database) for _ in range(2)]

    async def make(candidate_id: int) -> None:
        async with database.begin() as connection:
            await releases.make(connection, candidate_id)

    outcomes = await asyncio.gather(*map(make, winners), return_exceptions=True)
    assert [type(each) for each in outcomes if each is not None] == [releases.OutdatedCandidateError]
    assert await live(database) == 1
