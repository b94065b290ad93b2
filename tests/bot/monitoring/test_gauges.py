"""The gauges of the bot's process."""

from __future__ import annotations

import math

from bot.monitoring.gauges import gauges_of
from contracts.relayer.relayer import RelayerStatus

BUSY = RelayerStatus(
    backlog=3, oldest_ms=1, in_flight=2, rejected=0, trouble="No node answers.", balance=10**18, active=True,
    needs_s=4.5, left_s=60.0,
)  # fmt: skip
UNKNOWN = RelayerStatus(
    backlog=0, oldest_ms=None, in_flight=0, rejected=0, trouble=None, balance=None, active=False,
    needs_s=0.0, left_s=None,
)  # fmt: skip


def test_gauges_show_gateway_and_relayer() -> None:
    """Each number is the one of the status, and trouble is 1."""
    assert gauges_of(BUSY, connected=True, latency_s=0.25) == {
        "flock_gateway_connected": 1.0,
        "flock_gateway_latency_seconds": 0.25,
        "flock_relayer_in_flight": 2.0,
        "flock_relayer_trouble": 1.0,
        "flock_relayer_needs_seconds": 4.5,
        "flock_relayer_left_seconds": 60.0,
        "flock_relayer_balance_wei": 1e18,
    }


def test_what_is_not_known_is_left_out() -> None:
    """No balance is not a balance of nothing, and a gateway that is away has no latency."""
    for latency_s in (math.nan, math.inf):
        assert gauges_of(UNKNOWN, connected=False, latency_s=latency_s) == {
            "flock_gateway_connected": 0.0,
            "flock_relayer_in_flight": 0.0,
            "flock_relayer_trouble": 0.0,
            "flock_relayer_needs_seconds": 0.0,
        }
