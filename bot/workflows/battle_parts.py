"""The parts of a battle round that others provide: the gate, the ledger's entries, and who releases the winner.

Each is a narrow protocol, so that the workflow can be tried without them, with what this version has of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.battles import (
    Battle,
    BattlePair,
    BattlePlan,
    BattleVideo,
    Contender,
    CountedVote,
    Outcome,
    PairPlan,
    Verdict,
    VerdictState,
)
from bot.store.battles.ballots import FinalVote
from contracts.outbox import entries
from contracts.outbox.progress import round_progress
from generation.jobs import RenderJob, gpu_queue

log = logging.getLogger(__name__)

_POINTS = {Outcome.CANDIDATE: 1.0, Outcome.TIE: 0.5, Outcome.BOTH_BAD: 0.5, Outcome.LIVE: 0.0}


class Registrar(Protocol):
    """Writes the registration of a plan: everything that is fixed before the first vote, with the salt's hash."""

    def __call__(self, plan: BattlePlan, salt: bytes) -> bytes: ...


class Judge(Protocol):
    """The release gate. `closed` is true once no more votes come: ballots that are not full count then."""

    async def __call__(self, battle: Battle, votes: Sequence[CountedVote], *, closed: bool) -> Verdict: ...


class HandOn(Protocol):
    """Takes the final verdict, in the transaction that marks it as taken: so it comes exactly once."""

    async def __call__(self, connection: AsyncConnection, battle: Battle, verdict: Verdict) -> None: ...


@dataclass(frozen=True)
class QueuedJob:
    """A render job, and the queue of the workers that can do it."""

    job: RenderJob
    queue: str


class JobOf(Protocol):
    """Returns the render job of one video; both sides of a pair get the same settings but for the contender.

    It may be asked again for the same video, and then returns the same job.
    """

    async def __call__(
        self, contender: Contender, video_id: str, pair: PairPlan, fit_bytes: int | None
    ) -> QueuedJob: ...


@dataclass(frozen=True)
class LedgerPlace:
    """The place of a battle round on its way to the ledger: there, or turned down with a reason, or neither yet."""

    registered: bool
    rejection: str | None = None


class BattleLedger(Protocol):
    """The entries of battle rounds for the ledger. Every call may be repeated."""

    async def register(self, connection: AsyncConnection, battle: Battle) -> None:
        """Enter the round, which opens with the hash of its registration."""

    async def place(self, round_id: int) -> LedgerPlace:
        """Return where the round's registration is."""

    async def enter(
        self, connection: AsyncConnection, battle: Battle, pair: BattlePair, a: BattleVideo, b: BattleVideo
    ) -> None:
        """Enter a pair (no catch pair) with the hashes of its two videos, in the order in which they are shown."""

    async def vote(self, connection: AsyncConnection, battle: Battle, votes: Sequence[FinalVote]) -> None:
        """Enter final votes on pairs (no catch pairs), in their order."""

    async def close(self, connection: AsyncConnection, battle: Battle) -> None:
        """Ask for the end of the round, after all votes that were entered."""

    async def reveal(self, connection: AsyncConnection, battle: Battle, pair: BattlePair) -> None:
        """Enter which model was which side of a pair that was entered."""


class RoundsOnLedger:
    """Enters the registration and the end of a battle round, which need no entries but those of every round.

    Its pairs, votes and reveals stay in the database.
    """

    def __init__(self, database: AsyncEngine, grace_s: int) -> None:
        """`grace_s`: how many seconds later than on Discord a round closes on the ledger."""
        self._database = database
        self._grace_s = grace_s

    async def register(self, connection: AsyncConnection, battle: Battle) -> None:
        await entries.record_round(
            connection,
            round_id=battle.round.id,
            key=battle.round.chain_key,
            opens_ms=battle.round.opens_at_ms,
            closes_ms=battle.round.closes_at_ms,
            meta_hash=battle.registration_hash,
            grace_s=self._grace_s,
        )

    async def place(self, round_id: int) -> LedgerPlace:
        progress = await round_progress(self._database, round_id)
        return LedgerPlace(progress.chain_id is not None, progress.rejection)

    async def enter(
        self, connection: AsyncConnection, battle: Battle, pair: BattlePair, a: BattleVideo, b: BattleVideo
    ) -> None:
        log.debug("Pair %d of battle round %d stays in the database.", pair.number, battle.round.id)

    async def vote(self, connection: AsyncConnection, battle: Battle, votes: Sequence[FinalVote]) -> None:
        log.debug("%d votes of battle round %d stay in the database.", len(votes), battle.round.id)

    async def close(self, connection: AsyncConnection, battle: Battle) -> None:
        await entries.record_close(connection, round_id=battle.round.id)

    async def reveal(self, connection: AsyncConnection, battle: Battle, pair: BattlePair) -> None:
        log.debug("The sides of pair %d of battle round %d stay in the database.", pair.number, battle.round.id)


async def count_alone(battle: Battle, votes: Sequence[CountedVote], *, closed: bool) -> Verdict:
    """Count votes without a gate: nobody is released or refused by it, since no evidence is asked for."""
    points = [_POINTS[vote.outcome] for vote in votes if vote.outcome in _POINTS]
    failed = {vote.voter for vote in votes if vote.outcome is Outcome.CATCH_FAILED}
    rate = round(1000 * sum(points) / len(points)) if points else 500
    return Verdict(
        state=VerdictState.UNDECIDED,
        reasons=("The votes were counted without a release gate, so they release nothing.",),
        voters=len({vote.voter for vote in votes}),
        votes=len(points),
        held_out=len(failed),
        waiting=0,
        evidence_milli=0,
        evidence_needed=0,
        win_rate_permille=rate,
        interval_permille=(0, 1000),
        equal_motion_permille=None,
        survives=0,
        survives_needed=0,
        needs_about=None,
        min_voters=0,
    )


async def keep_for_moderators(_connection: AsyncConnection, battle: Battle, verdict: Verdict) -> None:
    """Take a verdict where nothing is released by the bot: its post is what moderators act on."""
    log.info("Battle round %d ended as %s.", battle.round.id, verdict.state)


class JobsOfModels:
    """Asks the workers that render with a contender's model, by its name."""

    def __init__(self, model_class: str) -> None:
        self._model_class = model_class

    async def __call__(self, contender: Contender, video_id: str, pair: PairPlan, fit_bytes: int | None) -> QueuedJob:
        job = RenderJob(
            video_id=video_id, prompt=pair.prompt, seed=pair.seed, model_id=contender.model_id, fit_bytes=fit_bytes
        )
        return QueuedJob(job, gpu_queue(self._model_class, contender.model_id))
