"""The workflow of a battle round, from its registration to its verdict.

The registration is entered for the ledger in the transaction that begins the round, and nobody can vote before it
stands there. No answer of Discord, and no pair that fails, ends the workflow or keeps the round from its verdict.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.battles import SALT_BYTES, Battle, BattlePair, BattlePlan, Verdict
from bot.posts.battles import BattlePosts
from bot.posts.obstacles import Obstacle
from bot.retry import passes
from bot.store.battles import rounds as battles
from bot.store.battles.ballots import Ballots
from bot.store.learning import candidates
from bot.workflows import battle_pair
from bot.workflows.battle_parts import BattleLedger, HandOn, Judge, Registrar, count_alone
from bot.workflows.steps import step
from generation.jobs import BOT_QUEUE
from generation.log_context import about
from generation.queue.engine import Engine
from generation.strict_json import JsonObject
from migrations.database import now_ms
from migrations.states.battles import PairState
from migrations.states.community import RoundStatus

log = logging.getLogger(__name__)

T = TypeVar("T")

WORKFLOW = "battle_life"
POLL_S = 1.0  # at the pairs, and at the ledger
LOOK_S = 600.0  # between two looks at the votes so far; a full ballot wakes the workflow earlier
UNKNOWN_S = 30.0  # until the deadline is read again, if an error kept it from being read
AGAIN_S, LONGEST_AGAIN_S = 30.0, 3600.0  # between two tries to post the verdict
MOST_TRIES = 48  # which take about two days
NO_PAIRS = "None of its pairs could be shown, so nobody could vote."
TOO_LATE = "Its time was over before its videos were made and its registration stood on the ledger."
NOT_REGISTERED = "The ledger did not take its registration, so nobody could vote: {reason}"
NOT_JUDGED = "The votes could not be judged, so they release nothing. The operator can see why in the log."
CLOSED_BEFORE = "The round closed before its videos were made."


def workflow_id(round_id: int) -> str:
    """Return the id of a battle round's workflow."""
    return f"battle-{round_id}"


class BattleWorkflow:
    """Begins, opens, judges and closes battle rounds."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        posts: BattlePosts,
        ballots: Ballots,
        ledger: BattleLedger,
        register_plan: Registrar,
        judge: Judge,
        hand_on: HandOn,
    ) -> None:
        self._database = database
        self._engine = engine
        self._posts = posts
        self._ballots = ballots
        self._ledger = ledger
        self._register_plan = register_plan
        self._judge = judge
        self._hand_on = hand_on

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def battle_life(argument: JsonObject) -> JsonObject:
            round_id = cast(int, argument["round_id"])
            with about(round=round_id):
                return await self.run(round_id)

        engine.workflow(WORKFLOW)(battle_life)

    async def begin(
        self, connection: AsyncConnection, plan: BattlePlan, *, guild_id: int, channel_id: int, opened_by: int
    ) -> Battle:
        """Fix a battle round for good: its rows, its registration on the way to the ledger, and its workflow.

        All in the caller's transaction. Raises BattleOpenError, what the registrar raises, and WrongStateError where
        the candidate is not ready.
        """
        salt = secrets.token_bytes(SALT_BYTES)
        registration = await self._register_plan(connection, plan, salt)
        battle = await battles.add(
            connection,
            plan,
            registration=registration,
            salt=salt,
            guild_id=guild_id,
            channel_id=channel_id,
            opened_by=opened_by,
        )
        await self._ledger.register(connection, battle)
        await candidates.begin_battle(
            connection, plan.candidate_id, registration=battle.registration_hash, battle_round_id=battle.round.id
        )
        argument: JsonObject = {"round_id": battle.round.id}
        await self._engine.submit(connection, WORKFLOW, workflow_id(battle.round.id), argument, queue=BOT_QUEUE)
        return battle

    async def vote_is_final(self, connection: AsyncConnection, pair_id: int, guild_id: int, member_id: int) -> None:
        """Make a member's choice final, with its entry for the ledger, in the caller's transaction."""
        vote = await self._ballots.finish_within(connection, pair_id, guild_id, member_id)
        if vote is not None:
            battle = await battles.lock(connection, vote.pair.round_id)
            await self._ledger.vote(connection, battle, [vote])

    async def wake(self, round_id: int) -> None:
        """Have the votes so far judged now: a ballot became full."""
        await self._engine.wake(workflow_id(round_id))

    # ------------------------------------------------------------------ the workflow

    async def run(self, round_id: int) -> JsonObject:
        """Opening → pairs made, registration on the ledger → open → (deadline, or decided) → closed → verdict."""
        await self._step("announce", self._announce, round_id)
        for pair_id in await step("list the pairs", self._pair_ids, round_id):
            argument: JsonObject = {"round_id": round_id, "pair_id": pair_id}
            await Engine.hand_over(battle_pair.WORKFLOW, battle_pair.workflow_id(pair_id), argument, queue=BOT_QUEUE)
        await self._step("wait for the pairs", self._wait_for_pairs, round_id)
        await self._step("enter the pairs", self._enter_pairs, round_id)
        trouble = await self._step("wait for the registration", self._wait_for_ledger, round_id)
        if trouble is None:
            await self._step("open", self._open, round_id)
            await self._take_votes(round_id)
        await self._step("close", lambda id_: self._close(id_, trouble), round_id)
        await self._step("judge", self._judge_at_close, round_id)
        await self._step("reveal the sides", self._reveal, round_id)
        await self._step("hand the verdict on", self._hand_verdict_on, round_id)
        await self._post_verdict(round_id)
        await self._step("close the announcement", self._show, round_id)
        return {"round_id": round_id}

    async def _step(self, name: str, function: Callable[[int], Awaitable[T | None]], round_id: int) -> T | None:
        """Run a step whose error does not end the workflow: it is logged, and the next steps see to what is left."""

        async def body() -> T | None:
            try:
                return await function(round_id)
            except Exception as error:
                if passes(error):
                    raise  # it is waited for
                log.exception("Battle round %s: the step %r ended by an unforeseen error.", round_id, name)
                return None

        return await step(name, body)

    async def _take_votes(self, round_id: int) -> None:
        """Wait for the deadline, or for votes that decide before it."""
        while True:
            seconds_left = await self._step("time left", self._seconds_left, round_id)
            if seconds_left is not None and seconds_left <= 0:
                return
            await Engine.sleep_or_wake(UNKNOWN_S if seconds_left is None else min(seconds_left, LOOK_S))
            if await self._step("judge so far", self._is_decided, round_id):
                return

    async def _post_verdict(self, round_id: int) -> None:
        pause = AGAIN_S
        for _ in range(MOST_TRIES):
            if await self._step("post the verdict", self._try_to_post, round_id):
                return
            await Engine.sleep(pause)
            pause = min(pause * 2, LONGEST_AGAIN_S)
        log.error("The verdict of battle round %d could not be posted.", round_id)

    # ------------------------------------------------------------------ the opening

    async def _announce(self, round_id: int) -> None:
        _log(await self._posts.announce(await battles.get(self._database, round_id)), round_id)

    async def _show(self, round_id: int) -> None:
        _log(await self._posts.show(await battles.get(self._database, round_id)), round_id)

    async def _pair_ids(self, round_id: int) -> list[int]:
        return [pair.id for pair in await battles.pairs_of(self._database, round_id)]

    async def _wait_for_pairs(self, round_id: int) -> None:
        """Wait until each pair is ready or left out; at the deadline those that are not are left out."""
        while (await battles.count_pairs(self._database, round_id)).waiting:
            if await self._seconds_left(round_id) <= 0:
                async with self._database.begin() as connection:
                    await battles.leave_out_waiting(connection, round_id, CLOSED_BEFORE)
                return
            await asyncio.sleep(POLL_S)

    async def _enter_pairs(self, round_id: int) -> None:
        """Enter the pairs that members will see, with their videos in the order in which they see them."""
        battle = await battles.get(self._database, round_id)
        for pair in await self._entered(round_id):
            first, second = await battles.videos_of(self._database, pair.id)
            a, b = (first, second) if pair.first_is_a else (second, first)
            async with self._database.begin() as connection:
                await self._ledger.enter(connection, battle, pair, a, b)

    async def _entered(self, round_id: int) -> list[BattlePair]:
        states = (PairState.READY, PairState.REMOVED)
        pairs = await battles.pairs_of(self._database, round_id)
        return [pair for pair in pairs if pair.state in states]

    async def _wait_for_ledger(self, round_id: int) -> str | None:
        """Wait until the registration stands on the ledger. Return why nobody can vote, if so."""
        if all(pair.is_catch for pair in await self._entered(round_id)):
            return NO_PAIRS
        while not (place := await self._ledger.place(round_id)).registered:
            if place.rejection is not None:
                return NOT_REGISTERED.format(reason=place.rejection)
            if await self._seconds_left(round_id) <= 0:
                return TOO_LATE
            await asyncio.sleep(POLL_S)
        return None

    async def _open(self, round_id: int) -> None:
        await battles.mark_open(self._database, round_id)
        await self._show(round_id)

    async def _seconds_left(self, round_id: int) -> float:
        round_ = (await battles.get(self._database, round_id)).round
        return 0.0 if round_.status == RoundStatus.CLOSED else (round_.closes_at_ms - now_ms()) / 1000

    # ------------------------------------------------------------------ the votes and the end

    async def _is_decided(self, round_id: int) -> bool:
        """Judge the votes so far, and keep what members with a full ballot may see. Return True if they decide."""
        battle = await battles.get(self._database, round_id)
        verdict = await self._judge(battle, await self._ballots.counted(battle), closed=False)
        await battles.save_interim(self._database, round_id, verdict)
        return verdict.decided

    async def _close(self, round_id: int, trouble: str | None) -> None:
        """Take no more votes, and let every choice be final. All in one transaction; safe to repeat."""
        async with self._database.begin() as connection:
            battle = await battles.lock(connection, round_id)
            if not await battles.close_within(connection, round_id, trouble):
                return
            await battles.leave_out_waiting(connection, round_id, CLOSED_BEFORE)
            votes = await self._ballots.finish_all_within(connection, battle)
            await self._ledger.vote(connection, battle, votes)
            await self._ledger.close(connection, battle)

    async def _judge_at_close(self, round_id: int) -> None:
        """Judge all votes, once and for good."""
        battle = await battles.get(self._database, round_id)
        votes = await self._ballots.counted(battle)
        try:
            verdict = await self._judge(battle, votes, closed=True)
        except Exception as error:
            if passes(error):
                raise
            log.exception("The votes of battle round %d could not be judged.", round_id)
            verdict = _not_judged(await count_alone(battle, votes, closed=True))
        await battles.save_verdict(self._database, round_id, verdict)

    async def _reveal(self, round_id: int) -> None:
        battle = await battles.get(self._database, round_id)
        for pair in await self._entered(round_id):
            async with self._database.begin() as connection:
                await self._ledger.reveal(connection, battle, pair)
        async with self._database.begin() as connection:
            await self._ledger.show_salt(connection, battle)

    async def _hand_verdict_on(self, round_id: int) -> None:
        """Hand the verdict on in the transaction that says so: what is done with it is done once."""
        async with self._database.begin() as connection:
            battle = await battles.lock(connection, round_id)
            if battle.verdict is not None and await battles.mark_handed_on(connection, round_id):
                await self._hand_on(connection, battle, battle.verdict)

    async def _try_to_post(self, round_id: int) -> bool:
        obstacle = await self._posts.post_verdict(await battles.get(self._database, round_id))
        _log(obstacle, round_id)
        return obstacle is None

    async def remove_pair(self, pair_id: int, guild_id: int, reason: str) -> bool:
        """Show a pair to nobody any more. Votes on it that were cast before stand. Return False where it was gone."""
        pair = await battles.pair_or_none(self._database, pair_id)
        if pair is None or (await battles.get(self._database, pair.round_id)).round.guild_id != guild_id:
            return False
        async with self._database.begin() as connection:
            return await battles.change_state(connection, pair_id, PairState.READY, PairState.REMOVED, reason)


def _log(obstacle: Obstacle | None, round_id: int) -> None:
    if obstacle is not None:
        log.warning("A post of battle round %d is not up to date: %s", round_id, obstacle.sentence)


def _not_judged(count: Verdict) -> Verdict:
    return Verdict.from_json({**count.to_json(), "reasons": [NOT_JUDGED]})
