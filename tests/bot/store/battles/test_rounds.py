"""Battle rounds as rows: fixed when they begin, one at a time, and none of what is for rounds of videos sees them."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import VerdictState
from bot.domain.errors import BattleOpenError
from bot.store import rounds
from bot.store.battles import rounds as battles
from generation.feedback.registration import candidate_is_a
from migrations.states.battles import PairState
from tests.bot.store.test_vote_writer import add_round
from tests.builders.battle_rounds import GUILD, SALT, a_plan, a_verdict, an_open_battle, register


async def test_a_battle_round_is_kept_as_it_was_planned(database: AsyncEngine) -> None:
    """With its registration, its pairs and two videos of each; sides are those of the salt."""
    battle = await an_open_battle(database)
    assert await battles.get(database, battle.round.id) == battle
    assert await battles.get_or_none(database, battle.round.id + 1) is None
    assert (battle.salt, battle.live.adapter, battle.candidate.adapter) == (SALT, None, "c" * 64)
    pairs = await battles.pairs_of(database, battle.round.id)
    assert [pair.decoy for pair in pairs] == [pair.decoy for pair in a_plan().pairs]
    assert sum(pair.is_catch for pair in pairs) == 2
    assert [pair.first_is_a for pair in pairs] == [candidate_is_a(SALT, str(pair.number)) for pair in pairs]
    first, second = await battles.videos_of(database, pairs[0].id)
    assert (first.is_first, second.is_first) == (True, False)
    assert first.id != second.id


async def test_a_guild_has_one_battle_round_at_a_time(database: AsyncEngine) -> None:
    """Beside an open round of videos; after the close the next one may begin, with the next number."""
    await add_round(database, 100)
    battle = await an_open_battle(database)
    with pytest.raises(BattleOpenError, match="Battle round 101 isn't over"):
        await an_open_battle(database)
    async with database.begin() as connection:
        assert await battles.close_within(connection, battle.round.id, None)
        assert not await battles.close_within(connection, battle.round.id, None)
    assert (await an_open_battle(database)).round.number == 102


async def test_a_battle_round_is_no_round_of_videos(database: AsyncEngine) -> None:
    """No command and no recovery for those takes it for one; the round of videos is seen as before."""
    battle = await an_open_battle(database)
    assert await rounds.open_in(database, GUILD) is None
    assert await rounds.latest_or_none(database, GUILD) is None
    assert await rounds.by_number_or_none(database, GUILD, battle.round.number) is None
    assert await rounds.all_open(database) == []
    async with database.begin() as connection:
        await rounds.check_none_open(connection, GUILD)
        await battles.close_within(connection, battle.round.id, None)
    await rounds.change(database, battle.round.id, announcement_id=9)
    assert await rounds.closed_with_work_left(database, 0) == []
    await add_round(database, 50)
    assert [round_.id for round_ in await rounds.all_open(database)] == [50]


async def test_the_first_final_verdict_stands(database: AsyncEngine) -> None:
    """And it is handed on once; the one so far may change."""
    battle = await an_open_battle(database)
    for verdict in (a_verdict(), a_verdict(votes=10)):
        await battles.save_interim(database, battle.round.id, verdict)
    for state in (VerdictState.RELEASED, VerdictState.REFUSED):
        await battles.save_verdict(database, battle.round.id, a_verdict(state))
    kept = await battles.get(database, battle.round.id)
    assert kept.interim == a_verdict(votes=10)
    assert kept.verdict == a_verdict(VerdictState.RELEASED)
    async with database.begin() as connection:
        assert await battles.mark_handed_on(connection, battle.round.id)
        assert not await battles.mark_handed_on(connection, battle.round.id)


async def test_a_pair_changes_its_state_once(database: AsyncEngine) -> None:
    """What a moderator removed does not come back when its videos are made."""
    battle = await an_open_battle(database)
    pair, *_ = await battles.pairs_of(database, battle.round.id)
    async with database.begin() as connection:
        assert await battles.change_state(connection, pair.id, PairState.READY, PairState.REMOVED, "why")
        assert not await battles.change_state(connection, pair.id, PairState.WAITING, PairState.READY)
    kept = await battles.pair_or_none(database, pair.id)
    assert kept is not None
    assert (kept.state, kept.reason) == (PairState.REMOVED, "why")
    count = await battles.count_pairs(database, battle.round.id)
    assert (count.ready, count.removed, count.all) == (5, 1, 6)


async def test_a_registration_is_the_rounds_own(database: AsyncEngine) -> None:
    """Its hash is that of the bytes that were written."""
    plan = a_plan(seconds=60)
    battle = await an_open_battle(database)
    assert battle.registration_hash != ""
    assert register(plan, SALT) != battle.registration
