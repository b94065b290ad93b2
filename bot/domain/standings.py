"""The standings of a round: its videos, the best first, by the same rule that the ledger applies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.domain.videos import Video
from bot.domain.votes import Tally


@dataclass(frozen=True)
class Entry:
    """A video and its votes."""

    video: Video
    tally: Tally


Source = Literal["here", "ledger", "record"]


@dataclass(frozen=True)
class Outcome:
    """What a round has come to, or how it stands; `entries` hold removed videos too.

    Counted `here` until the round is final; then by the `ledger`, or by our own `record` of it where it cannot be
    read. `best` is the winner by the ledger's rule: what a moderator removed stands and counts there.
    """

    entries: Sequence[Entry]
    best: Entry | None
    source: Source = "here"
    # What explains a final result that is not the one that members were told before:
    refused: int = 0  # votes that the ledger refused
    absent: int = 0  # posted videos that it does not hold
    differs: bool = False  # any tally is another one
    before: Entry | None = None  # who had won by the votes as they were counted here

    @property
    def final(self) -> bool:
        return self.source != "here"


def settle(
    entries: Sequence[Entry],
    tallies: Mapping[str, Tally],
    best_id: str | None,
    *,
    refused: int,
    source: Source,
) -> Outcome:
    """The outcome of a final round, by the ledger's tallies of the videos that it holds, by their ids."""
    counted = [Entry(entry.video, tallies[entry.video.id]) for entry in entries if entry.video.id in tallies]
    best = next((entry for entry in counted if entry.video.id == best_id), None)
    before = winner(entries)
    return Outcome(
        entries=counted,
        best=best,
        source=source,
        refused=refused,
        absent=len(entries) - len(counted),
        differs=any(entry.tally != tallies.get(entry.video.id, Tally(0, 0)) for entry in entries),
        before=before if before is not None and before.video.id != best_id else None,
    )


def rank(entries: Iterable[Entry]) -> Sequence[Entry]:
    """Best first: net score, then more ups, then the one that was recorded first.

    Videos are recorded on the ledger in the order of their publication, so that its rule (the lower number wins)
    and this one name the same winner, also while the latest of them are still on their way to it.
    """
    not_yet = 1 << 62
    return sorted(
        entries,
        key=lambda e: (-e.tally.score, -e.tally.up, e.video.chain_id or not_yet, e.video.finished_at_ms or 0),
    )


def winner(entries: Iterable[Entry]) -> Entry | None:
    """The first of the standings, if anybody voted for anything at all."""
    ranked = rank(entries)
    if not ranked or all(e.tally.up + e.tally.down == 0 for e in ranked):
        return None
    return ranked[0]
