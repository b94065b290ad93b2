"""The reliability of voters: an EM after Dawid and Skene (Applied Statistics 28, 1979), two coins for each voter.

Each video is good or bad, which nobody sees. A voter says "up" of a good video with one probability, of a bad one with
another; both are estimated with the videos' own probabilities, in turns. Pseudo-votes of a voter who is right in
seven of ten keep those with few votes near the average, and settle which of the two classes is called good: where most
voters are hostile, no arithmetic can tell. Pure, and without logarithms: the same votes give the same bits everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PRIOR_RIGHT = 2.8  # pseudo-votes on each class, of which so many are right
PRIOR_WRONG = 1.2
PRIOR_ITEMS = 1.0  # pseudo-videos of each class
MOST_ROUNDS = 500
SMALL = 1e-10  # the largest change of a probability at which the estimate stands


@dataclass(frozen=True)
class Ballot:
    """One thumb: True is up."""

    item: str
    voter: str
    up: bool


@dataclass(frozen=True)
class Coins:
    """The two probabilities of a voter."""

    up_of_good: float = PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)
    up_of_bad: float = PRIOR_WRONG / (PRIOR_RIGHT + PRIOR_WRONG)

    @property
    def reliability(self) -> float:
        """From -1 to 1 (Youden's J): 1 is always right, 0 as good as a coin, less than 0 mostly the opposite."""
        return self.up_of_good - self.up_of_bad

    @property
    def weight(self) -> float:
        """The weight of a vote. A voter who mostly says the opposite has none.

        Such votes are not turned around: a minority with another taste looks the same, and is no enemy.
        """
        return max(0.0, self.reliability)


@dataclass(frozen=True)
class Estimate:
    """The coins of each voter, the probability that each item is good, and the share of good items."""

    voters: Mapping[str, Coins]
    items: Mapping[str, float]
    good_share: float

    def of(self, voter: str) -> Coins:
        """Return the coins of a voter; those of the prior for one who has not voted."""
        return self.voters.get(voter, Coins())


def estimate(ballots: Iterable[Ballot]) -> Estimate:
    """Return the most probable coins and classes. The order of the ballots has no effect."""
    by_item: defaultdict[str, list[tuple[str, bool]]] = defaultdict(list)
    by_voter: defaultdict[str, list[tuple[str, bool]]] = defaultdict(list)
    for ballot in sorted(ballots, key=lambda each: (each.item, each.voter, each.up)):
        by_item[ballot.item].append((ballot.voter, ballot.up))
        by_voter[ballot.voter].append((ballot.item, ballot.up))
    good = {item: (sum(up for _, up in votes) + 1) / (len(votes) + 2) for item, votes in by_item.items()}
    coins: dict[str, Coins] = {}
    share = 0.5
    for _ in range(MOST_ROUNDS):
        share = (sum(good.values()) + PRIOR_ITEMS) / (len(good) + 2 * PRIOR_ITEMS)
        coins = {voter: _coins(votes, good) for voter, votes in by_voter.items()}
        latest = {item: _good(votes, coins, share) for item, votes in by_item.items()}
        change = max((abs(latest[item] - value) for item, value in good.items()), default=0.0)
        good = latest
        if change < SMALL:
            break
    return Estimate(coins, good, share)


def _coins(votes: Iterable[tuple[str, bool]], good: Mapping[str, float]) -> Coins:
    """Return the coins of one voter, given the probabilities of the items (the M-step)."""
    up_good, all_good = PRIOR_RIGHT, PRIOR_RIGHT + PRIOR_WRONG
    up_bad, all_bad = PRIOR_WRONG, PRIOR_RIGHT + PRIOR_WRONG
    for item, up in votes:
        is_good = good[item]
        all_good += is_good
        all_bad += 1 - is_good
        if up:
            up_good += is_good
            up_bad += 1 - is_good
    return Coins(up_good / all_good, up_bad / all_bad)


def _good(votes: Iterable[tuple[str, bool]], coins: Mapping[str, Coins], share: float) -> float:
    """Return the probability that an item is good, given the coins of its voters (the E-step)."""
    good, bad = share, 1 - share
    for voter, up in votes:
        pair = coins[voter]
        good *= pair.up_of_good if up else 1 - pair.up_of_good
        bad *= pair.up_of_bad if up else 1 - pair.up_of_bad
        both = good + bad  # kept at one, so that thousands of votes on an item do not underflow
        good, bad = good / both, bad / both
    return good
