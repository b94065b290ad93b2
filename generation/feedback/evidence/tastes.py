"""Groups of members with one taste, and whether a group clearly loses by a release.

Either the groups come from outside, fixed before the first vote, or the ballots are halved: the first, third and fifth
battle say which of two groups a member belongs to, the second and fourth say what that group prefers. Judging a group
by the votes that made it would find a losing group in any community.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .ballots import Ballot, share_of
from .wealth import Wealth, needed_removals

GROUP_REMOVALS_PPM = 50_000  # 5 % of a group cannot make it lose
LOWER = "those least fond of the candidate in their odd battles"


@dataclass(frozen=True)
class Group:
    """Members with one taste, and the evidence (in thousandths) that they prefer the live model."""

    name: str
    members: int
    milli: int


def split(shares: Sequence[Fraction]) -> int:
    """Return how many of ascending shares make the lower of two groups: exact 2-means on a line; 0 if all are alike."""
    best, best_score = 0, None
    total, below = sum(shares, Fraction(0)), Fraction(0)
    for size in range(1, len(shares)):
        below += shares[size - 1]
        if shares[size - 1] == shares[size]:
            continue
        score = below**2 / size + (total - below) ** 2 / (len(shares) - size)  # what lies between the groups
        if best_score is None or score > best_score:
            best, best_score = size, score
    return best


def groups_by_halves(ballots: Sequence[Ballot]) -> dict[str, list[Fraction]]:
    """Return the lower of two groups of members, made of their odd battles, with the shares of their even battles."""
    halves = [(share_of(b.votes[::2]), b.voter, share_of(b.votes[1::2])) for b in ballots if len(b.votes) > 1]
    halves.sort()
    size = split([first for first, _, _ in halves])
    return {LOWER: [second for _, _, second in halves[:size]]}


def groups_from_outside(ballots: Sequence[Ballot], tastes: Mapping[str, str]) -> dict[str, list[Fraction]]:
    """Return the groups with the shares of whole ballots; members without a group belong to none."""
    groups: dict[str, list[Fraction]] = {}
    for ballot in ballots:
        if ballot.voter in tastes:
            groups.setdefault(tastes[ballot.voter], []).append(ballot.share)
    return dict(sorted(groups.items()))


def losing_groups(
    groups: Mapping[str, Sequence[Fraction]], voters: int, bets_permille: Sequence[int], bound: int, share_ppm: int
) -> list[Group]:
    """Return the groups of at least that share of the voters whose evidence for the live model reaches the bound.

    Each of several groups has its chance to lose by accident, so the bound grows with their number.
    """
    losing = []
    for name, shares in groups.items():
        if len(shares) * 1_000_000 < voters * share_ppm:
            continue
        against = Wealth(bets_permille, lambda members: needed_removals(members, 0, GROUP_REMOVALS_PPM))
        for share in shares:
            against.add(1 - share)
        if against.reaches(bound * len(groups)):
            losing.append(Group(name, len(shares), against.milli))
    return losing
