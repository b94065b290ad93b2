"""The choices of one batch: who takes which seat, and how many of them its words can hold."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contracts.ledger import batch_codec


@dataclass
class Choice:
    """A voter's last choice about an item of a round, by the ledger's numbers; `entry` and `older` are the outbox's."""

    video: int
    voter: int
    seat: int | None  # None before the round's first vote of this voter
    choice: int
    entry: int
    battle: bool = False  # of a battle the choice may be a tie
    older: list[int] = field(default_factory=list)


def take_seats(choices: Iterable[Choice], first_seat: int) -> tuple[list[int], list[batch_codec.Ballot]]:
    """Return the voters who take the seats from `first_seat` on, and the ballots that follow.

    Newcomers sit video by video, so that the votes of one batch on one video fall into few words and slots.
    """
    in_order = sorted(choices, key=lambda choice: (choice.video, choice.voter))
    arrivals = list(dict.fromkeys(choice.voter for choice in in_order if choice.seat is None))
    seat_of = {voter: first_seat + place for place, voter in enumerate(arrivals)}
    return arrivals, [
        batch_codec.Ballot(choice.video, seat_of[choice.voter] if choice.seat is None else choice.seat, choice.choice)
        for choice in in_order
    ]


def first_that_fit(choices: Sequence[Choice], first_seat: int) -> Sequence[Choice]:
    """Return as many of the first choices as the words of one batch can hold; one always fits.

    Seats of newcomers depend on who else comes, so that each number of choices is tried as it would be written.
    """

    def words(count: int) -> int:
        return batch_codec.words_for(take_seats(choices[:count], first_seat)[1])

    if words(len(choices)) <= batch_codec.MAX_WORDS:
        return choices
    return choices[: bisect_right(range(1, len(choices)), batch_codec.MAX_WORDS, key=words)]
