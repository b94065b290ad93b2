"""The loop by itself: the battle of a candidate that was trained, and the release of one that won, where settings say.

Each is a durable workflow of its own, so a restart loses neither. While learning is paused both wait. What will not
pass by itself is told in the rounds' channel, once, with its reason; a moderator may still decide by command.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypedDict, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.cards import candidates as cards
from bot.domain.battles import Battle, Verdict
from bot.domain.errors import (
    BattleLedgerError,
    BattleOpenError,
    BattlePlaceError,
    MemberError,
)
from bot.domain.releases import Candidate
from bot.posts.obstacles import Obstacle
from bot.posts.training import TrainingPosts
from bot.store import rounds
from bot.store.learning import candidates, releases
from bot.store.learning.voters import ACTIVE_DAYS, active_since_ms, active_voters
from bot.workflows.battles.results import settle_candidate
from bot.workflows.steps import step
from generation.feedback.registration import Eligibility, Rule
from generation.jobs import BOT_QUEUE
from generation.queue.engine import Engine
from generation.strict_json import JsonObject
from migrations.states.learning import CandidateState

log = logging.getLogger(__name__)

BATTLE_WORKFLOW = "battle_opening"
RELEASE_WORKFLOW = "candidate_release"
AGAIN_S, LONGEST_AGAIN_S = 30.0, 3600.0  # between two tries
MOST_TRIES = 14 * 24  # which take about two weeks
POST_AGAIN_S, MOST_POSTS = 60.0, 60  # tries to post a reason
ITS_BATTLE = "Its battle begins by itself, once its data set stands on the ledger and no other battle round is open."
PAUSED = "Learning is paused."
TOO_FEW_VOTERS = (
    "Too few active voters to release on evidence: {here} members have voted within {days} days and {votes} times or "
    "more, and {needed} are needed even if all agree."
)
NOT_IN_TIME = "It could not begin within two weeks. {reason}"
UNFORESEEN = "Something went wrong on our side. The operator can see it in the log."
PASSING = (BattleOpenError, BattleLedgerError, BattlePlaceError)  # another round, the ledger, or Discord: they pass


class Outcome(TypedDict):
    """The result of a try: done, to be tried again, or turned down for good; with the reason as a sentence."""

    state: Literal["done", "waits", "refused"]
    reason: str


class OpenBattle(Protocol):
    """Opens the battle round of a candidate in a guild. Raises MemberError."""

    async def __call__(self, guild_id: int, candidate_id: int) -> Battle: ...


class MakeRelease(Protocol):
    """Makes the release of a candidate that won, and has it announced in a guild. Raises MemberError."""

    async def __call__(self, candidate_id: int, guild_id: int) -> object: ...


DONE: Outcome = {"state": "done", "reason": ""}


def _waits(reason: str) -> Outcome:
    return {"state": "waits", "reason": reason}


def _refused(reason: str) -> Outcome:
    return {"state": "refused", "reason": reason}


async def _until_done(what: str, try_once: Callable[[], Awaitable[Outcome]]) -> str | None:
    """Try until it is done; return why it never will be, if so. `what` names it in the log."""

    async def foreseen() -> Outcome:
        try:
            return await try_once()
        except MemberError as error:
            return _waits(str(error)) if isinstance(error, PASSING) else _refused(str(error))

    pause, reason = AGAIN_S, ""
    for _ in range(MOST_TRIES):
        outcome = await step("do it by itself", foreseen)
        if outcome["state"] == "done":
            return None
        if outcome["state"] == "refused":
            return outcome["reason"]
        if outcome["reason"] != reason:
            reason = outcome["reason"]
            log.info("%s waits: %s", what, reason)
        await Engine.sleep(pause)
        pause = AGAIN_S if reason == PAUSED else min(pause * 2, LONGEST_AGAIN_S)
    return NOT_IN_TIME.format(reason=reason)


class _Reasons:
    """Tells moderators why something does not happen by itself."""

    def __init__(self, database: AsyncEngine, posts: TrainingPosts) -> None:
        self._database = database
        self._posts = posts

    async def tell(self, guild_id: int, text: str, mark: str, nonce: str) -> None:
        """Post a text in the rounds' channel, once; `mark` is its end."""
        for _ in range(MOST_POSTS):
            if await step("tell why", self._try, guild_id, text, mark, nonce):
                return
            await Engine.sleep(POST_AGAIN_S)

    async def _try(self, guild_id: int, text: str, mark: str, nonce: str) -> bool:
        channel_id = await rounds.rounds_channel_or_none(self._database, guild_id)
        if channel_id is None:
            return True
        return not isinstance(await self._posts.post(channel_id, text, mark=mark, nonce=nonce), Obstacle)


class AutomaticBattles:
    """Opens the battle of each candidate that was trained."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        posts: TrainingPosts,
        open_battle: OpenBattle,
        next_rule: Callable[[AsyncConnection], Awaitable[Rule]],
        eligibility: Eligibility,
    ) -> None:
        """`next_rule` returns the rule of the next attempt: fewer active voters than it asks for open no battle."""
        self._database = database
        self._engine = engine
        self._reasons = _Reasons(database, posts)
        self._open_battle = open_battle
        self._next_rule = next_rule
        self._eligibility = eligibility

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def battle_opening(argument: JsonObject) -> JsonObject:
            await self.run(cast(int, argument["candidate_id"]), cast(int, argument["guild_id"]))
            return argument

        engine.workflow(BATTLE_WORKFLOW)(battle_opening)

    async def begin(self, candidate: Candidate, guild_id: int) -> str:
        """Have the battle of a candidate opened; return a sentence for its message. Safe to repeat."""
        argument: JsonObject = {"candidate_id": candidate.id, "guild_id": guild_id}
        async with self._database.begin() as connection:
            await self._engine.submit(
                connection, BATTLE_WORKFLOW, f"battle-of-candidate-{candidate.id}", argument, queue=BOT_QUEUE
            )
        return ITS_BATTLE

    async def run(self, candidate_id: int, guild_id: int) -> None:
        """Wait for the ledger, other rounds and pauses → battle opened; or refused, told once."""
        name = f"The battle of candidate {candidate_id}"
        reason = await _until_done(name, lambda: self._try(candidate_id, guild_id))
        if reason is None:
            return
        log.warning("Candidate %d gets no battle by itself: %s", candidate_id, reason)
        await step("note the refusal", self._note, candidate_id, reason)
        mark = cards.no_battle_mark(candidate_id)
        text = cards.no_battle_text(candidate_id, reason)
        await self._reasons.tell(guild_id, text, mark, f"no-battle-{candidate_id}")

    async def _try(self, candidate_id: int, guild_id: int) -> Outcome:
        async with self._database.connect() as connection:
            candidate = await candidates.get(connection, candidate_id)
            if candidate.state != CandidateState.READY:  # a moderator was quicker, or an earlier try got through
                return DONE
            if await releases.is_paused(connection, candidate.model_id):
                return _waits(PAUSED)
            needed = (await self._next_rule(connection)).min_voters
            least = self._eligibility.votes_before
            here = await active_voters(connection, guild_id, since_ms=active_since_ms(), votes=least)
        if here < needed:
            return _refused(TOO_FEW_VOTERS.format(here=here, days=ACTIVE_DAYS, votes=least, needed=needed))
        battle = await self._open_battle(guild_id, candidate_id)
        log.info("The battle of candidate %d is opened.", candidate_id, extra={"round": battle.round.id})
        return DONE

    async def _note(self, candidate_id: int, reason: str) -> None:
        async with self._database.begin() as connection:
            await candidates.note_reason(connection, candidate_id, CandidateState.READY, reason)


class AutomaticReleases:
    """Settles each candidate after its battle, and releases those that won where the settings say so."""

    def __init__(
        self,
        *,
        database: AsyncEngine,
        engine: Engine,
        posts: TrainingPosts,
        make_release: MakeRelease,
        is_wanted: bool,
    ) -> None:
        """`is_wanted`: False leaves a candidate that won to moderators and `/admin model release`."""
        self._database = database
        self._engine = engine
        self._reasons = _Reasons(database, posts)
        self._make_release = make_release
        self._is_wanted = is_wanted

    def register(self, engine: Engine) -> None:
        """Register the workflow with the engine, before the engine is launched."""

        async def candidate_release(argument: JsonObject) -> JsonObject:
            await self.run(cast(int, argument["candidate_id"]), cast(int, argument["guild_id"]))
            return argument

        engine.workflow(RELEASE_WORKFLOW)(candidate_release)

    async def hand_on(self, connection: AsyncConnection, battle: Battle, verdict: Verdict) -> None:
        """Settle the candidate of a battle round, and have it released if it won, in the caller's transaction."""
        winner = await settle_candidate(connection, battle, verdict)
        if winner is None or not self._is_wanted:
            return
        argument: JsonObject = {"candidate_id": winner, "guild_id": battle.round.guild_id}
        await self._engine.submit(
            connection, RELEASE_WORKFLOW, f"release-of-candidate-{winner}", argument, queue=BOT_QUEUE
        )

    async def run(self, candidate_id: int, guild_id: int) -> None:
        """Wait for the end of a pause → released, which is announced like any other; or refused, told once."""
        reason = await _until_done(
            f"The release of candidate {candidate_id}", lambda: self._try(candidate_id, guild_id)
        )
        if reason is None:
            return
        log.warning("Candidate %d is not released by itself: %s", candidate_id, reason)
        mark = cards.no_release_mark(candidate_id)
        text = cards.no_release_text(candidate_id, reason)
        await self._reasons.tell(guild_id, text, mark, f"no-release-{candidate_id}")

    async def _try(self, candidate_id: int, guild_id: int) -> Outcome:
        async with self._database.connect() as connection:
            candidate = await candidates.get(connection, candidate_id)
            if candidate.state != CandidateState.WON:  # a moderator was quicker, or an earlier try got through
                return DONE
            if await releases.is_paused(connection, candidate.model_id):
                return _waits(PAUSED)
        await self._make_release(candidate_id, guild_id)
        return DONE
