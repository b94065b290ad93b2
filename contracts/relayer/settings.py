"""The settings of the relayer, as values: nothing here reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.relayer.planning.draft import DraftSettings


@dataclass(frozen=True)
class RelayerSettings:
    """The way the relayer works. Times in seconds, fees in wei for a unit of gas.

    A transaction is final `confirmations` blocks deep, its own included, or at or below the block of `final_tag`
    (safe, finalized) where the chain offers one. One that is in no block after `bump_s` offers more for gas, up to
    `max_fee`; with `bumps` None the chain's id decides whether that helps there. Final transactions are checked again
    every `recheck_s`.
    """

    drafts: DraftSettings = field(default_factory=DraftSettings)
    chain_id: int | None = None
    confirmations: int = 1
    final_tag: str | None = None
    poll_s: float = 1.0
    rebroadcast_s: float = 15.0
    longest_pause_s: float = 60.0
    lease_s: float = 60.0
    max_fee: int | None = None
    bumps: bool | None = None
    bump_s: float = 45.0
    recheck_s: float = 10.0
