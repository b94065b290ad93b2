"""The workflow of a battle round: nothing before its registration, nothing twice, and no pair holds it up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.demo.discord.people import wait_for
from bot.domain.battles import Battle, BattlePair, BattleVideo, Verdict, VerdictState
from bot.store.battles import rounds as battles
from bot.store.battles.ballots import FinalVote
from bot.workflows import battle as battle_workflow
from bot.workflows.battle import NOT_JUDGED
from bot.workflows.battles.ledger import OutboxBattles
from migrations.database import now_ms
from migrations.schema import outbox
from migrations.states.battles import BattleChoice, PairState
from migrations.states.community import RoundStatus
from tests.builders.battle_rounds import PROMPTS
from tests.builders.battle_town import (
    begin_battle,
    end_battle,
    stand_in_for_workers,
    until_battle,
    until_open,
)
from tests.builders.live_bot import Town

pytestmark = pytest.mark.asyncio(loop_scope="module")


class RecordingLedger(OutboxBattles):
    """Writes down what is entered beside the round itself."""

    def __init__(self, town: Town) -> None:
        super().__init__(town.database, 60)
        self.pairs: list[tuple[int, str | None]] = []
        self.votes: list[BattleChoice] = []
        self.reveals: list[int] = []

    async def enter(
        self, connection: AsyncConnection, battle: Battle, pair: BattlePair, a: BattleVideo, b: BattleVideo
    ) -> None:
        self.pairs.append((pair.number, a.shown_sha256))

    async def vote(self, connection: AsyncConnection, battle: Battle, votes: Sequence[FinalVote]) -> None:
        self.votes += [vote.choice for vote in votes]

    async def reveal(self, connection: AsyncConnection, battle: Battle, pair: BattlePair) -> None:
        self.reveals.append(pair.number)


async def entries_of(town: Town, round_id: int, kind: str) -> int:
    """How many entries of a kind a round has for the ledger."""
    async with town.database.connect() as connection:
        query = select(func.count()).where(outbox.c.round_id == round_id, outbox.c.kind == kind)
        return int(await connection.scalar(query) or 0)


async def posts(town: Town, words: str) -> int:
    """How many messages in the channel have these words."""
    return sum(words in message.text for message in await town.shown(town.channel))


async def test_the_registration_comes_before_the_first_vote(town: Town) -> None:
    """It is entered with the round; until it stands on the ledger the round does not open."""
    stand_in_for_workers(town)
    battle = await begin_battle(town)
    async with town.database.connect() as connection:
        query = select(outbox.c.payload).where(outbox.c.round_id == battle.round.id, outbox.c.kind == "round")
        [payload] = (await connection.scalars(query)).all()
    assert payload["meta_hash"] == battle.registration_hash

    async def made() -> bool | None:
        return True if not (await battles.count_pairs(town.database, battle.round.id)).waiting else None

    await wait_for("the videos", made, seconds=600)
    assert (await battles.get(town.database, battle.round.id)).round.status == RoundStatus.OPENING
    opened = await until_open(town, battle.round.id)
    assert opened.registration == battle.registration
    await end_battle(town, battle.round.id)


async def test_a_pair_that_cannot_be_made_holds_nothing_up(town: Town) -> None:
    """It is left out with a reason, and the verdict says so; the others are voted on."""
    stand_in_for_workers(town, lost=PROMPTS[0])
    battle = await until_open(town, (await begin_battle(town, battles_=3, catches=0)).round.id)
    pairs = await battles.pairs_of(town.database, battle.round.id)
    assert [pair.state for pair in pairs] == [PairState.LEFT_OUT, PairState.READY, PairState.READY]
    assert pairs[0].reason == "The workers could not render a video."
    await end_battle(town, battle.round.id)
    assert await posts(town, "1 of 3 pairs had to be left out") == 1


async def test_a_round_without_pairs_says_why(town: Town) -> None:
    """It never opens, and its end is posted and asked of the ledger."""
    stand_in_for_workers(town, lost=PROMPTS[0])
    battle = await begin_battle(town, battles_=1, catches=0)
    over = await until_battle(town, battle.round.id, "the verdict", lambda now: now.round.result_message_id is not None)
    assert over.round.trouble == battle_workflow.NO_PAIRS
    assert await posts(town, battle_workflow.NO_PAIRS) == 1
    assert await entries_of(town, battle.round.id, "close") == 1


async def test_a_registration_that_the_ledger_turns_down_ends_the_round(town: Town) -> None:
    """Nobody votes on what was not registered."""
    stand_in_for_workers(town)
    battle = await begin_battle(town)
    async with town.database.begin() as connection:
        await connection.execute(
            outbox.update()
            .where(outbox.c.round_id == battle.round.id, outbox.c.kind == "round")
            .values(state="rejected", reason="it came too late.")
        )
    over = await until_battle(town, battle.round.id, "the verdict", lambda now: now.round.result_message_id is not None)
    assert over.round.trouble is not None
    assert "it came too late." in over.round.trouble


async def test_every_step_may_run_twice(town: Town) -> None:
    """Nothing is posted, counted, entered or handed on twice, and the first verdict stands."""
    stand_in_for_workers(town)
    workflow, taken = town.app.learning.battles.workflow, list[VerdictState]()

    async def hand_on(_connection: AsyncConnection, _battle: Battle, verdict: Verdict) -> None:
        taken.append(verdict.state)

    before = workflow._ledger, workflow._hand_on
    ledger = RecordingLedger(town)
    workflow._ledger, workflow._hand_on = ledger, hand_on
    try:
        battle = await until_open(town, (await begin_battle(town, battles_=2, catches=1)).round.id)
        for member in (11, 12):
            pair_id = await workflow._ballots.deal(battle.round.id, member, 1.0)
            assert pair_id is not None
            await workflow._ballots.cast(pair_id, town.guild, member, BattleChoice.A)
        over = await end_battle(town, battle.round.id)
        for again in (
            workflow._announce, workflow._enter_pairs, lambda id_: workflow._close(id_, "again"),
            workflow._judge_at_close, workflow._hand_verdict_on, workflow._try_to_post,
        ):  # fmt: skip
            await again(battle.round.id)
    finally:
        workflow._ledger, workflow._hand_on = before
    assert await battles.get(town.database, battle.round.id) == await battles.get(town.database, over.round.id)
    assert taken == [VerdictState.UNDECIDED]
    assert sorted(set(ledger.pairs)) == sorted(set(ledger.pairs[:3]))  # entered again as before, which changes nothing
    assert {number for number, _ in ledger.pairs} == {1, 2, 3}  # the catch pair too: nobody can tell it
    assert all(sha256 is not None for _, sha256 in ledger.pairs)
    assert sorted(ledger.reveals) == [1, 2, 3]
    assert len(await workflow._ballots.counted(over)) == 2
    assert ledger.votes == [BattleChoice.A, BattleChoice.A]
    assert await entries_of(town, battle.round.id, "close") == 1
    assert await posts(town, f"Verdict of battle round {battle.round.number}:") == 1
    assert await posts(town, f"Battle round {battle.round.number}:") == 1


async def test_votes_that_cannot_be_judged_release_nothing(town: Town) -> None:
    """The round ends all the same, with a verdict that says so."""
    stand_in_for_workers(town)

    async def judge(_battle: Battle, _votes: object, *, closed: bool) -> Verdict:
        raise ArithmeticError("no")

    workflow = town.app.learning.battles.workflow
    before, workflow._judge = workflow._judge, judge
    try:
        battle = await until_open(town, (await begin_battle(town, battles_=1, catches=0)).round.id)
        over = await end_battle(town, battle.round.id)
    finally:
        workflow._judge = before
    assert over.verdict is not None
    assert (over.verdict.state, over.verdict.reasons) == (VerdictState.UNDECIDED, (NOT_JUDGED,))
    assert await posts(town, NOT_JUDGED) == 1


async def test_the_deadline_comes_before_the_round_opens(town: Town) -> None:
    """What is not made or registered by then is too late, and the round ends without votes."""
    stand_in_for_workers(town)
    battle = await begin_battle(town, battles_=1, catches=0, seconds=1)
    over = await until_battle(town, battle.round.id, "the verdict", lambda now: now.round.result_message_id is not None)
    assert over.round.closes_at_ms <= now_ms()
    assert over.round.status == RoundStatus.CLOSED
    assert over.round.trouble is not None
