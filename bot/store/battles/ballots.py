"""The ballots of battle rounds: who was shown which pair, and chose what.

A choice may be changed until its member asks which video was whose, or the round closes. From then on it is final, has
its place in the round's order, and counts. So nobody votes on sides that they know, and no counted vote is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.battles import (
    Battle,
    BattlePair,
    CountedVote,
    PairView,
    ShownPair,
    choose_pair,
    outcome_of,
)
from bot.domain.errors import (
    BattleChoiceMissingError,
    BattleClosedError,
    BattlePairUnknownError,
    BattleVoteFinalError,
    ElsewhereError,
)
from bot.store.battles import rounds as battle_rounds
from contracts.outbox.entries import voter_id
from migrations.database import now_ms, upsert_into
from migrations.schema import battle_ballots, battle_pairs, battle_voters, videos, votes
from migrations.states.battles import BattleChoice, PairState


@dataclass(frozen=True)
class FinalVote:
    """A choice that has just become final, for the ledger."""

    pair: BattlePair
    voter: str  # pseudonym
    choice: BattleChoice


@dataclass(frozen=True)
class _Ballot:
    """A member's ballot on a pair, with what it is about."""

    pair: BattlePair
    battle: Battle
    choice: BattleChoice | None
    place: int | None


class Ballots:
    """Deals pairs to members and keeps their choices."""

    def __init__(self, database: AsyncEngine, pepper: bytes) -> None:
        """`pepper` is the secret that makes voter ids irreversible."""
        self._database = database
        self._pepper = pepper

    async def deal(self, round_id: int, member_id: int, member_days: float) -> int | None:
        """Return the pair that a member is to answer now: the one shown last, or a new one; None after all.

        The new one has been shown to the fewest members. `member_days` before the registration decides, with earlier
        votes, if the member's votes count. Raises BattleClosedError.
        """
        async with self._database.begin() as connection:
            battle = await battle_rounds.lock(connection, round_id)
            _check_open(battle)
            await self._enter(connection, battle, member_id, member_days)
            rows = (await connection.execute(_of_member(round_id, member_id))).all()
            for row in rows:
                if row.place is None and row.state == PairState.READY:
                    return int(row.id)
            pairs = await _ready(connection, round_id)
            voter = voter_id(self._pepper, battle.round.guild_id, member_id)
            pair_id = choose_pair(battle.salt, voter, battle.size, pairs, {row.id for row in rows})
            if pair_id is not None:
                await connection.execute(
                    insert(battle_ballots).values(pair_id=pair_id, member_id=member_id, shown_at_ms=now_ms())
                )
            return pair_id

    async def _enter(self, connection: AsyncConnection, battle: Battle, member_id: int, days: float) -> None:
        """Write down, once, if the votes of a member count in a round."""
        round_ = battle.round
        cast = await connection.scalar(
            select(func.count())
            .select_from(votes.join(videos, videos.c.id == votes.c.video_id))
            .where(
                votes.c.member_id == member_id,
                videos.c.guild_id == round_.guild_id,
                votes.c.cast_at_ms < round_.opens_at_ms,
            )
        )
        await connection.execute(
            upsert_into(connection, battle_voters)
            .values(
                round_id=round_.id,
                member_id=member_id,
                eligible=battle.eligibility.admits(days, int(cast or 0)),
                entered_at_ms=now_ms(),
            )
            .on_conflict_do_nothing()
        )

    async def cast(self, pair_id: int, guild_id: int, member_id: int, choice: BattleChoice) -> None:
        """Record a choice, which may still be changed.

        Raises BattlePairUnknownError for a pair that the member was not shown, BattleVoteFinalError,
        BattleClosedError or ElsewhereError.
        """
        async with self._database.begin() as connection:
            ballot = await self._load(connection, pair_id, guild_id, member_id)
            _check_open(ballot.battle)
            if ballot.place is not None:
                raise BattleVoteFinalError
            if ballot.pair.state != PairState.READY:
                raise BattlePairUnknownError
            await connection.execute(
                update(battle_ballots)
                .where(battle_ballots.c.pair_id == pair_id, battle_ballots.c.member_id == member_id)
                .values(choice=choice, cast_at_ms=now_ms())
            )

    async def finish_within(
        self, connection: AsyncConnection, pair_id: int, guild_id: int, member_id: int
    ) -> FinalVote | None:
        """Make a choice final in the caller's transaction. Return it if it counts and was not final before.

        Raises BattleChoiceMissingError where the member has not chosen, and what `cast` raises.
        """
        ballot = await self._load(connection, pair_id, guild_id, member_id)
        if ballot.place is not None:
            return None
        _check_open(ballot.battle)
        if ballot.choice is None:
            raise BattleChoiceMissingError
        await self._finish(connection, ballot.battle, [(pair_id, member_id)])
        eligible = await connection.scalar(
            select(battle_voters.c.eligible).where(
                battle_voters.c.round_id == ballot.battle.round.id, battle_voters.c.member_id == member_id
            )
        )
        voter = voter_id(self._pepper, guild_id, member_id)
        return FinalVote(ballot.pair, voter, ballot.choice) if eligible else None

    async def finish_all_within(self, connection: AsyncConnection, battle: Battle) -> Sequence[FinalVote]:
        """Make every choice of a round final, in their order in time. Return those that count."""
        query = (
            select(battle_ballots, battle_pairs, battle_voters.c.eligible)
            .join(battle_pairs, battle_pairs.c.id == battle_ballots.c.pair_id)
            .join(battle_voters, _is_voter())
            .where(
                battle_pairs.c.round_id == battle.round.id,
                battle_ballots.c.choice.is_not(None),
                battle_ballots.c.place.is_(None),
            )
            .order_by(battle_ballots.c.cast_at_ms, battle_ballots.c.pair_id, battle_ballots.c.member_id)
        )
        rows = (await connection.execute(query)).all()
        await self._finish(connection, battle, [(row.pair_id, row.member_id) for row in rows])
        guild_id = battle.round.guild_id
        return [
            FinalVote(
                BattlePair.from_row(row), voter_id(self._pepper, guild_id, row.member_id), BattleChoice(row.choice)
            )
            for row in rows
            if row.eligible
        ]

    async def _finish(self, connection: AsyncConnection, battle: Battle, keys: Sequence[tuple[int, int]]) -> None:
        last = await connection.scalar(
            select(func.max(battle_ballots.c.place))
            .join(battle_pairs, battle_pairs.c.id == battle_ballots.c.pair_id)
            .where(battle_pairs.c.round_id == battle.round.id)
        )
        for place, (pair_id, member_id) in enumerate(keys, (last or 0) + 1):
            await connection.execute(
                update(battle_ballots)
                .where(battle_ballots.c.pair_id == pair_id, battle_ballots.c.member_id == member_id)
                .values(place=place)
            )

    async def _load(self, connection: AsyncConnection, pair_id: int, guild_id: int, member_id: int) -> _Ballot:
        query = (
            select(battle_pairs, battle_ballots.c.choice, battle_ballots.c.place)
            .join(battle_ballots, battle_ballots.c.pair_id == battle_pairs.c.id)
            .where(battle_pairs.c.id == pair_id, battle_ballots.c.member_id == member_id)
        )
        about = await connection.scalar(select(battle_pairs.c.round_id).where(battle_pairs.c.id == pair_id))
        if about is None:
            raise BattlePairUnknownError
        battle = await battle_rounds.lock(connection, int(about))
        if battle.round.guild_id != guild_id:
            raise ElsewhereError
        row = (await connection.execute(query)).first()
        if row is None:
            raise BattlePairUnknownError
        choice = None if row.choice is None else BattleChoice(row.choice)
        return _Ballot(BattlePair.from_row(row), battle, choice, row.place)

    async def view(self, pair_id: int, guild_id: int, member_id: int) -> PairView:
        """Return a pair as a member sees it: sides after their own choice is final, evidence after a full ballot.

        Raises BattlePairUnknownError or ElsewhereError.
        """
        async with self._database.begin() as connection:
            ballot = await self._load(connection, pair_id, guild_id, member_id)
            rows = (await connection.execute(_of_member(ballot.battle.round.id, member_id))).all()
            eligible = await connection.scalar(
                select(battle_voters.c.eligible).where(
                    battle_voters.c.round_id == ballot.battle.round.id, battle_voters.c.member_id == member_id
                )
            )
        battle, pair, is_final = ballot.battle, ballot.pair, ballot.place is not None
        answered = sum(row.place is not None for row in rows)
        of = min(battle.size.pairs, max(answered, await self._offered(battle.round.id)))
        return PairView(
            pair_id=pair_id,
            round_id=battle.round.id,
            round_number=battle.round.number,
            closes_at_ms=battle.round.closes_at_ms,
            prompt=pair.prompt,
            choice=ballot.choice,
            is_final=is_final,
            answered=answered,
            of=of,
            counts=bool(eligible),
            is_catch=pair.is_catch if is_final else None,
            candidate_is_a=pair.first_is_a if is_final else None,
            interim=battle.interim if is_final and answered >= of else None,
        )

    async def _offered(self, round_id: int) -> int:
        return (await battle_rounds.count_pairs(self._database, round_id)).ready

    async def counted(self, battle: Battle) -> Sequence[CountedVote]:
        """Return the final votes of members whose votes count, in the round's order."""
        query = (
            select(battle_ballots.c.member_id, battle_ballots.c.choice, battle_pairs)
            .join(battle_pairs, battle_pairs.c.id == battle_ballots.c.pair_id)
            .join(battle_voters, _is_voter())
            .where(
                battle_pairs.c.round_id == battle.round.id,
                battle_ballots.c.place.is_not(None),
                battle_voters.c.eligible.is_(True),
            )
            .order_by(battle_ballots.c.place)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            CountedVote(
                voter_id(self._pepper, battle.round.guild_id, row.member_id),
                str(row.number),
                outcome_of(BattleChoice(row.choice), row.first_is_a, row.decoy is not None),
            )
            for row in rows
        ]


def _check_open(battle: Battle) -> None:
    if not battle.round.accepts_votes(now_ms()):
        raise BattleClosedError(number=battle.round.number)


def _is_voter() -> Any:  # SQLAlchemy's condition
    return (battle_voters.c.round_id == battle_pairs.c.round_id) & (
        battle_voters.c.member_id == battle_ballots.c.member_id
    )


def _of_member(round_id: int, member_id: int) -> Any:  # SQLAlchemy's query
    return (
        select(battle_pairs.c.id, battle_pairs.c.state, battle_ballots.c.place)
        .join(battle_ballots, battle_ballots.c.pair_id == battle_pairs.c.id)
        .where(battle_pairs.c.round_id == round_id, battle_ballots.c.member_id == member_id)
        .order_by(battle_ballots.c.shown_at_ms, battle_pairs.c.id)
    )


async def _ready(connection: AsyncConnection, round_id: int) -> Sequence[ShownPair]:
    shown = (
        select(battle_ballots.c.pair_id, func.count().label("shown"))
        .join(battle_pairs, battle_pairs.c.id == battle_ballots.c.pair_id)
        .where(battle_pairs.c.round_id == round_id)
        .group_by(battle_ballots.c.pair_id)
        .subquery()
    )
    query = (
        select(battle_pairs, func.coalesce(shown.c.shown, 0).label("shown"))
        .outerjoin(shown, shown.c.pair_id == battle_pairs.c.id)
        .where(battle_pairs.c.round_id == round_id, battle_pairs.c.state == PairState.READY)
    )
    return [
        ShownPair(int(row.id), str(row.number), row.decoy is not None, int(row.shown))
        for row in await connection.execute(query)
    ]
