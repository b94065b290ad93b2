"""The standings of a round: its videos, the best first, by the same rule that the ledger applies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from bot.domain.videos import Video
from bot.domain.votes import Tally


@dataclass(frozen=True)
class Entry:
    """A video and its votes."""

    video: Video
    tally: Tally


TallySource = Literal["here", "ledger", "record"]


@dataclass(frozen=True)
class Outcome:
    """The result of a round, or its present standings. `entries` hold removed videos too.

    The votes are counted `here` until the round is final. Then the `ledger` counts, or our own `record` of the ledger
    where it cannot be read. `best` is the winner by the ledger's rule: a video that a moderator removed stays and
    counts there.
    """

    entries: Sequence[Entry]
    best: Entry | None
    source: TallySource = "here"
    # These explain a final result that differs from the result that members saw before:
    rejected: int = 0  # votes that the ledger rejected
    absent: int = 0  # posted videos that the ledger does not hold
    differs: bool = False  # any tally is another one
    winner_here: Entry | None = None  # the winner by the votes counted here, where it is another video

    @property
    def final(self) -> bool:
        return self.source != "here"


def final_outcome(
    entries: Sequence[Entry],
    tallies: Mapping[str, Tally],
    best_id: str | None,
    *,
    rejected: int,
    source: TallySource,
) -> Outcome:
    """Return the outcome of a final round from the ledger's tallies, by the ids of the videos that it holds."""
    on_ledger = [Entry(entry.video, tallies[entry.video.id]) for entry in entries if entry.video.id in tallies]
    best = next((entry for entry in on_ledger if entry.video.id == best_id), None)
    winner_here = winner(entries)
    return Outcome(
        entries=on_ledger,
        best=best,
        source=source,
        rejected=rejected,
        absent=len(entries) - len(on_ledger),
        differs=any(entry.tally != tallies.get(entry.video.id, Tally(0, 0)) for entry in entries),
        winner_here=winner_here if winner_here is not None and winner_here.video.id != best_id else None,
    )


def rank(entries: Iterable[Entry]) -> Sequence[Entry]:
    """Return the entries, best first: by net score, then by more ups, then by the earlier place on the ledger.

    Videos are recorded on the ledger in the order of their publication. So the ledger's rule (the lower number wins)
    and this rule name the same winner, also while the latest videos are still on their way to the ledger.
    """
    not_recorded = 1 << 62
    return sorted(
        entries,
        key=lambda e: (-e.tally.score, -e.tally.up, e.video.chain_id or not_recorded, e.video.finished_at_ms or 0),
    )


def unvoted(entries: Iterable[Entry]) -> Sequence[Entry]:
    """Return the entries without a vote, in the order in which to show them: those first that the taste likes best.

    The taste orders these alone: where members have voted, it has no say. Its score is on the card of a video that it
    chose; videos without one follow, the earliest first.
    """
    without = [entry for entry in entries if entry.tally.up + entry.tally.down == 0]
    return sorted(without, key=lambda entry: (-_taste_score(entry.video), entry.video.finished_at_ms or 0))


def _taste_score(video: Video) -> float:
    """Return the score on a video's card; the least there is where it has none. The card came from a worker."""
    choice = (video.provenance or {}).get("best_of")
    score = choice.get("score") if isinstance(choice, dict) else None
    if isinstance(score, int | float) and not isinstance(score, bool) and isfinite(score):
        return float(score)
    return -inf


def winner(entries: Iterable[Entry]) -> Entry | None:
    """Return the first entry of the standings; None where nobody voted."""
    ranked = rank(entries)
    if not ranked or all(e.tally.up + e.tally.down == 0 for e in ranked):
        return None
    return ranked[0]
