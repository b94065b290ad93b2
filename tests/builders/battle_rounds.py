"""Battle rounds for tests: a plan, rows, a verdict, and small mp4s in which their maker is named."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import BallotSize, Battle, BattlePlan, Contender, Verdict, VerdictState, plan_pairs
from bot.store.battles import rounds as battles
from bot.workflows.battles.registration import AttemptFacts, registration_of
from generation.feedback.registration import Eligibility, Rule, rule_for
from migrations.database import now_ms
from migrations.schema import battle_pairs
from migrations.states.battles import PairState

GUILD, SALT = 77, bytes(range(32))
CANDIDATE, LIVE = Contender("tiny", "c" * 64), Contender("tiny")
PROMPTS = ["a red fox", "a blue bird", "a tree"]
FACTS = AttemptFacts(community="c0" * 32, attempt=1, last_failed=0, base_revision="r", data_root="da" * 32)


def a_rule(**changes: Any) -> Rule:
    """The rule of a community that is satisfied with small ballots of few pairs."""
    small = {"ballot_battles": 2, "ballot_at_close": 1, "catch_answers": 1, "catch_one_in": 3, "min_pairs": 1}
    return rule_for(1, 0, Rule(alpha_ppb=0, wealth=0, min_voters=0, **{**small, **changes}))


RULE = a_rule()
SIZE = BallotSize.of_rule(RULE)


def register(plan: BattlePlan, salt: bytes) -> bytes:
    """The registration of a plan as a first attempt."""
    return registration_of(plan, salt, FACTS, RULE).canonical_bytes()


def a_plan(*, battles_: int = 4, catches: int = 2, seconds: float = 3600, **changes: Any) -> BattlePlan:
    """A small plan; what is given by name is as given."""
    now = now_ms()
    values = {
        "candidate_id": 1, "candidate": CANDIDATE, "live": LIVE, "pairs": plan_pairs(PROMPTS, battles_, catches, "s"),
        "size": SIZE, "eligibility": Eligibility(0, 0), "opens_ms": now, "closes_ms": now + int(seconds * 1000),
    }  # fmt: skip
    return BattlePlan(**{**values, **changes})


async def an_open_battle(database: AsyncEngine, **changes: Any) -> Battle:
    """A round with all pairs ready, as its workflow opens it."""
    plan = a_plan(**changes)
    async with database.begin() as connection:
        battle = await battles.add(
            connection, plan, registration=register(plan, SALT), salt=SALT, guild_id=GUILD, channel_id=5, opened_by=1
        )
        await connection.execute(battle_pairs.update().values(state=PairState.READY))
    await battles.mark_open(database, battle.round.id)
    return await battles.get(database, battle.round.id)


def a_verdict(state: VerdictState = VerdictState.UNDECIDED, **changes: Any) -> Verdict:
    """A verdict of the gate; what is given by name is as given."""
    values = {
        "state": state, "reasons": ("Undecided after 3 voters; about 40 are needed if all vote like these.",),
        "voters": 3, "votes": 9, "held_out": 1, "waiting": 2, "evidence_milli": 1234, "evidence_needed": 40,
        "win_rate_permille": 611, "interval_permille": (402, 790), "equal_motion_permille": 580, "survives": 0,
        "survives_needed": 2, "needs_about": 40, "min_voters": 12,
    }  # fmt: skip
    return Verdict(**{**values, **changes})


def an_mp4(pictures: bytes, words: bytes) -> bytes:
    """A file with the words of its maker, as a worker writes them."""
    return _box(b"ftyp", b"isom") + _box(b"moov", _box(b"udta", words)) + _box(b"mdat", pictures)


def _box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4) + kind + body
