"""Ballots: dealt to few, changeable until one sees the sides, then final and counted in their order."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import Battle
from bot.domain.errors import (
    BattleChoiceMissingError,
    BattleClosedError,
    BattlePairUnknownError,
    BattleVoteFinalError,
    ElsewhereError,
)
from bot.store.battles import rounds as battles
from bot.store.battles.ballots import Ballots, FinalVote
from generation.feedback.evidence.ballots import Outcome
from generation.feedback.registration import Eligibility
from migrations.schema import battle_ballots
from migrations.states.battles import BattleChoice, PairState
from tests.bot.store.test_vote_writer import PEPPER
from tests.builders.battle_rounds import GUILD, a_verdict, an_open_battle

ANA, BEN = 1001, 1002


@pytest.fixture
def ballots(database: AsyncEngine) -> Ballots:
    return Ballots(database, PEPPER)


async def dealt(ballots: Ballots, battle: Battle, member: int = ANA) -> int:
    """The pair that a member is to answer."""
    pair_id = await ballots.deal(battle.round.id, member, 100.0)
    assert pair_id is not None
    return pair_id


async def finish(database: AsyncEngine, ballots: Ballots, pair_id: int, member: int = ANA) -> FinalVote | None:
    """Let a member's choice be final."""
    async with database.begin() as connection:
        return await ballots.finish_within(connection, pair_id, GUILD, member)


async def answer_all(database: AsyncEngine, ballots: Ballots, battle: Battle, member: int, choice: BattleChoice) -> int:
    """Answer every pair; returns how many there were."""
    count = 0
    while (pair_id := await ballots.deal(battle.round.id, member, 100.0)) is not None:
        await ballots.cast(pair_id, GUILD, member, choice)
        await finish(database, ballots, pair_id, member)
        count += 1
    return count


async def test_a_pair_is_dealt_until_it_is_answered(database: AsyncEngine, ballots: Ballots) -> None:
    """The same one comes again until its choice is final; then another one, until all are answered."""
    battle = await an_open_battle(database)
    first = await dealt(ballots, battle)
    assert await dealt(ballots, battle) == first
    await ballots.cast(first, GUILD, ANA, BattleChoice.A)
    assert await dealt(ballots, battle) == first
    await finish(database, ballots, first)
    assert await dealt(ballots, battle) != first
    assert await answer_all(database, ballots, battle, ANA, BattleChoice.B) == 5
    assert await ballots.deal(battle.round.id, ANA, 100.0) is None


async def test_each_pair_is_shown_to_few(database: AsyncEngine, ballots: Ballots) -> None:
    """Members are dealt what the fewest have seen: no battle is shown twice before each was shown once."""
    battle = await an_open_battle(database)
    for member in range(2000, 2006):
        await dealt(ballots, battle, member)
    async with database.connect() as connection:
        shown = list(await connection.scalars(select(battle_ballots.c.pair_id)))
    catches = {pair.id for pair in await battles.pairs_of(database, battle.round.id) if pair.is_catch}
    of_battles = [pair_id for pair_id in shown if pair_id not in catches]
    assert len(of_battles) - len(set(of_battles)) <= max(0, len(of_battles) - 4)


async def test_a_choice_changes_until_it_is_final(database: AsyncEngine, ballots: Ballots) -> None:
    """The last one counts, once; after the sides were shown none is taken."""
    battle = await an_open_battle(database)
    pair_id = await dealt(ballots, battle)
    with pytest.raises(BattleChoiceMissingError):
        await finish(database, ballots, pair_id)
    for choice in (BattleChoice.A, BattleChoice.TIE):
        await ballots.cast(pair_id, GUILD, ANA, choice)
    assert await ballots.counted(battle) == []
    before = await ballots.view(pair_id, GUILD, ANA)
    assert (before.choice, before.is_final, before.candidate_is_a) == (BattleChoice.TIE, False, None)
    assert await finish(database, ballots, pair_id) is not None
    assert await finish(database, ballots, pair_id) is None
    with pytest.raises(BattleVoteFinalError):
        await ballots.cast(pair_id, GUILD, ANA, BattleChoice.B)
    after = await ballots.view(pair_id, GUILD, ANA)
    assert after.candidate_is_a is not None
    [vote] = await ballots.counted(battle)
    assert vote.outcome in (Outcome.TIE, Outcome.CATCH_FAILED)


async def test_sides_are_shown_after_ones_own_choice_alone(database: AsyncEngine, ballots: Ballots) -> None:
    """Another member's final choice on the same pair shows nothing to who has not chosen."""
    battle = await an_open_battle(database, battles_=1, catches=0)
    pair_id = await dealt(ballots, battle)
    await ballots.cast(pair_id, GUILD, ANA, BattleChoice.A)
    await finish(database, ballots, pair_id)
    assert await dealt(ballots, battle, BEN) == pair_id
    view = await ballots.view(pair_id, GUILD, BEN)
    assert (view.candidate_is_a, view.is_catch, view.choice) == (None, None, None)


async def test_evidence_is_shown_with_a_full_ballot(database: AsyncEngine, ballots: Ballots) -> None:
    """Not before: it would sway the rest of the ballot."""
    battle = await an_open_battle(database)
    await battles.save_interim(database, battle.round.id, a_verdict())
    seen = []
    for _ in range(3):
        pair_id = await dealt(ballots, battle)
        await ballots.cast(pair_id, GUILD, ANA, BattleChoice.A)
        await finish(database, ballots, pair_id)
        seen.append(await ballots.view(pair_id, GUILD, ANA))
    assert [(view.answered, view.of, view.interim is not None) for view in seen] == [
        (1, 3, False),
        (2, 3, False),
        (3, 3, True),
    ]


async def test_what_was_not_dealt_is_not_taken(database: AsyncEngine, ballots: Ballots) -> None:
    """A forged press on another pair, another member's pair, or from another server records nothing."""
    battle = await an_open_battle(database)
    pair_id = await dealt(ballots, battle)
    with pytest.raises(BattlePairUnknownError):
        await ballots.cast(pair_id, GUILD, BEN, BattleChoice.A)
    with pytest.raises(BattlePairUnknownError):
        await ballots.cast(10**9, GUILD, ANA, BattleChoice.A)
    with pytest.raises(ElsewhereError):
        await ballots.cast(pair_id, GUILD + 1, ANA, BattleChoice.A)
    async with database.connect() as connection:
        assert list(await connection.scalars(select(battle_ballots.c.choice))) == [None]


async def test_a_removed_pair_is_dealt_to_nobody(database: AsyncEngine, ballots: Ballots) -> None:
    """Who had it gets another one, and cannot choose on it; a choice that was final before stands."""
    battle = await an_open_battle(database)
    pair_id = await dealt(ballots, battle)
    await ballots.cast(pair_id, GUILD, ANA, BattleChoice.A)
    await finish(database, ballots, pair_id)
    other = await dealt(ballots, battle)
    async with database.begin() as connection:
        for each in (pair_id, other):
            await battles.change_state(connection, each, PairState.READY, PairState.REMOVED, "why")
    assert await dealt(ballots, battle) not in (pair_id, other)
    with pytest.raises(BattlePairUnknownError):
        await ballots.cast(other, GUILD, ANA, BattleChoice.A)
    assert len(await ballots.counted(battle)) == 1


async def test_the_close_makes_every_choice_final(database: AsyncEngine, ballots: Ballots) -> None:
    """In their order in time, those that count; after it none is taken or dealt."""
    battle = await an_open_battle(database)
    pairs = {member: await dealt(ballots, battle, member) for member in (ANA, BEN)}
    await ballots.cast(pairs[BEN], GUILD, BEN, BattleChoice.B)
    async with database.begin() as connection:
        locked = await battles.lock(connection, battle.round.id)
        assert await battles.close_within(connection, battle.round.id, None)
        votes = await ballots.finish_all_within(connection, locked)
        assert await ballots.finish_all_within(connection, locked) == []
    assert [vote.choice for vote in votes] == [BattleChoice.B]
    assert len(await ballots.counted(battle)) == 1
    with pytest.raises(BattleClosedError):
        await ballots.cast(pairs[ANA], GUILD, ANA, BattleChoice.A)
    with pytest.raises(BattleClosedError):
        await ballots.deal(battle.round.id, 1003, 100.0)


async def test_who_came_for_the_vote_does_not_count(database: AsyncEngine, ballots: Ballots) -> None:
    """Their pairs and sides are shown as to others, and the card says that their votes do not count."""
    battle = await an_open_battle(database, eligibility=Eligibility(7, 0))
    pair_id = await ballots.deal(battle.round.id, ANA, 1.0)
    assert pair_id is not None
    await ballots.cast(pair_id, GUILD, ANA, BattleChoice.A)
    assert await finish(database, ballots, pair_id) is None
    assert not (await ballots.view(pair_id, GUILD, ANA)).counts
    assert await ballots.counted(battle) == []
    other = await dealt(ballots, battle, BEN)
    await ballots.cast(other, GUILD, BEN, BattleChoice.A)
    assert await finish(database, ballots, other, BEN) is not None
    assert len(await ballots.counted(battle)) == 1
