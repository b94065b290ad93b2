"""Battle rounds, their pairs and videos, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.battles import (
    BallotSize,
    Battle,
    BattlePair,
    BattlePlan,
    BattleVideo,
    Contender,
    PairCount,
    Verdict,
    video_id,
)
from bot.domain.errors import BattleOpenError
from bot.domain.rounds import NOT_CLOSED, Round
from bot.domain.videos import chain_key
from generation.feedback.registration import Eligibility, candidate_is_a
from migrations.database import now_ms, take_turns
from migrations.schema import battle_pairs, battle_rounds, battle_videos, rounds, videos
from migrations.states.battles import PairState, RoundKind
from migrations.states.community import RoundStatus, VideoStatus

TASK = "A new model against the live one"  # of a battle round's row
VIDEOS_A_PROMPT = 10  # looked at for each prompt that is asked for: most prompts are rendered a few times


async def add(
    connection: AsyncConnection,
    plan: BattlePlan,
    *,
    registration: bytes,
    salt: bytes,
    guild_id: int,
    channel_id: int,
    opened_by: int,
) -> Battle:
    """Write a battle round with all its pairs, in the caller's transaction. Raises BattleOpenError."""
    await take_turns(connection, "rounds", guild_id)  # with the rounds of videos, whose numbers it shares
    await check_none_open(connection, guild_id)
    last = await connection.scalar(select(func.max(rounds.c.number)).where(rounds.c.guild_id == guild_id))
    number = (last or 0) + 1
    key = chain_key("round", guild_id, number, plan.opens_ms)
    inserted = await connection.execute(
        insert(rounds)
        .values(
            guild_id=guild_id,
            number=number,
            kind=RoundKind.BATTLE,
            task=TASK,
            opened_by=opened_by,
            channel_id=channel_id,
            status=RoundStatus.OPENING,
            opens_at_ms=plan.opens_ms,
            closes_at_ms=plan.closes_ms,
            chain_key=key,
        )
        .returning(rounds.c.id)
    )
    round_id = int(inserted.scalar_one())
    await connection.execute(insert(battle_rounds).values(**_columns(plan, round_id, registration, salt)))
    for pair in plan.pairs:
        row = await connection.execute(
            insert(battle_pairs)
            .values(
                round_id=round_id,
                number=pair.number,
                prompt=pair.prompt,
                seed=pair.seed,
                decoy=pair.decoy,
                first_is_a=candidate_is_a(salt, pair.name),
                state=PairState.WAITING,
            )
            .returning(battle_pairs.c.id)
        )
        pair_id = int(row.scalar_one())
        sides = [
            {"id": video_id(key, pair.name, first), "pair_id": pair_id, "is_first": first} for first in (True, False)
        ]
        await connection.execute(insert(battle_videos), sides)
    return _battle((await connection.execute(_query().where(rounds.c.id == round_id))).one())


def _columns(plan: BattlePlan, round_id: int, registration: bytes, salt: bytes) -> dict[str, object]:
    return {
        "round_id": round_id,
        "candidate": plan.candidate.adapter,
        "live": plan.live.adapter,
        "candidate_model": plan.candidate.model_id,
        "live_model": plan.live.model_id,
        "registration": registration,
        "salt": salt.hex(),
        "ballot_battles": plan.size.battles,
        "ballot_catches": plan.size.catches,
        "at_close": plan.size.at_close,
        "catch_one_in": plan.size.catch_one_in,
        "member_days": plan.eligibility.member_days,
        "votes_before": plan.eligibility.votes_before,
        "handed_on": False,
    }


def _query() -> Select[Any]:
    own = [column for column in battle_rounds.c if column.name != "round_id"]
    return select(rounds, *own).join(battle_rounds, battle_rounds.c.round_id == rounds.c.id)


def _battle(row: Any) -> Battle:  # a row of `_query`
    return Battle(
        round=Round.from_row(row),
        candidate=Contender(row.candidate_model, row.candidate),
        live=Contender(row.live_model, row.live),
        registration=bytes(row.registration),
        salt=bytes.fromhex(row.salt),
        size=BallotSize(row.ballot_battles, row.ballot_catches, row.at_close, row.catch_one_in),
        eligibility=Eligibility(row.member_days, row.votes_before),
        interim=None if row.interim is None else Verdict.from_json(row.interim),
        verdict=None if row.verdict is None else Verdict.from_json(row.verdict),
        handed_on=row.handed_on,
    )


async def check_none_open(connection: AsyncConnection, guild_id: int) -> None:
    """Raise BattleOpenError where a guild has a battle round that is not closed."""
    query = select(rounds.c.number).where(
        rounds.c.guild_id == guild_id, rounds.c.status.in_(NOT_CLOSED), rounds.c.kind == RoundKind.BATTLE
    )
    number = await connection.scalar(query.limit(1))
    if number is not None:
        raise BattleOpenError(number=number)


async def get(database: AsyncEngine, round_id: int) -> Battle:
    """Return the battle round. Raises NoResultFound where there is none."""
    async with database.connect() as connection:
        return _battle((await connection.execute(_query().where(rounds.c.id == round_id))).one())


async def get_or_none(database: AsyncEngine, round_id: int) -> Battle | None:
    """Return the battle round; None where there is none."""
    async with database.connect() as connection:
        row = (await connection.execute(_query().where(rounds.c.id == round_id))).first()
    return None if row is None else _battle(row)


async def lock(connection: AsyncConnection, round_id: int) -> Battle:
    """Return the battle round, which the caller's transaction alone may change (where rows can be locked)."""
    await connection.execute(select(rounds.c.id).where(rounds.c.id == round_id).with_for_update())
    return _battle((await connection.execute(_query().where(rounds.c.id == round_id))).one())


async def latest_or_none(database: AsyncEngine, guild_id: int) -> Battle | None:
    """Return a guild's latest battle round; None before its first one."""
    here = (rounds.c.guild_id == guild_id, rounds.c.kind == RoundKind.BATTLE)
    query = _query().where(*here).order_by(rounds.c.number.desc()).limit(1)
    async with database.connect() as connection:
        row = (await connection.execute(query)).first()
    return None if row is None else _battle(row)


async def mark_open(database: AsyncEngine, round_id: int) -> None:
    """Let a round take votes, unless somebody has closed it meanwhile."""
    async with database.begin() as connection:
        await connection.execute(
            update(rounds)
            .where(rounds.c.id == round_id, rounds.c.status == RoundStatus.OPENING)
            .values(status=RoundStatus.OPEN)
        )


async def close_within(connection: AsyncConnection, round_id: int, trouble: str | None) -> bool:
    """Close a round, once, in the caller's transaction: it takes no more votes. Return False where it is closed."""
    await connection.execute(select(rounds.c.id).where(rounds.c.id == round_id).with_for_update())
    now = now_ms()  # after the lock: votes that were taken while this waited are before the deadline
    changed = await connection.execute(
        update(rounds)
        .where(rounds.c.id == round_id, rounds.c.status.in_(NOT_CLOSED))
        .values(
            status=RoundStatus.CLOSED,
            closes_at_ms=case((rounds.c.closes_at_ms > now, now), else_=rounds.c.closes_at_ms),
            trouble=trouble,
        )
    )
    return bool(changed.rowcount)


async def save_interim(database: AsyncEngine, round_id: int, verdict: Verdict) -> None:
    """Keep the verdict on the votes so far."""
    async with database.begin() as connection:
        await connection.execute(
            update(battle_rounds).where(battle_rounds.c.round_id == round_id).values(interim=verdict.to_json())
        )


async def save_verdict(database: AsyncEngine, round_id: int, verdict: Verdict) -> None:
    """Keep the final verdict; an earlier one stands."""
    async with database.begin() as connection:
        await connection.execute(
            update(battle_rounds)
            .where(battle_rounds.c.round_id == round_id, battle_rounds.c.verdict.is_(None))
            .values(verdict=verdict.to_json())
        )


async def mark_handed_on(connection: AsyncConnection, round_id: int) -> bool:
    """Mark the verdict as handed on, in the caller's transaction. Return False where it was already."""
    changed = await connection.execute(
        update(battle_rounds)
        .where(battle_rounds.c.round_id == round_id, battle_rounds.c.handed_on.is_(False))
        .values(handed_on=True)
    )
    return bool(changed.rowcount)


# --------------------------------------------------------------------------- pairs and their videos


async def pairs_of(database: AsyncEngine, round_id: int) -> Sequence[BattlePair]:
    """Return the pairs of a round, by their numbers."""
    async with database.connect() as connection:
        return await pairs_within(connection, round_id)


async def pairs_within(connection: AsyncConnection, round_id: int) -> Sequence[BattlePair]:
    """Return the pairs of a round, by their numbers, as the caller's transaction sees them."""
    query = select(battle_pairs).where(battle_pairs.c.round_id == round_id).order_by(battle_pairs.c.number)
    return [BattlePair.from_row(row) for row in await connection.execute(query)]


async def cards_of(database: AsyncEngine, round_id: int) -> Mapping[int, tuple[object, object]]:
    """Return the provenance cards of both sides, the candidate's first, by the numbers of pairs; no catch pairs.

    A side that was not rendered has None for its card.
    """
    query = (
        select(battle_pairs.c.number, battle_videos.c.provenance)
        .join(battle_videos, battle_videos.c.pair_id == battle_pairs.c.id)
        .where(battle_pairs.c.round_id == round_id, battle_pairs.c.decoy.is_(None))
        .order_by(battle_pairs.c.number, battle_videos.c.is_first.desc())
    )
    async with database.connect() as connection:
        rows = (await connection.execute(query)).all()
    return {
        first.number: (first.provenance, second.provenance) for first, second in zip(rows[::2], rows[1::2], strict=True)
    }


async def pair_or_none(database: AsyncEngine, pair_id: int) -> BattlePair | None:
    """Return the pair; None where there is none."""
    async with database.connect() as connection:
        row = (await connection.execute(select(battle_pairs).where(battle_pairs.c.id == pair_id))).first()
    return None if row is None else BattlePair.from_row(row)


async def videos_of(database: AsyncEngine, pair_id: int) -> tuple[BattleVideo, BattleVideo]:
    """Return the first and the second side of a pair."""
    query = select(battle_videos).where(battle_videos.c.pair_id == pair_id).order_by(battle_videos.c.is_first.desc())
    async with database.connect() as connection:
        first, second = [BattleVideo.from_row(row) for row in await connection.execute(query)]
    return first, second


async def videos_of_over(database: AsyncEngine, ids: Sequence[str], before_ms: int) -> Sequence[BattleVideo]:
    """Return those of these videos whose round closed before that time and has handed its verdict on."""
    query = (
        select(battle_videos)
        .join(battle_pairs, battle_pairs.c.id == battle_videos.c.pair_id)
        .join(battle_rounds, battle_rounds.c.round_id == battle_pairs.c.round_id)
        .join(rounds, rounds.c.id == battle_pairs.c.round_id)
        .where(battle_videos.c.id.in_(ids), battle_rounds.c.handed_on.is_(True))
        .where(rounds.c.status == RoundStatus.CLOSED, rounds.c.closes_at_ms < before_ms)
    )
    async with database.connect() as connection:
        return [BattleVideo.from_row(row) for row in await connection.execute(query)]


async def change_video(database: AsyncEngine, id_: str, **values: object) -> None:
    """Set columns of a video."""
    async with database.begin() as connection:
        await connection.execute(update(battle_videos).where(battle_videos.c.id == id_).values(**values))


async def change_state(
    connection: AsyncConnection, pair_id: int, before: PairState, after: PairState, reason: str | None = None
) -> bool:
    """Change the state of a pair in the caller's transaction. Return False where it has another state than `before`."""
    changed = await connection.execute(
        update(battle_pairs)
        .where(battle_pairs.c.id == pair_id, battle_pairs.c.state == before)
        .values(state=after, reason=reason)
    )
    return bool(changed.rowcount)


async def leave_out_waiting(connection: AsyncConnection, round_id: int, reason: str) -> None:
    """Leave out all pairs whose videos are still being made, in the caller's transaction."""
    await connection.execute(
        update(battle_pairs)
        .where(battle_pairs.c.round_id == round_id, battle_pairs.c.state == PairState.WAITING)
        .values(state=PairState.LEFT_OUT, reason=reason)
    )


async def count_pairs(database: AsyncEngine, round_id: int) -> PairCount:
    """Return how many pairs of a round are in which state."""
    query = (
        select(battle_pairs.c.state, func.count())
        .where(battle_pairs.c.round_id == round_id)
        .group_by(battle_pairs.c.state)
    )
    async with database.connect() as connection:
        counts = {str(state): int(count) for state, count in await connection.execute(query)}
    return PairCount(**counts)


async def prompts_of_members(database: AsyncEngine, guild_id: int, most: int) -> Sequence[str]:
    """Return the distinct prompts of a guild's latest posted videos, newest first; no others are looked at."""
    latest = (
        select(videos.c.prompt, videos.c.created_at_ms)
        .where(videos.c.guild_id == guild_id, videos.c.status == VideoStatus.PUBLISHED)
        .order_by(videos.c.created_at_ms.desc())
        .limit(VIDEOS_A_PROMPT * most)
        .subquery()
    )
    query = (
        select(latest.c.prompt).group_by(latest.c.prompt).order_by(func.max(latest.c.created_at_ms).desc()).limit(most)
    )
    async with database.connect() as connection:
        return [str(prompt) for prompt in await connection.scalars(query)]
