"""The gauges of the bot's process: whoever reads them is told nothing that is not known."""

from __future__ import annotations

import math
from typing import Any

from bot.monitoring.bot_gauges import gauges_of
from contracts.relayer.relayer import RelayerStatus


def a_status(**values: Any) -> RelayerStatus:
    return RelayerStatus(backlog=0, oldest_ms=None, rejected=0, active=True, **values)


def test_what_is_not_known_is_left_out() -> None:
    """The latency before the first heartbeat, for one; a trouble is a one."""
    status = a_status(balance=None, in_flight=2, trouble="no money", left_s=None, needs_s=3.0)
    assert gauges_of(status, connected=True, latency_s=math.nan) == {
        "flock_gateway_connected": 1.0,
        "flock_relayer_in_flight": 2.0,
        "flock_relayer_trouble": 1.0,
        "flock_relayer_needs_seconds": 3.0,
    }
    known = gauges_of(
        a_status(balance=7, in_flight=0, trouble=None, left_s=5.0, needs_s=0.0), connected=False, latency_s=0.25
    )
    assert known["flock_relayer_balance_wei"] == 7.0
    assert known["flock_relayer_left_seconds"] == 5.0
    assert known["flock_gateway_latency_seconds"] == 0.25
    assert known["flock_gateway_connected"] == known["flock_relayer_trouble"] == 0.0
