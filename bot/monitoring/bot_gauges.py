"""The metrics that only the bot's process knows: its gateway, and its relayer."""

from __future__ import annotations

import math

from contracts.relayer.relayer import RelayerStatus


def gauges_of(relayer: RelayerStatus, *, connected: bool, latency_s: float) -> dict[str, float]:
    """Return the gauges; what is not known is left out. `connected` and `latency_s` are the gateway's."""
    gauges = {
        "flock_gateway_connected": float(connected),
        "flock_relayer_in_flight": float(relayer.in_flight),
        "flock_relayer_trouble": float(relayer.trouble is not None),
        "flock_relayer_needs_seconds": relayer.needs_s,
    }
    if math.isfinite(latency_s):
        gauges["flock_gateway_latency_seconds"] = latency_s
    if relayer.left_s is not None:
        gauges["flock_relayer_left_seconds"] = relayer.left_s
    if relayer.balance is not None:
        gauges["flock_relayer_balance_wei"] = float(relayer.balance)
    return gauges
