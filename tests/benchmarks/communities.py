"""Simulated communities and the gate as arrays: thousands of battle rounds at once, with numpy.

`gates` does what generation.feedback.gate does with one round, but for the vetoes; tests/generation/feedback/
compares the two on the same votes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from generation.feedback.gate import Outcome, Vote
from generation.feedback.registration import Rule

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EARLY = 3  # a member's catch pair lies among so many first pairs
SLIP = 0.05  # an honest member's chance to fail a catch pair
NEVER = 1 << 40  # later than any vote
FINE = 1e-9  # relative; floating point may be off by less


@dataclass(frozen=True)
class World:
    """A community in one battle round. Chances are those of honest members, among votes that are no ties."""

    chance: float = 0.5  # of the candidate, on average over members and pairs
    voters: int = 40
    votes: int = 600  # of all members together, at the end of the round
    taste_sd: tuple[float, float] = (0.6, 1.0)  # logits by which members differ; drawn anew for each round
    pair_sd: float = 1.5
    pairs: int = 100
    ties: float = 0.25
    hostile: float = 0.1  # they vote against their own taste
    converted: int = 0  # the busiest of the members always vote for the candidate
    accounts: int = 0  # added to the members, as busy as the busiest, and always for the candidate
    accounts_slip: float = SLIP  # the chance of those to fail a catch pair


@dataclass(frozen=True)
class Rounds:
    """Votes of many rounds, (round, time): numbers of voter and pair, half points, and -1 or a catch pair's answer."""

    voter: Ints
    pair: Ints
    points: Ints
    catch: Ints
    voters: int

    def __len__(self) -> int:
        return len(self.voter)

    def votes(self, index: int) -> list[Vote]:
        """Return the votes of one round as the gate takes them."""
        outcomes = {0: Outcome.LIVE, 1: Outcome.TIE, 2: Outcome.CANDIDATE}
        votes = []
        rows = zip(self.voter[index], self.pair[index], self.points[index], self.catch[index], strict=True)
        for voter, pair, points, catch in rows:
            outcome = outcomes[int(points)]
            if catch >= 0:
                outcome = Outcome.CATCH_PASSED if catch else Outcome.CATCH_FAILED
            votes.append(Vote(f"v{voter:04}", f"catch{voter}" if catch >= 0 else f"p{pair}", outcome))
        return votes


@cache
def offset(chance: float, sd: float) -> float:
    """Return the logit whose mean chance, over a normal spread, is the given chance."""
    spread = np.random.default_rng(0).normal(0, sd, 20_000)
    low, high = -6.0, 9.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(middle + spread).mean() < chance else (low, middle)
    return low if chance != 0.5 else 0.0


def play(world: World, rounds: int, dice: np.random.Generator) -> Rounds:
    """Play so many rounds of a world."""
    members, everybody = world.voters, world.voters + world.accounts
    busy = -np.sort(-(dice.pareto(1.2, (rounds, members)) + 0.2), axis=1)
    busy = np.concatenate([np.repeat(busy[:, :1], world.accounts, 1), busy], 1)  # accounts first
    chances = np.cumsum(busy, 1) / busy.sum(1, keepdims=True)
    length = world.votes * everybody // members
    voter = np.stack([np.searchsorted(row[:-1], dice.random(length)) for row in chances])
    turn = _turns(voter, everybody)
    sd = dice.uniform(*world.taste_sd, (rounds, 1))
    taste = dice.normal(0, 1, (rounds, everybody)) * sd
    quality = dice.normal(0, world.pair_sd, (rounds, world.pairs))
    place = dice.integers(0, EARLY, (rounds, everybody))
    pair = (np.take_along_axis(dice.integers(0, world.pairs, (rounds, everybody)), voter, 1) + 7 * turn) % world.pairs
    chance = _sigmoid(_middle(world) + np.take_along_axis(taste, voter, 1) + np.take_along_axis(quality, pair, 1))
    bought = voter < world.accounts + world.converted
    hostile = _some(rounds, everybody, world.accounts + world.converted, round(world.hostile * members), dice)
    chance = np.where(np.take_along_axis(hostile, voter, 1), 1 - chance, chance)
    points = np.where(dice.random(chance.shape) < world.ties, 1, 2 * (dice.random(chance.shape) < chance))
    slip = np.where(voter < world.accounts, world.accounts_slip, SLIP)
    passed = dice.random(chance.shape) >= slip
    catch = np.where(turn == np.take_along_axis(place, voter, 1), passed.astype(int), -1)
    return Rounds(voter, pair, np.where(bought, 2, points), catch, everybody)


def full_ballots(world: World, rounds: int, rule: Rule, dice: np.random.Generator) -> Shares:
    """Play rounds in which each member casts a full ballot and passes the catch pairs, all equally busy."""
    size = (rounds, world.voters, rule.ballot_battles)
    taste = dice.normal(0, 1, size[:2]) * dice.uniform(*world.taste_sd, (rounds, 1))
    quality = dice.normal(0, world.pair_sd, (rounds, world.pairs))
    pair = dice.integers(0, world.pairs, (rounds, size[1] * size[2]))
    chance = _sigmoid(_middle(world) + taste[:, :, None] + np.take_along_axis(quality, pair, 1).reshape(size))
    hostile = _some(rounds, world.voters, 0, round(world.hostile * world.voters), dice)
    chance = np.where(hostile[:, :, None], 1 - chance, chance)
    points = np.where(dice.random(size) < world.ties, 1, 2 * (dice.random(size) < chance)).sum(2)
    everybody = np.full(rounds, world.voters)
    return Shares(points / (2 * rule.ballot_battles), everybody, everybody)


def _middle(world: World) -> float:
    return offset(world.chance, round(float(np.hypot(np.mean(world.taste_sd), world.pair_sd)), 3))


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def _turns(voter: Ints, voters: int) -> Ints:
    """Return how many votes the same voter cast before each vote."""
    turn = np.zeros_like(voter)
    count = np.zeros((len(voter), voters), dtype=np.int64)
    rows = np.arange(len(voter))
    for time in range(voter.shape[1]):
        turn[:, time] = count[rows, voter[:, time]]
        count[rows, voter[:, time]] += 1
    return turn


def _some(rounds: int, voters: int, first: int, number: int, dice: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Mark so many voters of each round, none of them before the first."""
    marks = np.zeros((rounds, voters), dtype=bool)
    chosen = np.argsort(dice.random((rounds, voters - first)), axis=1)[:, :number] + first
    np.put_along_axis(marks, chosen, True, 1)
    return marks


@dataclass(frozen=True)
class Shares:
    """The counted ballots of many rounds: (round, order) with nan after the last; full ones, and all at the close."""

    values: Floats
    full: Ints
    closed: Ints


def ballots(rounds: Rounds, rule: Rule) -> Shares:
    """Return the candidate's shares in the order in which ballots become full, then of those that the close counts."""
    first = max(rule.ballot_battles + 1, EARLY)  # votes of a member after which the ballot is full for certain
    turn = _turns(rounds.voter, rounds.voters)
    row, time = np.nonzero(turn < first)
    at = (row, rounds.voter[row, time], turn[row, time])
    size = (len(rounds), rounds.voters, first)
    times, points, catch = np.full(size, NEVER), np.zeros(size, dtype=np.int64), np.full(size, -2)
    times[at], points[at], catch[at] = time, rounds.points[row, time], rounds.catch[row, time]
    battles = np.cumsum(catch == -1, 2)
    points = np.cumsum(points * ((catch == -1) & (battles <= rule.ballot_battles)), 2)
    answers, failures = np.cumsum(catch >= 0, 2), np.cumsum(catch == 0, 2)
    is_full = (battles >= rule.ballot_battles) & (answers >= rule.catch_answers)
    last = np.where(is_full.any(2), is_full.argmax(2), first - 1)[:, :, None]  # the vote that fills the ballot
    battles, points, answers, failures, times = (
        np.take_along_axis(column, last, 2)[:, :, 0] for column in (battles, points, answers, failures, times)
    )
    counted = np.minimum(battles, rule.ballot_battles)
    fair, over = failures < rule.catch_failures, is_full.any(2)
    late = ~over & (counted >= rule.ballot_at_close) & (answers >= rule.catch_answers)
    share = np.where(fair & (over | late), points / np.maximum(2 * counted, 1), np.nan)
    order = np.argsort(np.where(np.isnan(share), NEVER + 1, np.where(over, times, NEVER)), axis=1, kind="stable")
    full = (fair & over).sum(1)
    return Shares(np.take_along_axis(share, order, 1), full, full + (fair & late).sum(1))


def _log_wealth(shares: Floats, rule: Rule) -> Iterator[Floats]:
    """Yield the logarithm of each round's wealth after 1, 2, … ballots, without the k that helped most."""
    bets = np.array(rule.bets_permille) / 1000
    logs = np.log1p(bets * (2 * shares[:, :, None] - 1))
    total = np.zeros((len(shares), len(bets)))
    for voters in range(1, shares.shape[1] + 1):
        total = total + logs[:, voters - 1]
        first = max(voters - rule.removals(voters), 0)
        top = np.partition(shares[:, :voters], first, axis=1)[:, first:] if first < voters else shares[:, :0]
        kept = total - np.maximum(np.log1p(bets * (2 * top[:, :, None] - 1)), 0).sum(1)
        highest = kept.max(1)
        yield highest + np.log(np.exp(kept - highest[:, None]).mean(1))


def gates(shares: Shares, rule: Rule) -> Ints:
    """Return for each round how many ballots released (positive), refused (negative) or left it undecided (0)."""
    values = np.where(np.isnan(shares.values), 0.5, shares.values)
    verdict = np.zeros(len(values), dtype=np.int64)
    both = zip(_log_wealth(values, rule), _log_wealth(1 - values, rule), strict=True)
    for voters, (support, against) in enumerate(both, 1):
        looked_at = (verdict == 0) & ((voters <= shares.full) | (voters == shares.closed))
        wins = looked_at & (support >= np.log(rule.wealth) - FINE) & (voters >= rule.min_voters)
        loses = looked_at & ~wins & (against >= np.log(rule.refusal_wealth) - FINE)
        verdict += voters * wins - voters * loses
    return verdict


def looks_at_an_interval(rounds: Rounds, least: int = 20) -> npt.NDArray[np.bool_]:
    """Return the rounds released by what is usual: each vote counts, and a 95 % interval is looked at after each."""
    shares = np.where(rounds.catch >= 0, np.nan, rounds.points / 2)
    number = np.cumsum(~np.isnan(shares), 1)
    mean = np.nancumsum(shares, 1) / np.maximum(number, 1)
    squares = np.nancumsum(shares**2, 1) / np.maximum(number, 1)
    error = np.sqrt(np.maximum(squares - mean**2, 1e-9) / np.maximum(number, 1))
    return np.asarray(((mean - 1.96 * error > 0.5) & (number >= least)).any(1))
