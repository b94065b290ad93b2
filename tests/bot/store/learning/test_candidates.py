"""Candidates: one way from training to release, each step taken once, and no way around the battle."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.store.learning import candidates
from bot.store.learning.candidates import WrongStateError
from migrations.states.learning import CandidateState
from tests.builders.releases import ADAPTER, a_candidate, a_round


async def test_a_candidate_goes_from_training_to_its_battle(database: AsyncEngine) -> None:
    """What it is tuned on, the file that was made, and the registration of its battle stand in its row."""
    candidate_id = await a_candidate(database, CandidateState.TRAINING)
    round_id = await a_round(database)
    async with database.begin() as connection:
        await candidates.record_file(connection, candidate_id, adapter_sha256=ADAPTER, size_bytes=9, machine="m1")
        await candidates.advance(connection, candidate_id, CandidateState.READY)
        await candidates.begin_battle(connection, candidate_id, registration="ab" * 32, battle_round_id=round_id)
        seen = await candidates.get(connection, candidate_id)
    assert (seen.state, seen.adapter_sha256, seen.machine) == (CandidateState.BATTLING, ADAPTER, "m1")
    assert (seen.registration, seen.battle_round_id) == ("ab" * 32, round_id)
    assert (seen.data_root, seen.recipe, seen.seed) == ("da" * 32, {"method": "nft"}, 1)
    assert seen.made_at_ms is not None
    assert seen.decided_at_ms is None


async def test_a_step_is_taken_once_and_none_is_skipped(database: AsyncEngine) -> None:
    """A repetition changes nothing; without a battle there is no victory, and what is over stays so."""
    candidate_id = await a_candidate(database, CandidateState.READY)
    async with database.begin() as connection:
        for wanted in (CandidateState.WON, CandidateState.RELEASED, CandidateState.TRAINING):
            with pytest.raises(WrongStateError, match=f"is ready and cannot become {wanted}"):
                await candidates.advance(connection, candidate_id, wanted)
        assert await candidates.advance(connection, candidate_id, CandidateState.WITHDRAWN, "Nobody wants it.")
        assert not await candidates.advance(connection, candidate_id, CandidateState.WITHDRAWN, "Again.")
        assert (await candidates.get(connection, candidate_id)).reason == "Nobody wants it."
        with pytest.raises(WrongStateError):
            await candidates.advance(connection, candidate_id, CandidateState.BATTLING)
        with pytest.raises(LookupError):
            await candidates.advance(connection, 99, CandidateState.BATTLING)


async def test_candidates_are_listed_by_their_state_and_model(database: AsyncEngine) -> None:
    """The newest first; those of other models are not among them."""
    first = await a_candidate(database, CandidateState.READY)
    second = await a_candidate(database, CandidateState.READY)
    lost = await a_candidate(database, CandidateState.LOST)
    await a_candidate(database, CandidateState.READY, model_id="other")
    async with database.connect() as connection:
        ready = await candidates.in_states(connection, "tiny", CandidateState.READY)
        every = await candidates.in_states(connection, "tiny")
    assert [each.id for each in ready] == [second, first]
    assert [each.id for each in every] == [lost, second, first]
