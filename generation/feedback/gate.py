"""The release gate: from the votes of a battle round to a verdict, by the rule that was registered beforehand.

A candidate is released when the evidence for it reaches the registered wealth even after the removal of the k voters
who helped it most, and nothing forbids it: not its motion, adherence or diversity, and no group of members with one
taste. The verdict may be asked for after every vote; once it is `released` or `refused`, later votes do not change it.
A round that was judged as closed is over: voting on would be a second look at ballots that were not full.
docs/decisions/0017-release-gate.md says why, docs/learning.md what is proved. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import isfinite

from .evidence.ballots import Ballot, Outcome, Vote, ballots_of
from .evidence.equal_motion import win_rate_at_equal_motion
from .evidence.tastes import groups_by_halves, groups_from_outside, losing_groups
from .evidence.wealth import HALF, Wealth, interval_permille, needed_voters, survived_removals
from .registration import MILLION, Rule

__all__ = ["Outcome", "Quality", "State", "Verdict", "Vote", "judge"]


class State(StrEnum):
    """The result of a battle round so far."""

    RELEASED = "released"  # the evidence suffices, and nothing forbids the release
    REFUSED = "refused"  # the live model is better, or something forbids the release
    UNDECIDED = "undecided"  # neither; never "no better"


@dataclass(frozen=True)
class Quality:
    """The measures that machines took on the videos of the round: each the candidate's and the live model's mean."""

    motion: tuple[float, float]  # (candidate, live), as are those below
    adherence: tuple[float, float]  # shares between 0 and 1
    diversity: tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """The result, the numbers that are posted with it, and its reasons as sentences."""

    state: State
    reasons: tuple[str, ...]
    voters: int  # counted ballots
    votes: int  # in the counted ballots
    held_out: int
    waiting: int  # members whose ballot is not full
    evidence_milli: int  # wealth after the removal of k voters, in thousandths
    evidence_needed: int
    against_milli: int  # the same for the live model
    win_rate_permille: int
    interval_permille: tuple[int, int]
    equal_motion_permille: int | None
    survives: int  # removals of any so many voters; -1 where the evidence is too little without any
    survives_needed: int
    needs_about: int | None  # voters that would decide if all vote as those so far
    min_voters: int


def judge(
    votes: Sequence[Vote],
    rule: Rule,
    quality: Quality,
    *,
    closed: bool = False,
    motion: Mapping[str, float] | None = None,
    tastes: Mapping[str, str] | None = None,
    active_members: int | None = None,
) -> Verdict:
    """Return the verdict on votes in the order of time.

    `closed` is true once the registered time of closing has come: ballots that are not full count then. `motion` is
    candidate minus live for each pair, `tastes` the registered group of each member. `active_members` is how many
    members may be expected to vote; the sentence about too few of them needs it.
    """
    count = _Count(rule)
    ballots = ballots_of(votes[: rule.max_votes], rule.ballot)
    for ballot in ballots.full:
        count.add(ballot)
        if count.is_decided:
            break
    if (closed or len(votes) >= rule.max_votes) and not count.is_decided:
        closed = True
        for ballot in ballots.at_close:
            count.add(ballot)
    vetoes = _quality_vetoes(quality, rule)
    if count.for_candidate and not vetoes:
        vetoes = _group_vetoes(count, rule, tastes)
    if vetoes or count.for_live:
        better = [f"The live model is better, with an evidence of {_wealth(count.against.milli)}."]
        state, reasons = State.REFUSED, [*vetoes, *(better if count.for_live else [])]
    elif count.for_candidate:
        state, reasons = State.RELEASED, [_released(count)]
    else:
        state, reasons = State.UNDECIDED, _undecided(count, closed, active_members)
    return _verdict(state, reasons, count, (len(ballots.held_out), ballots.waiting), motion or {})


class _Count:
    """The ballots counted so far, and the evidence of them for both sides."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.ballots: list[Ballot] = []
        self.shares: list[Fraction] = []
        self.support = Wealth(rule.bets_permille, rule.removals)
        self.against = Wealth(rule.bets_permille, rule.removals)

    def add(self, ballot: Ballot) -> None:
        self.ballots.append(ballot)
        self.shares.append(ballot.share)
        self.support.add(ballot.share)
        self.against.add(1 - ballot.share)

    @property
    def for_candidate(self) -> bool:
        return len(self.ballots) >= self.rule.min_voters and self.support.reaches(self.rule.wealth)

    @property
    def for_live(self) -> bool:
        return self.against.reaches(self.rule.refusal_wealth)

    @property
    def is_decided(self) -> bool:
        return self.for_candidate or self.for_live

    @property
    def needs_about(self) -> int | None:
        mean = sum(self.shares, Fraction(0)) / max(len(self.shares), 1)
        shares, bound = self.shares, self.rule.wealth
        if mean < HALF:
            shares, bound = [1 - share for share in shares], self.rule.refusal_wealth
        return needed_voters(shares, self.rule.bets_permille, self.rule.removals, bound)


def _quality_vetoes(quality: Quality, rule: Rule) -> list[str]:
    """Return a sentence for each measure that forbids the release, whatever the votes say."""
    vetoes = []
    for name, (candidate, live), least in (
        ("motion", quality.motion, rule.min_motion_ppm),
        ("diversity", quality.diversity, rule.min_diversity_ppm),
    ):
        ratio = candidate / live if live else 1.0
        if _ppm(ratio) < least:
            vetoes.append(
                f"Its {name} fell to {_percent(ratio)} of the live model's; {_percent(least / MILLION)} are needed."
            )
    candidate, live = quality.adherence
    if -_ppm(candidate - live) > rule.max_adherence_loss_ppm:
        vetoes.append(
            f"It follows {_percent(candidate)} of the prompts' words, the live model {_percent(live)}; "
            f"a loss of {_percent(rule.max_adherence_loss_ppm / MILLION)} is allowed."
        )
    return vetoes


def _group_vetoes(count: _Count, rule: Rule, tastes: Mapping[str, str] | None) -> list[str]:
    groups = groups_by_halves(count.ballots) if tastes is None else groups_from_outside(count.ballots, tastes)
    losing = losing_groups(groups, len(count.ballots), rule.bets_permille, rule.group_wealth, rule.group_share_ppm)
    return [
        f"{group.members} of {len(count.ballots)} voters ({group.name}) clearly prefer the live model, "
        f"with an evidence of {_wealth(group.milli)}."
        for group in losing
    ]


def _released(count: _Count) -> str:
    k = count.rule.removals(len(count.ballots))
    return (
        f"{len(count.ballots)} voters prefer the candidate; the evidence is {_wealth(count.support.milli)} "
        f"even without any {k} of them, and {count.rule.wealth:,} was needed."
    )


def _undecided(count: _Count, closed: bool, active_members: int | None) -> list[str]:
    voters, rule = len(count.ballots), count.rule
    after = f"Undecided after {_voters(voters)}{' at the close' if closed else ''}"
    if active_members is not None and max(active_members, voters) < rule.min_voters:
        return [
            f"{after}.",
            f"Too few active voters to release on evidence: {max(active_members, voters)}, "
            f"and {rule.min_voters} are needed even if all agree.",
        ]
    about = count.needs_about
    if voters and about is None:
        forecast = "no number of voters in sight would decide"
    else:
        forecast = f"about {about or rule.min_voters} are needed if all vote like these"
    return [f"{after}; {forecast}."]


def _verdict(
    state: State, reasons: Sequence[str], count: _Count, others: tuple[int, int], motion: Mapping[str, float]
) -> Verdict:
    rule, shares = count.rule, count.shares
    mean = sum(shares, Fraction(0)) / len(shares) if shares else HALF
    equal = win_rate_at_equal_motion(count.ballots, motion)
    return Verdict(
        state=state,
        reasons=tuple(reasons),
        voters=len(shares),
        votes=sum(len(ballot.votes) for ballot in count.ballots),
        held_out=others[0],
        waiting=others[1],
        evidence_milli=count.support.milli,
        evidence_needed=rule.wealth,
        against_milli=count.against.milli,
        win_rate_permille=round(1000 * mean),
        interval_permille=interval_permille(shares, rule.bets_permille),
        equal_motion_permille=None if equal is None else round(1000 * equal),
        survives=survived_removals(shares, rule.bets_permille, rule.wealth),
        survives_needed=rule.removals(len(shares)),
        needs_about=count.needs_about if state is State.UNDECIDED else None,
        min_voters=rule.min_voters,
    )


def _wealth(milli: int) -> str:
    """Return a wealth for people: one digit after the point while it is small."""
    return f"{milli / 1000:.1f}" if milli < 10_000 else f"{milli // 1000:,}"


def _ppm(share: float) -> int:
    """Return a share in whole millionths; one that is no number, or infinite, counts as far too low."""
    return round(share * MILLION) if isfinite(share) else -MILLION


def _voters(number: int) -> str:
    return f"{number} voter{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
