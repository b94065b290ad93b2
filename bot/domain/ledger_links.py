"""The public facts about the ledger: its address, links to its transactions, and the command that recomputes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.deploy import Deployment, read_deployment


@dataclass(frozen=True)
class PublicLedger:
    """The ledger as everybody may see it.

    `rpc` is a node that anybody may ask, or None, since the address of our own node may hold a key. `since` is the
    block of the ledger's deployment, if known: an audit need not search for it then. With `chain_id`, also from there,
    an audit refuses a node of another chain.
    """

    address: str
    rpc: str | None = None
    explorer_tx_url: str | None = None
    since: int | None = None
    chain_id: int | None = None

    def transaction(self, tx: str) -> str:
        """Return a transaction in markdown, with a link where there is an explorer."""
        short = f"`{tx[:10]}…`"
        return f"[{short}]({self.explorer_tx_url.format(tx=tx)})" if self.explorer_tx_url else f"`{tx}`"

    def audit_command(self, number: int | None) -> str:
        """Return the command that recomputes a round by its number on the ledger, or every round for None."""
        since = f" --since {self.since}" if self.since is not None else ""
        chain = f" --chain {self.chain_id}" if self.chain_id is not None else ""
        selection = f" --round {number}" if number is not None else ""
        return f"flock audit --rpc {self.rpc or 'URL'} --ledger {self.address}{since}{chain}{selection}"


def deployed_in(record: Path, address: str) -> int | None:
    """Return the block in which a ledger was deployed, from the record of `flock deploy`; None where none tells."""
    deployment = deployment_of(record, address)
    return None if deployment is None else deployment.block


def deployment_of(record: Path, address: str) -> Deployment | None:
    """Return the deployment of a ledger, from the record of `flock deploy`.

    None where there is no readable record, or where it is about another ledger.
    """
    try:
        deployment = read_deployment(record)
    except (ValueError, OSError):
        return None
    return deployment if deployment and deployment.address.lower() == address.lower() else None
