"""From votes in the order of time to ballots: the first few battles of a member are one bet.

Members differ in taste, so a member's votes repeat each other: as separate bets, the votes of a few busy members would
decide. As a ballot, each member counts once, however often they vote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction


class Outcome(StrEnum):
    """A vote, once it is known which side was whose. A catch pair has a right answer, and neither model on a side."""

    CANDIDATE = "candidate"
    LIVE = "live"
    TIE = "tie"
    BOTH_BAD = "both_bad"  # counts as a tie
    CATCH_PASSED = "catch_passed"
    CATCH_FAILED = "catch_failed"


# Ties are half a point for each side, and so move nothing.
HALF_POINTS = {Outcome.CANDIDATE: 2, Outcome.LIVE: 0, Outcome.TIE: 1, Outcome.BOTH_BAD: 1}


@dataclass(frozen=True)
class Vote:
    """A member's vote on a pair. `voter` and `pair` are any names that tell voters, and pairs, apart."""

    voter: str
    pair: str
    outcome: Outcome


@dataclass(frozen=True)
class BallotRule:
    """The size of a ballot: its battles, how many of them are enough at the close, and the catch pairs beside them."""

    battles: int
    at_close: int
    catch_answers: int
    catch_failures: int


@dataclass
class Ballot:
    """A member's counted votes, in the order of time."""

    voter: str
    votes: list[Vote] = field(default_factory=list)
    catches_passed: int = 0
    catches_failed: int = 0

    @property
    def share(self) -> Fraction:
        """The share of points for the candidate."""
        return share_of(self.votes)

    def add(self, vote: Vote, rule: BallotRule) -> None:
        """Count a vote. Battles beyond the ballot's are not counted, a catch pair always is."""
        if vote.outcome in HALF_POINTS:
            if len(self.votes) < rule.battles:
                self.votes.append(vote)
        elif vote.outcome is Outcome.CATCH_PASSED:
            self.catches_passed += 1
        else:
            self.catches_failed += 1

    def is_full(self, rule: BallotRule, battles: int) -> bool:
        """Return True where the ballot has so many battles and enough catch pairs, whatever the answers to those."""
        return len(self.votes) >= battles and self.catches_passed + self.catches_failed >= rule.catch_answers

    def is_held_out(self, rule: BallotRule) -> bool:
        return self.catches_failed >= rule.catch_failures


@dataclass(frozen=True)
class Ballots:
    """The ballots in the order in which they became full; those that only the close counts; and who is held out."""

    full: tuple[Ballot, ...]
    at_close: tuple[Ballot, ...]
    held_out: tuple[str, ...]
    waiting: int  # members who voted, and whose ballot is neither full nor held out


def share_of(votes: Iterable[Vote]) -> Fraction:
    """Return the candidate's share of points, a vote at least."""
    points = [HALF_POINTS[vote.outcome] for vote in votes]
    return Fraction(sum(points), 2 * len(points))


def ballots_of(votes: Iterable[Vote], rule: BallotRule) -> Ballots:
    """Return the ballots of votes in the order of time. Of a member's votes on one pair only the first counts.

    A ballot is decided once, when it becomes full: what the member does later changes neither its share nor the
    hold-out, so no evidence that somebody saw is ever taken back. Members who answer no catch pair have no full ballot.
    """
    open_ballots: dict[str, Ballot] = {}
    full: dict[str, Ballot] = {}
    pairs: set[tuple[str, str]] = set()
    for vote in votes:
        if (vote.voter, vote.pair) in pairs or vote.voter in full:
            continue
        pairs.add((vote.voter, vote.pair))
        ballot = open_ballots.setdefault(vote.voter, Ballot(vote.voter))
        ballot.add(vote, rule)
        if ballot.is_full(rule, rule.battles):
            full[vote.voter] = open_ballots.pop(vote.voter)
    held_out = {ballot.voter for ballot in (*full.values(), *open_ballots.values()) if ballot.is_held_out(rule)}
    waiting = [ballot for voter, ballot in sorted(open_ballots.items()) if voter not in held_out]
    return Ballots(
        full=tuple(ballot for voter, ballot in full.items() if voter not in held_out),
        at_close=tuple(ballot for ballot in waiting if ballot.is_full(rule, rule.at_close)),
        held_out=tuple(sorted(held_out)),
        waiting=len(waiting),
    )
