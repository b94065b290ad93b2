"""What a round costs on a chain: measured gas (contracts/gas.json, to which the tests hold the contract) times a fee.

An estimate, and it says what it assumes. Gas is the same on every EVM; what a unit of it costs is asked of the chain.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from contracts.coin import COIN, GWEI

ITEM_GAS = 2_500  # what finalize pays for each further video: one slot that it has not read yet
REGISTERED_AT_ONCE = 256

# Arbitrum One on paper. Sources: docs.arbitrum.io on gas and fees, and on ArbOS 51; contracts/gas.json for the rest.
ARBITRUM_BASE_FEE = GWEI // 50  # wei for a unit of gas: the least since ArbOS 51
ARBITRUM_BYTES_A_VOTE = 2.1  # of compressed calldata, in batches of a thousand
ARBITRUM_DATA_GAS_A_BYTE = 16
ARBITRUM_DATA_FEES = (
    GWEI // 20,
    GWEI,
)  # wei for a unit of data gas: from a quiet day of the parent chain to a busy one


@dataclass(frozen=True)
class Community:
    """A round: its videos, the members who vote, how many of them are new, all their votes, and votes in a batch."""

    videos: int = 10
    voters: int = 1000
    new_voters: int = 1000
    votes: int = 2000
    batch: int = 500

    def __post_init__(self) -> None:
        """Raises ValueError, with a sentence, for a round that cannot be."""
        if min(self.videos, self.voters, self.votes, self.batch) < 1 or self.new_voters < 0:
            raise ValueError("A round has at least one video, one voter and one vote, and a batch one vote.")
        if self.new_voters > self.voters:
            raise ValueError("There cannot be more new voters than voters.")
        if self.voters > self.votes:
            raise ValueError("A voter casts at least one vote: give at least as many votes as voters.")
        if self.batch > 1000:
            raise ValueError("The relayer puts at most 1,000 votes into a batch.")


@dataclass(frozen=True)
class Cost:
    """One kind of transaction in a round; `gas` is that of all of them."""

    what: str
    count: int
    gas: int


def measured() -> dict[str, int]:
    """Gas by the name of what was done."""
    figures: dict[str, int] = json.loads(resources.files("contracts").joinpath("gas.json").read_text())
    return figures


def costs(community: Community, figures: Mapping[str, int]) -> list[Cost]:
    """What a round does on the ledger, in the order in which it is done."""
    batches = math.ceil(community.votes / community.batch)
    registrations = math.ceil(community.new_voters / REGISTERED_AT_ONCE)
    finalize = figures["finalize_3_items"] + ITEM_GAS * max(0, community.videos - 3)
    told = [
        Cost("open the round", 1, figures["open_round"]),
        Cost("add a video", community.videos, community.videos * figures["add_video"]),
        Cost("register new voters", registrations, community.new_voters * figures["register_a_voter"]),
        Cost("record votes", batches, round(community.votes * _gas_a_vote(community.batch, figures))),
        Cost("finalize the round", 1, finalize),
    ]
    return [cost for cost in told if cost.count]


def _gas_a_vote(batch: int, figures: Mapping[str, int]) -> float:
    """Between two measured sizes of a batch: what is paid once for a batch is shared by its votes."""
    sizes = sorted(int(name.rpartition("_")[2]) for name in figures if name.startswith("votes_typical_"))
    gas = {size: figures[f"votes_typical_{size}"] for size in sizes}
    place = bisect.bisect_left(sizes, batch)
    if place == 0:
        return gas[sizes[0]] * sizes[0] / batch
    if place == len(sizes):
        return gas[sizes[-1]]
    below, above = sizes[place - 1], sizes[place]
    share = (math.log(batch) - math.log(below)) / (math.log(above) - math.log(below))
    return math.exp(math.log(gas[below]) * (1 - share) + math.log(gas[above]) * share)


def on_arbitrum(community: Community, gas: int) -> tuple[float, float]:
    """The least and the most that a round costs on Arbitrum One, in ETH, by the assumptions above."""
    data_gas = community.votes * ARBITRUM_BYTES_A_VOTE * ARBITRUM_DATA_GAS_A_BYTE
    quiet, busy = ((gas * ARBITRUM_BASE_FEE + data_gas * fee) / COIN for fee in ARBITRUM_DATA_FEES)
    return quiet, busy
