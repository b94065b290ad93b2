"""The e-process: what a gambler who starts with 1 owns after betting on the candidate, ballot by ballot.

A ballot is a member's share x of points for the candidate, between 0 and 1 (a tie is half a point). A bet b turns the
wealth W into W (1 + b (2x - 1)); the wealth of several bets is their mean. While members drawn at random do not prefer
the candidate (the mean of x is at most 1/2), the wealth ever reaches 1 / alpha with a chance of at most alpha, however
often somebody looks (Ville 1939).

A member is one factor, and each factor grows with x. So of all ways to remove k members, taking away the k highest
shares leaves the least wealth under every bet at once: the worst case is exact. Everything is counted in whole numbers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from math import exp, log1p

HALF = Fraction(1, 2)
INTERVAL_WEALTH = 40  # each end of the interval may be wrong with a chance of 2.5 %, at all times together
PERMILLE = 1000


def needed_removals(voters: int, least: int, ppm: int) -> int:
    """Return k: how many voters a verdict must be able to lose, `least` or that share of them, rounded up."""
    return max(least, -(-voters * ppm // 1_000_000))


class Wealth:
    """The wealth after the removal of the k voters who helped it most; k may grow with the number of voters."""

    def __init__(self, bets_permille: Sequence[int], removals: Callable[[int], int] = lambda voters: 0) -> None:
        self._bets = tuple(bets_permille)
        self._removals = removals
        self._products = [1] * len(self._bets)
        self._divisor = 1
        self._kept_shares: list[Fraction] = []  # ascending, as are those below
        self._removed_shares: list[Fraction] = []

    @property
    def voters(self) -> int:
        return len(self._kept_shares) + len(self._removed_shares)

    def add(self, share: Fraction) -> None:
        """Add a voter's ballot. Shares of at most 1/2 are never removed: without them the wealth would be larger."""
        self._keep(share)
        allowed = self._removals(self.voters)
        while self._kept_shares and (highest := self._kept_shares[-1]) > HALF:
            if len(self._removed_shares) >= allowed:
                if not self._removed_shares or highest <= self._removed_shares[0]:
                    break
                self._keep(self._removed_shares.pop(0))
            self._drop(highest)
            insort(self._removed_shares, highest)

    def reaches(self, bound: int) -> bool:
        """Return True where the wealth is at least the bound."""
        return sum(self._products) >= bound * len(self._bets) * self._divisor

    @property
    def value(self) -> Fraction:
        return Fraction(sum(self._products), len(self._bets) * self._divisor)

    @property
    def milli(self) -> int:
        """The wealth in thousandths, rounded down; quicker than `value`, which must find common divisors."""
        return 1000 * sum(self._products) // (len(self._bets) * self._divisor)

    def _keep(self, share: Fraction) -> None:
        numerators, denominator = self._factors(share)
        self._products = [product * numerator for product, numerator in zip(self._products, numerators, strict=True)]
        self._divisor *= denominator
        insort(self._kept_shares, share)

    def _drop(self, share: Fraction) -> None:
        numerators, denominator = self._factors(share)
        self._products = [product // numerator for product, numerator in zip(self._products, numerators, strict=True)]
        self._divisor //= denominator
        del self._kept_shares[bisect_left(self._kept_shares, share)]

    def _factors(self, share: Fraction) -> tuple[list[int], int]:
        gain, whole = 2 * share.numerator - share.denominator, share.denominator
        return [PERMILLE * whole + bet * gain for bet in self._bets], PERMILLE * whole


def wealth_of(shares: Iterable[Fraction], bets_permille: Sequence[int], removed: int = 0) -> Wealth:
    """Return the wealth of a set of ballots, after the removal of the given number of voters."""
    wealth = Wealth(bets_permille, lambda voters: removed)
    for share in shares:
        wealth.add(share)
    return wealth


def survived_removals(shares: Sequence[Fraction], bets_permille: Sequence[int], bound: int) -> int:
    """Return the largest k so that the wealth stays at the bound whichever k voters are removed; -1 if it is below."""
    ordered = sorted(shares)
    low, high = -1, len(ordered)  # none survives the removal of everybody: the wealth is then 1
    while high - low > 1:
        k = (low + high) // 2
        low, high = (k, high) if wealth_of(ordered, bets_permille, k).reaches(bound) else (low, k)
    return low


def fewest_voters(bets_permille: Sequence[int], removals: Callable[[int], int], bound: int) -> int:
    """Return how many voters it takes where all of them choose the candidate each time."""
    wealth = Wealth(bets_permille, removals)
    while not wealth.reaches(bound):
        wealth.add(Fraction(1))
    return wealth.voters


def interval_permille(shares: Sequence[Fraction], bets_permille: Sequence[int]) -> tuple[int, int]:
    """Return the ends of an interval for the mean share, in thousandths, that holds at all looks together (95 %).

    The lower end is the largest mean that the same ballots refute: the game is played against it in place of 1/2.
    """
    lower = _refuted_permille(shares, bets_permille)
    return lower, PERMILLE - _refuted_permille([1 - share for share in shares], bets_permille)


def _refuted_permille(shares: Sequence[Fraction], bets_permille: Sequence[int]) -> int:
    low, high = 0, PERMILLE
    while high - low > 1:
        mean = (low + high) // 2
        low, high = (mean, high) if _refutes(shares, bets_permille, mean) else (low, mean)
    return low


def _refutes(shares: Sequence[Fraction], bets_permille: Sequence[int], mean: int) -> bool:
    products, divisor = [1] * len(bets_permille), 1
    for share in shares:
        whole = PERMILLE * mean * share.denominator
        gain = PERMILLE * share.numerator - mean * share.denominator
        products = [p * (whole + bet * gain) for p, bet in zip(products, bets_permille, strict=True)]
        divisor *= whole
    return sum(products) >= INTERVAL_WEALTH * len(products) * divisor


def needed_voters(
    shares: Sequence[Fraction], bets_permille: Sequence[int], removals: Callable[[int], int], bound: int
) -> int | None:
    """Return about how many voters would decide if all vote as those so far; None where that is out of sight.

    A forecast for people, in floating point, with two digits.
    """
    if not shares:
        return None
    gains = sorted((2 * float(share) - 1 for share in shares), reverse=True)
    logs = [[log1p(bet / PERMILLE * gain) for gain in gains] for bet in bets_permille]
    totals = [sum(of_bet) for of_bet in logs]
    voters, most = len(shares) + 1, max(50 * len(shares), 2_000)
    while voters <= most:
        copies = voters / len(shares)  # of each ballot so far
        growths = [
            copies * total - _gain_of_removed(of_bet, copies, removals(voters))
            for total, of_bet in zip(totals, logs, strict=True)
        ]
        if sum(exp(min(growth, 700.0)) for growth in growths) >= bound * len(growths):
            return _two_digits(voters)
        voters += max(1, voters // 20)
    return None


def _gain_of_removed(logs: Sequence[float], copies: float, removed: float) -> float:
    """Return the sum of the highest logarithms, each of which stands for so many copies."""
    gain = 0.0
    for log in logs:
        if removed <= 0 or log <= 0:
            break
        gain += log * min(copies, removed)
        removed -= copies
    return gain


def _two_digits(number: int) -> int:
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step
