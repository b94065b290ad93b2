"""The learning loop of a generated past: what it left behind, and everything that its members and moderators ask of it.

Each round that is over has left a battle round behind, a candidate, a release and a member's choice about training. One
more battle round is open. Its pairs are as many in the short past as in the long one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import Battle
from bot.store.battles import rounds as battles
from bot.store.battles.ballots import Ballots
from bot.store.learning import candidates, choices, releases
from migrations.database import now_ms
from migrations.schema import (
    battle_ballots,
    battle_pairs,
    battle_rounds,
    battle_videos,
    battle_voters,
    rounds,
    training_choices,
)
from migrations.schema import candidates as candidate_rows
from migrations.schema import releases as release_rows
from migrations.states.battles import BattleChoice
from migrations.states.community import TrainingChoice
from migrations.states.learning import CandidateState
from tests.growth.history import GUILD, MODEL, PEPPER, Past, engine_of
from tests.growth.transactions import tried

FIRST_ROUND = -(10**6)  # ids and numbers of battle rounds: below those of all other rounds, and in their order in time
PAIRS = 12
VOTERS = 8  # of a battle round
A_SEED = 1


def fill_learning(url: str, past: Past) -> None:
    """Write what the loop left behind into a past that is there already."""
    engine = engine_of(url)
    with engine.begin() as connection:
        for number in range(1, past.open_round + 1):
            _battle(connection, past, number)
        for number in range(1, past.rounds + 1):
            _release(connection, past, number)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def _pair(number: int, pair: int) -> int:
    return number * PAIRS + pair + 1


def _battle(connection: Any, past: Past, number: int) -> None:
    """A battle round with its pairs, their videos and ballots; nobody has voted in the open one."""
    round_id, is_over = FIRST_ROUND + number, number <= past.rounds
    opens = now_ms() - (past.open_round - number) * 86_400_000 - 3_600_000
    connection.execute(
        insert(rounds).values(
            id=round_id, guild_id=GUILD, number=round_id, kind="battle", task="t", opened_by=1, channel_id=1,
            thread_id=1, status="closed" if is_over else "open", opens_at_ms=opens,
            closes_at_ms=opens + (3_600_000 if is_over else 86_400_000), chain_key=f"battle {number}",
            chain_id=round_id, finalized_tx=f"battle {number}" if is_over else None,
            result_message_id=1 if is_over else None,
        )
    )  # fmt: skip
    connection.execute(
        insert(battle_rounds).values(
            round_id=round_id, candidate=f"{number:064x}", candidate_model=MODEL, live_model=MODEL, registration=b"r",
            salt="5a" * 32, ballot_battles=5, ballot_catches=1, at_close=2, catch_one_in=6, member_days=0,
            votes_before=0, handed_on=is_over,
        )
    )  # fmt: skip
    pairs = [_pair(number, pair) for pair in range(PAIRS)]
    connection.execute(
        insert(battle_pairs),
        [
            {
                "id": id_, "round_id": round_id, "number": place, "prompt": f"prompt {place}", "seed": A_SEED,
                "decoy": "another" if place % 6 == 0 else None, "first_is_a": bool(place % 2), "state": "ready",
            }
            for place, id_ in enumerate(pairs, 1)
        ],
    )  # fmt: skip
    connection.execute(
        insert(battle_videos),
        [{"id": f"8{id_:017}{int(side)}", "pair_id": id_, "is_first": side} for id_ in pairs for side in (True, False)],
    )
    if not is_over:
        return
    members = [1 + (number * 7 + voter) % past.members for voter in range(VOTERS)]
    connection.execute(
        insert(battle_voters),
        [{"round_id": round_id, "member_id": each, "eligible": True, "entered_at_ms": 1} for each in members],
    )
    ballots = [(id_, each) for each in members for id_ in pairs[:6]]
    connection.execute(
        insert(battle_ballots),
        [
            {"pair_id": id_, "member_id": each, "shown_at_ms": 1, "choice": "a", "cast_at_ms": 2, "place": place}
            for place, (id_, each) in enumerate(ballots, 1)
        ],
    )


def _release(connection: Any, past: Past, number: int) -> None:
    """A candidate that won its battle, its release, and a member's choice about training."""
    about = {"adapter_sha256": f"{number:064x}", "parent": number - 1 or None, "registration": "ee" * 32}
    connection.execute(
        insert(candidate_rows).values(
            id=number, model_id=MODEL, base_revision="r", data_root="da" * 32, recipe={}, seed=A_SEED, size_bytes=9,
            machine="m", state="released", battle_round_id=FIRST_ROUND + number, begun_at_ms=1, **about,
        )
    )  # fmt: skip
    connection.execute(
        insert(release_rows).values(
            model_id=MODEL, number=number, candidate_id=number, battle_round_id=FIRST_ROUND + number, made_at_ms=1,
            state="live" if number == past.rounds else "replaced", **about,
        )
    )  # fmt: skip
    connection.execute(insert(training_choices).values(guild_id=GUILD, member_id=number, notice_at_ms=1))


class LearningOperations:
    """What is asked of the learning loop, by name."""

    def __init__(self, database: AsyncEngine, past: Past) -> None:
        self._database = database
        self._ballots = Ballots(database, PEPPER)
        self._round = FIRST_ROUND + past.open_round
        self._pair = _pair(past.open_round, 0)
        self._member = past.members + 77  # who has not voted in any battle

    def all(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """Each by its name."""
        database, here, member = self._database, self._round, self._member
        return {
            "training state": lambda: choices.state_of(database, GUILD, member),
            "training notice": lambda: choices.record_notice(database, GUILD, member),
            "training choice": lambda: choices.choose(database, GUILD, member, TrainingChoice.OUT),
            "live release and its history": self.models,
            "latest battle round": lambda: battles.latest_or_none(database, GUILD),
            "a battle round": lambda: battles.get_or_none(database, here),
            "pairs of a battle round": lambda: battles.pairs_of(database, here),
            "videos of a pair": lambda: battles.videos_of(database, self._pair),
            "count of pairs": lambda: battles.count_pairs(database, here),
            "prompts for battles": lambda: battles.prompts_of_members(database, GUILD, 20),
            "a ballot": self.ballot,
            "counted ballots": self.counted,
            "end of a battle round": self.end,
        }

    async def models(self) -> None:
        """What `/model` shows, and what a render asks."""
        async with self._database.connect() as connection:
            assert await releases.live_or_none(connection, MODEL)
            shown = await releases.history(connection, MODEL)
            assert len(await releases.facts(connection, shown)) == len(shown)
            assert not await releases.is_paused(connection, MODEL)
            await candidates.in_states(connection, MODEL, CandidateState.WON, CandidateState.TRAINING)
            assert await candidates.adapters_that_passed(connection, MODEL)

    async def _battle(self) -> Battle:
        return await battles.get(self._database, self._round)

    async def ballot(self) -> None:
        """A pair is dealt, looked at and answered; the member answers the same one again at a repetition."""
        pair_id = await self._ballots.deal(self._round, self._member, 100.0)
        assert pair_id is not None
        await self._ballots.cast(pair_id, GUILD, self._member, BattleChoice.A)
        await self._ballots.view(pair_id, GUILD, self._member)

    async def counted(self) -> None:
        assert await self._ballots.counted(await self._battle()) == []

    async def end(self) -> None:
        """A round is closed with its ballots; nothing of it stays."""
        battle = await self._battle()
        async with tried(self._database) as connection:
            await self._ballots.finish_all_within(connection, battle)
            await battles.leave_out_waiting(connection, self._round, "r")
            await battles.close_within(connection, self._round, None)
            await battles.mark_handed_on(connection, self._round)
