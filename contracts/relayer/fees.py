"""The fees that a transaction offers for gas (EIP-1559), at first and when it is stuck: arithmetic in wei a unit of
gas.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.rpc.node import Fees
from contracts.units import GWEI

OVER_MARKET = 5  # the most, in multiples of what the chain asks, where the operator has set no limit
# Chains whose sequencer takes transactions in the order of their arrival, and keeps none that it cannot include: a
# higher fee buys nothing there, and the same bytes are sent again (Arbitrum One, Nova, Sepolia).
WITHOUT_MEMPOOL = {42_161, 42_170, 421_614}


class Offer(NamedTuple):
    """maxFeePerGas and maxPriorityFeePerGas."""

    most: int
    tip: int


def first_offer(fees: Fees, limit: int | None) -> Offer | None:
    """Return the offer of a new transaction; None while the base fee alone is over the limit."""
    most = fees.maximum if limit is None else min(fees.maximum, limit)
    return None if most < fees.base else Offer(most, min(fees.tip, most))


def higher_offer(before: Offer, fees: Fees, limit: int | None) -> Offer | None:
    """Return the offer that replaces one: each field at least an eighth higher, and at least what the chain asks now.

    Nodes refuse less than a tenth more. None where the offer would be over the limit: the earlier one then stands.
    """
    most = max(_an_eighth_more(before.most), fees.maximum if limit is None else min(fees.maximum, limit))
    tip = max(_an_eighth_more(before.tip), min(fees.tip, most))
    ceiling = OVER_MARKET * fees.maximum if limit is None else limit
    return Offer(most, min(tip, most)) if most <= ceiling and _an_eighth_more(before.tip) <= most else None


def _an_eighth_more(wei: int) -> int:
    return max(wei + 1, -(-wei * 9 // 8))


def gwei(wei: int) -> str:
    """Return an amount as a sentence has it."""
    return f"{wei / GWEI:.9f}".rstrip("0").rstrip(".")
