"""The error budget of a community: how much of it each attempt at a release may spend.

Attempt j is given 1 / (j (j + 1)) of the budget, which sums to the whole budget over any number of attempts. An attempt
that ends in a release passes its share on to the next one ("online fallback", Tian and Ramdas 2021): until the first
false release, the shares of the attempts without a true difference then still sum to at most the budget.
"""

from __future__ import annotations

from fractions import Fraction

BILLION = 1_000_000_000
LIFE_PPB = 50_000_000  # at most 5 % of all communities ever see a false release


def attempt_alpha(attempt: int, last_failed: int, life_ppb: int = LIFE_PPB) -> Fraction:
    """Return the chance of a false release that an attempt may spend; attempts count from 1.

    `last_failed` is the latest earlier attempt that did not end in a release, 0 where there is none. The sum of
    1 / (i (i + 1)) from the attempt after it to this one is 1 / (last_failed + 1) - 1 / (attempt + 1).
    """
    if not 0 <= last_failed < attempt:
        raise ValueError(f"Attempt {attempt} cannot follow attempt {last_failed} as the last one without a release.")
    return Fraction(life_ppb, BILLION) * (Fraction(1, last_failed + 1) - Fraction(1, attempt + 1))


def wealth_for(alpha: Fraction) -> int:
    """Return the wealth at which a release is believed: the least whole number that is not below 1 / alpha."""
    return -(-alpha.denominator // alpha.numerator)
