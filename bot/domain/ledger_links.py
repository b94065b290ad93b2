"""What everybody may know of the ledger: where it is, how a transaction is looked up, how all of it is recomputed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.deploy import read_deployment


@dataclass(frozen=True)
class PublicLedger:
    """`rpc` is a node that anybody may ask, or None: ours may have a key in its address.

    `since` is the block of the ledger's deployment where it is known: an audit need not look for it then.
    """

    address: str
    rpc: str | None = None
    explorer_tx_url: str | None = None
    since: int | None = None

    def transaction(self, tx: str) -> str:
        """A transaction in markdown, with a link where there is an explorer."""
        short = f"`{tx[:10]}…`"
        return f"[{short}]({self.explorer_tx_url.format(tx=tx)})" if self.explorer_tx_url else f"`{tx}`"

    def audit_command(self, number: int | None) -> str:
        """What anyone types to recompute a round, by its number on the ledger; every round where it has none yet."""
        since = f" --since {self.since}" if self.since is not None else ""
        which = f" --round {number}" if number is not None else ""
        return f"flock audit --rpc {self.rpc or 'URL'} --ledger {self.address}{since}{which}"


def deployed_in(record: Path, address: str) -> int | None:
    """The block of a ledger's deployment, by the record of `flock deploy`; None where it tells of another, or none."""
    try:
        deployment = read_deployment(record)
    except (ValueError, OSError):
        return None
    return deployment.block if deployment and deployment.address.lower() == address.lower() else None
