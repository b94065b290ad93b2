"""The registration of a battle round: all that is fixed before the first vote, and the number of the attempt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import BallotSize, Contender
from bot.domain.errors import BattleLedgerError, BattleOpenError, CandidateBehindError
from bot.store.battles import rounds as battles
from bot.workflows.battles.registration import GateRegistrar, prompts_of
from contracts.audit import registrations as audited
from generation.feedback.registration import (
    Registration,
    RegistrationError,
    candidate_is_a,
    commitment_of,
    pair_salt,
    prompts_root,
    read_registration,
)
from migrations.schema import rounds
from migrations.states.learning import CandidateState
from tests.builders.battle_rounds import GUILD, RULE, SALT, a_plan, a_rule, register
from tests.builders.releases import ADAPTER, a_candidate, a_release

PEPPER = b"a pepper of 16 bytes or more"


def test_the_registration_fixes_everything_but_shows_no_side() -> None:
    """The same plan and salt give the same bytes; the salt is in it by its commitment alone."""
    plan = a_plan()
    registration = register(plan, SALT)
    assert registration == register(plan, SALT)
    assert SALT.hex().encode() not in registration
    assert pair_salt(SALT, "1").hex().encode() not in registration
    value = read_registration(registration)
    assert value.salt_commitment == commitment_of(SALT)
    assert value.prompts_root == prompts_root(prompts_of(plan.pairs))
    assert (value.candidate, value.live_release, value.pairs) == ("c" * 64, None, 4)
    assert registration != register(replace(plan, closes_ms=plan.closes_ms + 1000), SALT)
    assert audited.Registration.from_bytes(registration).candidate == "c" * 64
    with pytest.raises(RegistrationError, match="16 bytes"):
        register(plan, b"short")
    with pytest.raises(ValueError, match="other ballots"):
        register(replace(plan, size=BallotSize()), SALT)


def test_both_sides_of_a_pair_come_up() -> None:
    """A coin for each pair, and another salt throws others."""
    sides = [candidate_is_a(SALT, str(number)) for number in range(400)]
    assert 150 < sum(sides) < 250
    assert sides == [candidate_is_a(SALT, str(number)) for number in range(400)]
    assert sides != [candidate_is_a(b"another salt of 32 bytes, or more", str(number)) for number in range(400)]


async def attempt(
    database: AsyncEngine, *, guild: int = GUILD, live: str | None = None, **candidate: Any
) -> Registration:
    """The registration of the next attempt, whose round is written as well."""
    candidate_id = await a_candidate(database, CandidateState.READY, adapter_sha256="cc" * 32, **candidate)
    plan = a_plan(candidate_id=candidate_id, candidate=Contender("tiny", "cc" * 32), live=Contender("tiny", live))
    async with database.begin() as connection:
        registration = await GateRegistrar("tiny", PEPPER, RULE)(connection, plan, SALT)
        await battles.add(
            connection, plan, registration=registration, salt=SALT, guild_id=guild, channel_id=1, opened_by=1
        )
    return read_registration(registration)


async def end(database: AsyncEngine, **values: Any) -> None:
    """All rounds are over, and on the ledger."""
    async with database.begin() as connection:
        await connection.execute(update(rounds).values(**{"status": "closed", "chain_id": rounds.c.id, **values}))


async def test_attempts_are_counted_over_all_servers(database: AsyncEngine) -> None:
    """Each failed one makes the next dearer, whatever became of it: the budget is the community's."""
    first = await attempt(database)
    await end(database)
    second = await attempt(database, guild=GUILD + 1)
    assert [(each.attempt, each.last_failed) for each in (first, second)] == [(1, 0), (2, 1)]
    assert first.community == second.community
    assert second.rule.wealth > first.rule.wealth
    assert second.rule.min_pairs == a_rule().min_pairs


async def test_the_next_attempt_waits_for_the_one_before(database: AsyncEngine) -> None:
    """While that is open, in whichever server, and until the ledger has it."""
    await attempt(database)
    with pytest.raises(BattleOpenError):
        await attempt(database, guild=GUILD + 1)
    await end(database, chain_id=None)
    with pytest.raises(BattleLedgerError):
        await attempt(database)


async def test_a_candidate_of_another_release_than_the_live_one_is_turned_down(database: AsyncEngine) -> None:
    """It could not be released, whatever the votes say; one of the live release is registered against its adapter."""
    await a_release(database)
    with pytest.raises(CandidateBehindError):
        await attempt(database)
    assert (await attempt(database, parent=1, live=ADAPTER)).live_release == ADAPTER
