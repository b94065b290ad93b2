"""The release gate as the judge of battle rounds: the votes, and what machines measured on the round's videos.

Motion stands on the provenance card of each video. What nobody measured forbids no release, and the verdict says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.battles import Battle, CountedVote, Verdict, VerdictState
from bot.store.battles import rounds as battles
from bot.store.learning.voters import active_since_ms, active_voters
from generation.feedback import gate
from generation.feedback.registration import Eligibility, read_registration

# A measure of a battle round's videos: the candidate's mean and the live model's; None where it was not measured.
Measure = Callable[[Battle], Awaitable[tuple[float, float] | None]]
NOT_MEASURED = (1.0, 1.0)  # forbids nothing
NOBODY_MEASURED = "Not measured, so not a reason against a release: {names}."


@dataclass(frozen=True)
class Motion:
    """The motion of both models in the pairs of which both cards tell it."""

    means: tuple[float, float] | None = None
    gains: Mapping[str, float] = field(default_factory=dict)  # the candidate's less the live model's, by pair


class GateJudge:
    """Judges by the rule in the round's own registration."""

    def __init__(
        self, database: AsyncEngine, *, adherence: Measure | None = None, diversity: Measure | None = None
    ) -> None:
        """`adherence` and `diversity` measure what no card tells; None: nobody measures it."""
        self._database = database
        self._measures = {"adherence": adherence, "diversity": diversity}

    async def __call__(self, battle: Battle, votes: Sequence[CountedVote], *, closed: bool) -> Verdict:
        """Return the verdict on votes in their order. `closed` is true once no more votes come."""
        motion = await self._motion(battle)
        measured = {"motion": motion.means}
        for name, measure in self._measures.items():
            measured[name] = None if measure is None else await measure(battle)
        registration = read_registration(battle.registration)
        judged = gate.judge(
            [gate.Vote(vote.voter, vote.pair, vote.outcome) for vote in votes],
            registration.rule,
            gate.Quality(**{name: means or NOT_MEASURED for name, means in measured.items()}),
            closed=closed,
            motion=motion.gains,
            active_members=await self._active(battle, registration.eligibility) if closed else None,
        )
        values = {each.name: getattr(judged, each.name) for each in dataclasses.fields(Verdict)}
        missing = [name for name, means in measured.items() if means is None]
        unsaid = (NOBODY_MEASURED.format(names=", ".join(missing)),) if missing else ()
        return Verdict(**{**values, "state": VerdictState(judged.state), "reasons": (*judged.reasons, *unsaid)})

    async def _active(self, battle: Battle, eligibility: Eligibility) -> int:
        """Return how many members may be expected to vote in a battle of this community."""
        async with self._database.connect() as connection:
            guild, least = battle.round.guild_id, eligibility.votes_before
            return await active_voters(connection, guild, since_ms=active_since_ms(), votes=least)

    async def _motion(self, battle: Battle) -> Motion:
        cards = await battles.cards_of(self._database, battle.round.id)
        pairs = {pair: (_motion_on(first), _motion_on(second)) for pair, (first, second) in cards.items()}
        whole = {
            pair: (first, second) for pair, (first, second) in pairs.items() if first is not None and second is not None
        }
        if not whole:
            return Motion()
        means = fmean(first for first, _ in whole.values()), fmean(second for _, second in whole.values())
        return Motion(means, {str(pair): first - second for pair, (first, second) in whole.items()})


def _motion_on(card: object) -> float | None:
    """Return the motion that a video's card tells; None where it tells none."""
    motion = card.get("motion") if isinstance(card, dict) else None
    return float(motion) if isinstance(motion, (int, float)) and not isinstance(motion, bool) else None
