"""The cost of a round on a chain: measured gas (contracts/gas.json, to which the tests hold the contract) times a fee.

An estimate that states its assumptions. Gas is the same on every EVM; the chain is asked for the price of a unit of it.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from contracts.units import COIN, GWEI

ITEM_GAS = 2_500  # gas of finalize for each further video: one slot that it has not read yet
REGISTERED_AT_ONCE = 256
MOST_ITEMS = 1023  # videos and battles of a round

# Bytes of compressed calldata. The tests try real calldata with zlib's quickest level, which a rollup's compressor is
# much like. Hashes, keys and voter ids do not compress.
TRANSACTION_BYTES = 120  # of each transaction besides its calldata: signature, fees, addresses
OPEN_BYTES = 100
VIDEO_BYTES = 177
VOTER_BYTES = 32.3  # of a voter in a registration of 256
BATTLE_BYTES = 185
REVEAL_BYTES = 119
COMMIT_BYTES = 87
CLOSE_BYTES = FINALIZE_BYTES = 16
VOTE_BYTES = {10: 10.0, 100: 3.7, 500: 2.4, 1000: 2.0}  # of a vote of a member new to the round, by its batch's votes

# Arbitrum One on paper. Sources: docs.arbitrum.io on gas and fees, and on ArbOS 51; contracts/gas.json for the rest.
ARBITRUM_BASE_FEE = GWEI // 50  # wei for a unit of gas: the least since ArbOS 51
ARBITRUM_DATA_GAS_A_BYTE = 16
# wei for a unit of data gas: from a quiet day of the parent chain to a busy one
ARBITRUM_DATA_FEES = (GWEI // 20, GWEI)

LEFT_OUT = "Linked wallets are not counted; battles, and the commitments of their release, only with --battles."
RELEASE_COMMITMENTS = 2  # the data set and the release that a battle round may end in


def assumptions(batch: int) -> dict[str, float]:
    """Return the assumptions of the estimate on paper, by name; fees in gwei."""
    least, most = ARBITRUM_DATA_FEES
    return {
        "gwei_a_gas": ARBITRUM_BASE_FEE / GWEI,
        "data_gas_a_byte": ARBITRUM_DATA_GAS_A_BYTE,
        "gwei_a_data_gas_least": least / GWEI,
        "gwei_a_data_gas_most": most / GWEI,
        "bytes_a_vote": round(between(batch, VOTE_BYTES), 2),
        "bytes_a_voter": VOTER_BYTES,
        "bytes_a_video": VIDEO_BYTES,
        "bytes_a_transaction": TRANSACTION_BYTES,
    }


@dataclass(frozen=True)
class Community:
    """A round: its videos, the members who vote, the new ones among them, all votes, and the votes of a batch.

    With battles it is one that decides about a release; the votes on them are among the votes.
    """

    videos: int = 10
    voters: int = 1000
    new_voters: int = 1000
    votes: int = 2000
    batch: int = 500
    battles: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError, with a sentence, for a round that cannot be."""
        if min(self.videos, self.voters, self.votes, self.batch) < 1 or self.new_voters < 0:
            raise ValueError("A round has at least one video, one voter and one vote, and a batch one vote.")
        if self.new_voters > self.voters:
            raise ValueError("There cannot be more new voters than voters.")
        if self.battles < 0 or self.videos + self.battles > MOST_ITEMS:
            raise ValueError(f"A round has at most {MOST_ITEMS:,} videos and battles.")
        if self.voters > self.votes:
            raise ValueError("A voter casts at least one vote: give at least as many votes as voters.")
        if self.batch > 1000:
            raise ValueError("The relayer puts at most 1,000 votes into a batch.")


@dataclass(frozen=True)
class Cost:
    """The cost of one kind of transaction in a round; `gas` and compressed `data_bytes` are those of all of them."""

    what: str
    count: int
    gas: int
    data_bytes: int


def measured() -> dict[str, int]:
    """Return the measured gas, by the name of what was done."""
    figures: dict[str, int] = json.loads(resources.files("contracts").joinpath("gas.json").read_text())
    return figures


def costs(community: Community, figures: Mapping[str, int]) -> list[Cost]:
    """Return the transactions of a round on the ledger, in the order in which they are made."""
    batches = math.ceil(community.votes / community.batch)
    registrations = math.ceil(community.new_voters / REGISTERED_AT_ONCE)
    finalize = figures["finalize_3_items"] + ITEM_GAS * max(0, community.videos + community.battles - 3)
    videos, voters, battles = community.videos, community.new_voters, community.battles
    commitments = RELEASE_COMMITMENTS if battles else 0
    vote_gas = community.votes * between(community.batch, _gas_a_vote(figures))
    vote_bytes = community.votes * between(community.batch, VOTE_BYTES)
    transactions = [
        _cost("open the round", 1, figures["open_round"], OPEN_BYTES),
        _cost("add a video", videos, videos * figures["add_video"], videos * VIDEO_BYTES),
        _cost("add a battle", battles, battles * figures["add_battle"], battles * BATTLE_BYTES),
        _cost("register new voters", registrations, voters * figures["register_a_voter"], voters * VOTER_BYTES),
        _cost("record votes", batches, vote_gas, vote_bytes),
        _cost("close the round", 1, figures["close_round"], CLOSE_BYTES),
        _cost("finalize the round", 1, finalize, FINALIZE_BYTES),
        _cost("reveal a battle", battles, battles * figures["reveal_battle"], battles * REVEAL_BYTES),
        _cost("make a commitment", commitments, commitments * figures["commit"], commitments * COMMIT_BYTES),
    ]
    return [cost for cost in transactions if cost.count]


def _cost(what: str, count: int, gas: float, calldata: float) -> Cost:
    return Cost(what, count, round(gas), round(calldata + count * TRANSACTION_BYTES))


def _gas_a_vote(figures: Mapping[str, int]) -> dict[int, int]:
    """Return the gas of a vote, by the votes in its batch."""
    name = "votes_typical_"
    return {int(key.removeprefix(name)): gas for key, gas in figures.items() if key.startswith(name)}


def between(batch: int, measured_at: Mapping[int, float]) -> float:
    """Interpolate between two measured sizes of a batch: what is paid once for a batch is shared by its votes."""
    sizes = sorted(measured_at)
    place = bisect.bisect_left(sizes, batch)
    if place == 0:
        return measured_at[sizes[0]] * sizes[0] / batch
    if place == len(sizes):
        return measured_at[sizes[-1]]
    below, above = sizes[place - 1], sizes[place]
    share = (math.log(batch) - math.log(below)) / (math.log(above) - math.log(below))
    return math.exp(math.log(measured_at[below]) * (1 - share) + math.log(measured_at[above]) * share)


def on_arbitrum(transactions: Sequence[Cost]) -> tuple[float, float]:
    """Return the least and the most that these transactions cost on Arbitrum One, in ETH, by the assumptions above."""
    gas = sum(cost.gas for cost in transactions)
    data_gas = sum(cost.data_bytes for cost in transactions) * ARBITRUM_DATA_GAS_A_BYTE
    quiet, busy = ((gas * ARBITRUM_BASE_FEE + data_gas * fee) / COIN for fee in ARBITRUM_DATA_FEES)
    return quiet, busy
