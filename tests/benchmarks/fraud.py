"""`make bench-fraud`: what it takes to release a candidate that is no better, and one that is. No torch is needed.

Plays thousands of battle rounds in simulated communities, writes build/fraud.json and prints a table. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from generation.feedback.gate import Quality, State, judge
from generation.feedback.registration import Rule, rule_for
from tests.benchmarks.communities import Rounds, Shares, World, ballots, full_ballots, gates, looks_at_an_interval, play
from tests.benchmarks.figures import Figure, show, write

AIM = 0.05
CHUNK = 400  # rounds played at once: a few hundred megabytes
SOUND = Quality(motion=(1, 1), adherence=(0.9, 0.9), diversity=(1, 1))
BALLOT_SIZES = (1, 3, 5, 8, 12)
SEED = 20261128


@dataclass(frozen=True)
class Size:
    """How much is simulated."""

    gates: int = 2_400
    lives: int = 1_500
    attempts: int = 12
    needed: int = 400  # rounds for each true chance
    price: int = 200  # rounds for each number of accounts
    groups: int = 60  # rounds judged by the gate itself, vetoes included


SMALL = Size(gates=200, lives=30, attempts=10, needed=30, price=20, groups=6)


def shares_of(world: World, number: int, rule: Rule, seed: int) -> Shares:
    """Play so many rounds, in chunks; the rule says what a ballot is."""
    dice, parts = np.random.default_rng([SEED, seed]), []
    while number > 0:
        parts.append(ballots(play(world, min(number, CHUNK), dice), rule))
        number -= CHUNK
    joined = (np.concatenate(columns) for columns in zip(*(dataclasses.astuple(part) for part in parts), strict=True))
    return Shares(*joined)


def _pick(shares: Shares, rows: np.ndarray) -> Shares:
    return Shares(shares.values[rows], shares.full[rows], shares.closed[rows])


def whole_lives(
    world: World, size: Size, seed: int, better_each: int = 0, change: Callable[[Rule], Rule] = lambda rule: rule
) -> float:
    """Return the share of communities that see a false release in a whole life of candidates that are no better.

    Each `better_each`-th candidate is better (a true 0.8), so that releases pass their share of the budget on.
    """
    false = np.zeros(size.lives, dtype=bool)
    last_failed = np.zeros(size.lives, dtype=np.int64)
    for attempt in range(1, size.attempts + 1):
        better = bool(better_each) and attempt % better_each == 0
        here = replace(world, chance=0.8) if better else world
        shares = shares_of(here, size.lives, change(rule_for(attempt, attempt - 1)), seed * 100 + attempt)
        for failed in np.unique(last_failed):
            rows = np.flatnonzero(last_failed == failed)
            released = gates(_pick(shares, rows), change(rule_for(attempt, int(failed)))) > 0
            last_failed[rows[~released]] = attempt
            false[rows] |= released & (not better)
    return float(false.mean())


def without_removals(rule: Rule) -> Rule:
    """Return the rule with k = 0, to see what k is good for."""
    return replace(rule, removals_least=0, removals_ppm=0)


def false_releases(size: Size) -> list[Figure]:
    """Return the false releases of single rounds, and of whole lives, by how many of the busiest are bought."""
    figures, honest = [], World()
    lives = f"{size.lives} lives of {size.attempts} candidates that are no better, 40 voters"
    rule = rule_for(1, 0)
    single = gates(shares_of(honest, size.gates, rule, 1), rule)
    figures.append(
        Figure(
            "false_releases_gate",
            round(float((single > 0).mean()), 4),
            f"{size.gates} first rounds with honest members; {(single < 0).mean():.3f} refused, budget 0.025",
        )
    )
    for converted in range(4):
        name = f"false_releases_bought_{converted}" if converted else "false_releases"
        share = whole_lives(replace(honest, converted=converted), size, 10 + converted)
        beside = f"the {converted} busiest always vote for the candidate" if converted else "honest, tastes differ"
        figures.append(Figure(name, round(share, 4), f"{lives}; {beside}", at_most=AIM))
    bought = replace(honest, converted=3)
    figures.append(
        Figure(
            "false_releases_bought_3_without_removals",
            round(whole_lives(bought, size, 13, change=without_removals), 4),
            "the same lives, if no verdict had to survive the removal of voters",
        )
    )
    share = whole_lives(honest, size, 20, better_each=3)
    figures.append(Figure("false_releases_mixed", round(share, 4), f"{lives}, but each third, a true 0.8", at_most=AIM))
    interval = 0
    for chunk in range(0, size.gates, CHUNK):
        rounds = play(honest, min(CHUNK, size.gates - chunk), np.random.default_rng([SEED, 30, chunk]))
        interval += int(looks_at_an_interval(rounds).sum())
    beside = "one round, each vote counts, a 95 % interval looked at after each from 20 on"
    figures.append(Figure("false_releases_interval", round(interval / size.gates, 4), beside))
    return figures


def ballot_sizes(size: Size) -> list[Figure]:
    """Return what the choice of the ballot's size rests on: releases at 0.8 and false ones with three bought voters."""
    figures = []
    for battles in BALLOT_SIZES:
        rule = rule_for(1, 0, replace(rule_for(1, 0), ballot_battles=battles, ballot_at_close=min(2, battles)))
        true = gates(shares_of(World(chance=0.8), size.needed, rule, 40), rule)
        false = gates(shares_of(World(converted=3), size.gates, rule, 41), rule)
        beside = f"40 voters, 600 votes, a true 0.8; with 3 bought, false releases {(false > 0).mean():.4f}"
        figures.append(Figure(f"released_ballot_{battles}", round(float((true > 0).mean()), 3), beside))
    return figures


def voters_needed(size: Size) -> list[Figure]:
    """Return the counted voters at a release, where all of a large community cast a ballot."""
    figures = []
    for chance, voters in ((0.6, 800), (0.7, 300), (0.8, 150)):
        world, rule = World(chance=chance, voters=voters), rule_for(1, 0)
        dice = np.random.default_rng([SEED, 50, voters])
        parts = [gates(full_ballots(world, 50, rule, dice), rule) for _ in range(0, size.needed, 50)]
        verdict = np.concatenate(parts)
        needed = np.where(verdict > 0, verdict, np.inf)
        ends = np.quantile(needed, [0.5, 0.9], method="higher")
        within = ", ".join(f"{(needed <= most).mean():.2f} within {most}" for most in (40, 100))
        beside = f"median of {len(verdict)} rounds at a true {chance}; 9 in 10 by {ends[1]:g}; released {within}"
        figures.append(Figure(f"voters_needed_{round(100 * chance)}", float(ends[0]), beside))
    return figures


@dataclass(frozen=True)
class Attack:
    """A way to buy a release: the world with so many accounts, and what else each account costs."""

    name: str
    world: Callable[[int], World]
    beside: str


ATTACKS = (
    Attack(
        "target_only",
        lambda number: World(accounts=number, accounts_slip=0.5),
        "accounts that know the candidate, always vote for it, and guess at catch pairs",
    ),
    Attack(
        "catch_evasion",
        lambda number: World(accounts=number, accounts_slip=0.0),
        "the same, but they answer every catch pair well",
    ),
    Attack(
        "sleepers",
        lambda number: World(accounts=number),
        "accounts that joined and voted honestly until eligible, long before the registration",
    ),
    Attack("bought_regulars", lambda number: World(converted=number), "of the 40 members, the busiest"),
)


def price(attack: Attack, number: int, share: float, released: Callable[[Rounds], np.ndarray]) -> int:
    """Return with how many accounts that share of rounds is released, the candidate being no better."""
    low, high = -1, 40
    while high - low > 1:
        accounts = (low + high) // 2
        rounds = play(attack.world(accounts), number, np.random.default_rng([SEED, 60, accounts]))
        low, high = (low, accounts) if released(rounds).mean() >= share else (accounts, high)
    return high


def prices(size: Size) -> list[Figure]:
    """Return the price of a release in accounts, for each attack, beside that of the usual interval."""
    rule, figures = rule_for(1, 0), []
    for attack in ATTACKS:
        gate = [price(attack, size.price, share, lambda r: gates(ballots(r, rule), rule) > 0) for share in (0.5, 0.05)]
        usual = price(attack, size.price, 0.5, looks_at_an_interval)
        beside = f"half of the rounds released; one in 20 with {gate[1]}; usual interval {usual}: {attack.beside}"
        figures.append(Figure(f"price_{attack.name}", gate[0], beside))
    return figures


def group_vetoes(size: Size) -> list[Figure]:
    """Return how often a group with another taste refuses a candidate that the evidence would release."""
    figures = []
    for name, minority in (("split", 0.3), ("united", 0.0)):
        vetoed = released = 0
        for row in range(size.groups):
            dice = np.random.default_rng([SEED, 70, row])
            apart = round(300 * minority)
            halves = [
                play(World(chance=chance, voters=voters, votes=voters * 20, hostile=0.1), 1, dice).votes(0)
                for chance, voters in ((0.9, 300 - apart), (0.1, apart))
                if voters
            ]
            votes = [replace(vote, voter=f"{half}{vote.voter}") for half, some in enumerate(halves) for vote in some]
            order = dice.permutation(len(votes))
            verdict = judge([votes[place] for place in order], rule_for(1, 0), SOUND, closed=True)
            vetoed += verdict.state is State.REFUSED and verdict.evidence_milli >= 1000 * verdict.evidence_needed
            released += verdict.state is State.RELEASED
        beside = (
            f"of {size.groups} rounds with 300 members, {minority:.0%} of whom like the opposite; {released} released"
        )
        figures.append(Figure(f"group_vetoes_{name}", vetoed, beside))
    return figures


PARTS = (false_releases, voters_needed, prices, ballot_sizes, group_vetoes)


def main(size: Size) -> list[Figure]:
    """Return all figures; what each part took is told on stderr."""
    figures: list[Figure] = []
    for part in PARTS:
        begun, worked = time.monotonic(), time.process_time()
        figures += part(size)
        spent = f"{time.monotonic() - begun:.0f} s, {time.process_time() - worked:.0f} s of them at work"
        sys.stderr.write(f"{part.__name__}: measured in {spent}\n")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench-fraud", description=__doc__)
    parser.add_argument("--small", action="store_true", help="few rounds, in less than a minute")
    parser.add_argument("--out", type=Path, default=Path("build/fraud.json"))
    options = parser.parse_args()
    measured = main(SMALL if options.small else Size())
    write(measured, options.out)
    show(measured)
    sys.stdout.write(f"written to {options.out}\n")
