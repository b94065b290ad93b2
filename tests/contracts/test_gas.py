"""What the ledger costs is written down, and a change of it is made on purpose."""

from __future__ import annotations

import json
from itertools import pairwise

from tests.contracts.measure_gas import SNAPSHOT, measure

AIMS = {"votes_dense_1000": 900, "votes_typical_1000": 2_600, "votes_registry_10000_1000": 3_000}


def test_every_figure_is_the_one_that_is_written_down() -> None:
    """To the last unit: `python tests/contracts/measure_gas.py --write` after a change, and tell why in its commit."""
    held = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert measure() == held


def test_the_figures_meet_their_aims() -> None:
    """Those that are written down, to which the test above holds the contract; a larger batch is cheaper a vote."""
    held = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert {name: held[name] for name in AIMS if held[name] > AIMS[name]} == {}
    for kind in ("dense", "typical", "registry_10000"):
        costs = [held[f"votes_{kind}_{size}"] for size in (1, 10, 100, 500, 1000)]
        assert all(more > less for more, less in pairwise(costs))
