"""The parts of a battle round that others provide: the gate, the ledger's entries, and who releases the winner.

Each is a narrow protocol, so that the workflow can be tried without them; bot/workflows/battles/ has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.battles import (
    Battle,
    BattlePair,
    BattlePlan,
    BattleVideo,
    Contender,
    CountedVote,
    PairPlan,
    Verdict,
    VerdictState,
)
from bot.store.battles.ballots import FinalVote
from generation.feedback.evidence.ballots import Outcome
from generation.jobs import RenderJob

_POINTS = {Outcome.CANDIDATE: 1.0, Outcome.TIE: 0.5, Outcome.BOTH_BAD: 0.5, Outcome.LIVE: 0.0}


class LeftOutError(Exception):
    """A pair that cannot be shown; str() is the reason, a sentence."""


class Registrar(Protocol):
    """Writes the registration of a plan: everything that is fixed before the first vote, with the salt's hash.

    It counts the attempts before it in the transaction that begins the round.
    """

    async def __call__(self, connection: AsyncConnection, plan: BattlePlan, salt: bytes) -> bytes: ...


class Judge(Protocol):
    """The release gate. `closed` is true once no more votes come: ballots that are not full count then."""

    async def __call__(self, battle: Battle, votes: Sequence[CountedVote], *, closed: bool) -> Verdict: ...


class HandOn(Protocol):
    """Takes the final verdict, in the transaction that marks it as taken: so it comes exactly once."""

    async def __call__(self, connection: AsyncConnection, battle: Battle, verdict: Verdict) -> object: ...


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
        """Enter a pair with the hashes of its two videos, in the order in which they are shown."""

    async def vote(self, connection: AsyncConnection, battle: Battle, votes: Sequence[FinalVote]) -> None:
        """Enter final votes, in their order."""

    async def close(self, connection: AsyncConnection, battle: Battle) -> None:
        """Ask for the end of the round, after all votes that were entered."""

    async def reveal(self, connection: AsyncConnection, battle: Battle, pair: BattlePair) -> None:
        """Enter which model was which side of a pair that was entered."""

    async def show_salt(self, connection: AsyncConnection, battle: Battle) -> None:
        """Keep the salt of a round that is over among the texts that everybody may read."""


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
