"""`flock costs`: an estimate of what a round costs on the chain."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bot.cli.process import Commands, write
from bot.domain.errors import OperatorError
from bot.settings import load_settings
from contracts.costs import LEFT_OUT, Community, Cost, assumptions, costs, measured, on_arbitrum
from contracts.units import COIN, GWEI

if TYPE_CHECKING:
    from contracts.rpc.node import Fees


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser(
        "costs",
        help="estimate what a round costs on the chain",
        description="Estimates a round's cost from measured gas: on the configured chain at its current fee, and on "
        "Arbitrum One on paper, with the assumptions printed.",
    )
    usual = Community()
    parser.add_argument("--videos", type=int, default=usual.videos, metavar="N", help="videos (default: %(default)s)")
    parser.add_argument("--voters", type=int, default=usual.voters, metavar="N", help="voters (default: %(default)s)")
    parser.add_argument("--new-voters", type=int, metavar="N", help="voters who never voted before (default: all)")
    parser.add_argument("--votes", type=int, metavar="N", help="votes, changes included (default: two per voter)")
    parser.add_argument(
        "--battles", type=int, default=usual.battles, metavar="N", help="battles about a release (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", type=int, default=usual.batch, metavar="N", help="votes that arrive together (default: %(default)s)"
    )
    parser.add_argument(
        "--usd",
        type=float,
        default=3000.0,
        metavar="PRICE",
        help="the price of one ETH in US dollars (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print the estimate as JSON")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the estimate."""
    settings = load_settings()
    voters = arguments.voters
    try:
        community = Community(
            videos=arguments.videos,
            voters=voters,
            new_voters=voters if arguments.new_voters is None else arguments.new_voters,
            votes=2 * voters if arguments.votes is None else arguments.votes,
            batch=arguments.batch,
            battles=arguments.battles,
        )
    except ValueError as error:
        raise OperatorError(str(error)) from error
    estimate = asyncio.run(estimate_costs(settings.rpc_url, community, usd=arguments.usd))
    write(estimate.json() if arguments.json else estimate.text())
    return 0


async def estimate_costs(rpc_url: str | None, community: Community, *, usd: float) -> Estimate:
    """Return the estimate; `usd` is the price of one ETH. Raises OperatorError when the chain does not answer."""
    live = await _live_fees(rpc_url) if rpc_url else None
    return Estimate(community, costs(community, measured()), live, usd)


async def _live_fees(rpc_url: str) -> tuple[int, Fees]:
    from contracts.rpc.node import LedgerError, Node

    node = Node(rpc_url)
    try:
        return await node.chain_id(), await node.fees()
    except LedgerError as error:
        raise OperatorError(str(error)) from error
    finally:
        await node.close()


@dataclass(frozen=True)
class Estimate:
    """The cost of a round: its transactions, and the chain's id and current fees where a chain is configured."""

    community: Community
    transactions: Sequence[Cost]
    live: tuple[int, Fees] | None
    usd: float  # the price of one ETH

    @property
    def gas(self) -> int:
        """The gas of all transactions."""
        return sum(cost.gas for cost in self.transactions)

    @property
    def data_bytes(self) -> int:
        """The compressed bytes of all transactions."""
        return sum(cost.data_bytes for cost in self.transactions)

    def text(self) -> str:
        """Return the lines to read; ends with a newline."""
        community = self.community
        count = sum(cost.count for cost in self.transactions)
        battles = f" and {community.battles:,} battles" if community.battles else ""
        lines = [
            f"A round of {community.videos:,} videos{battles}, {community.votes:,} votes of {community.voters:,} "
            f"members ({community.new_voters:,} of them new), up to {community.batch:,} votes in a batch:",
            *(f"{cost.count:>8,} × {cost.what:<22}{cost.gas:>14,} gas" for cost in self.transactions),
            f"{count:>8,} transactions in all {self.gas:>16,} gas, {self.gas / community.votes:,.0f} per vote",
            "",
            *self._live_lines(),
            *self._arbitrum_lines(),
        ]
        return "\n".join(lines) + "\n"

    def _live_lines(self) -> list[str]:
        if self.live is None:
            return ["On your chain: set FLOCK_RPC_URL to see the cost at its current fee."]
        chain_id, fees = self.live
        fee = fees.base + fees.tip
        return [
            f"On chain {chain_id} now, at {fee / GWEI:.4g} gwei per unit of gas: {self.gas * fee / COIN:.6f} coin.",
            "A rollup charges for the data besides; its own estimate of a transaction includes both.",
        ]

    def _arbitrum_lines(self) -> list[str]:
        quiet, busy = on_arbitrum(self.transactions)
        assumed = assumptions(self.community.batch)
        return [
            f"On Arbitrum One, on paper: {quiet:.6f} to {busy:.6f} ETH, "
            f"${quiet * self.usd:,.2f} to ${busy * self.usd:,.2f}.",
            f"  Assumed: {assumed['gwei_a_gas']:g} gwei per unit of gas, the lowest price there; "
            f"{assumed['data_gas_a_byte']:g} units of data gas per byte, at {assumed['gwei_a_data_gas_least']:g} to "
            f"{assumed['gwei_a_data_gas_most']:g} gwei; ${self.usd:,.0f} for one ETH.",
            f"  Compressed bytes: {assumed['bytes_a_vote']:g} per vote, {assumed['bytes_a_voter']:g} per new voter, "
            f"{assumed['bytes_a_video']:g} per video, {assumed['bytes_a_transaction']:g} more per transaction; "
            f"{self.data_bytes:,} in all.",
            f"  {LEFT_OUT}",
        ]

    def json(self) -> str:
        """Return the same as one JSON object; ends with a newline."""
        live = None
        if self.live is not None:
            chain_id, fees = self.live
            price = fees.base + fees.tip
            live = {"chain_id": chain_id, "wei_a_gas": price, "wei": self.gas * price}
        least, most = on_arbitrum(self.transactions)
        report = {
            "round": asdict(self.community),
            "gas": self.gas,
            "transactions": [asdict(cost) for cost in self.transactions],
            "live": live,
            "arbitrum_one_on_paper": {
                "eth_least": least,
                "eth_most": most,
                "usd_least": least * self.usd,
                "usd_most": most * self.usd,
                "data_bytes": self.data_bytes,
                "assumed": {**assumptions(self.community.batch), "eth_usd": self.usd},
            },
            "left_out": LEFT_OUT,
        }
        return json.dumps(report) + "\n"
