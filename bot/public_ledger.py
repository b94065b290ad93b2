"""What everybody may know of the ledger: where it is, how a transaction is looked up, how all of it is recomputed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublicLedger:
    """`rpc` is a node that anybody may ask, or None: ours may have a key in its address."""

    address: str
    rpc: str | None = None
    explorer_tx_url: str | None = None

    def transaction(self, tx: str) -> str:
        """A transaction in markdown, with a link where there is an explorer."""
        short = f"`{tx[:10]}…`"
        return f"[{short}]({self.explorer_tx_url.format(tx=tx)})" if self.explorer_tx_url else f"`{tx}`"

    def audit_command(self, number: int | None) -> str:
        """What anyone types to recompute a round, by its number on the ledger; every round where it has none yet."""
        which = f" --round {number}" if number is not None else ""
        return f"flock audit --chain-only --rpc {self.rpc or 'URL'} --ledger {self.address}{which}"
