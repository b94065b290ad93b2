"""The events of a log that are compared with their blocks and transactions, drawn by chance where they are many."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from contracts.ledger.client import Event

LOOKUPS = 1_000  # of each kind of entry that the chain is asked about: all where there are no more
COVERED = {"VotesRecorded": ("arrivals", "words"), "BallotCast": ("choices", "signature")}  # by the contract's digests

T = TypeVar("T")


@dataclass
class Entries:
    """The events of a log, in order, without the long lists that the contract's digests cover."""

    events: list[Event] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Keep the next event."""
        if self.events and (event.block, event.place) <= (self.events[-1].block, self.events[-1].place):
            self.problems.append(f"The node's log is out of order, or repeats itself, at block {event.block}.")
        long = COVERED.get(event.name, ())
        short = {name: value for name, value in event.args.items() if name not in long}
        self.events.append(replace(event, args=short) if long else event)

    def about(self, rounds: Collection[int]) -> list[Event]:
        """Return the events of these rounds, and those of none."""
        return [event for event in self.events if (number := round_of(event)) is None or number in rounds]


def round_of(event: Event) -> int | None:
    """Return the round that an event is about; None for roles, voters, wallets and commitments."""
    if "round" in event.args:
        return int(event.args["round"])
    return int(event.args["battle"]) >> 10 if "battle" in event.args else None


@dataclass
class Lookups:
    """The limit of questions of each kind to the chain, and a note on each kind that has more. None is no limit."""

    limit: int | None = LOOKUPS
    notes: list[str] = field(default_factory=list)

    def draw(self, noun: str, entries: Iterable[T], *, times: int = 1) -> list[T]:
        """Return the entries to ask for: all, or as many as the limit allows, `times` over, drawn anew each time."""
        every = list(entries)
        limit = len(every) if self.limit is None else self.limit * times
        if len(every) <= limit:
            return every
        self.notes.append(
            f"Of {len(every):,} {noun}, {limit:,} were looked up, drawn by chance: a single wrong one is found with a "
            f"likelihood of {percent(likelihood(len(every), limit, 1))}, one of ten with "
            f"{percent(likelihood(len(every), limit, 10))}. With --every-entry all are asked for."
        )
        return random.SystemRandom().sample(every, limit)


def likelihood(of: int, drawn: int, wrong: int) -> float:
    """Return the likelihood that at least one of the `wrong` entries is among those that were drawn."""
    missed = 1.0
    for each in range(wrong):
        missed *= max(0, of - drawn - each) / max(1, of - each)
    return 1 - missed


def percent(share: float) -> str:
    """Return a share in percent, rounded down: it promises no more than there is."""
    return f"{int(share * 100)} %"
