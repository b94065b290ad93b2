"""The metrics that only the bot's own process knows: its gateway and its relayer."""

from __future__ import annotations

import math

from contracts.relayer.relayer import RelayerStatus


def gauges_of(status: RelayerStatus, *, connected: bool, latency_s: float) -> dict[str, float]:
    """Return the gauges by name. What is not known is left out: no number of it would be true."""
    gauges = {
        "flock_gateway_connected": float(connected),
        "flock_relayer_in_flight": float(status.in_flight),
        "flock_relayer_trouble": float(status.trouble is not None),
        "flock_relayer_needs_seconds": status.needs_s,
    }
    if math.isfinite(latency_s):
        gauges["flock_gateway_latency_seconds"] = latency_s
    if status.left_s is not None:
        gauges["flock_relayer_left_seconds"] = status.left_s
    if status.balance is not None:
        gauges["flock_relayer_balance_wei"] = float(status.balance)
    return gauges
