"""The standings of a round: its videos, the best first, by the same rule that the ledger applies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.domain.videos import Video
from bot.domain.votes import Tally


@dataclass(frozen=True)
class Entry:
    """A video and its votes."""

    video: Video
    tally: Tally


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
