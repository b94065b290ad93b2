"""`make bench-fraud` writes each figure that it promises, and notices a gate that can be bought."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generation.feedback.registration import Rule, rule_for
from tests.benchmarks import fraud
from tests.benchmarks.communities import World, ballots, gates, play
from tests.benchmarks.figures import write

TINY = fraud.Size(gates=10, lives=4, attempts=2, needed=10, price=4, groups=1)


def test_every_figure_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its aim where there is one, and what it was measured beside."""
    monkeypatch.setattr(fraud, "BALLOT_SIZES", (5,))
    figures = fraud.main(TINY)
    write(figures, tmp_path / "fraud.json")
    report = json.loads((tmp_path / "fraud.json").read_text())
    aims = {"false_releases", *(f"false_releases_bought_{number}" for number in (1, 2, 3)), "false_releases_mixed"}
    assert set(report["aims"]) == aims
    attacks = {"price_target_only", "price_catch_evasion", "price_sleepers", "price_bought_regulars"}
    assert attacks | {"voters_needed_60", "voters_needed_70", "voters_needed_80"} <= report.keys()
    assert all(report["beside"][figure.name] for figure in figures)


def test_a_gate_that_can_be_bought_is_noticed() -> None:
    """One that asks for a wealth of 3 and no removal releases in most lives with three bought voters; ours in few."""

    def lax(rule: Rule) -> Rule:
        return replace(fraud.without_removals(rule), wealth=3, min_voters=0)

    size = fraud.Size(lives=60, attempts=3)
    assert fraud.whole_lives(World(converted=3), size, 1, change=lax) > 0.3
    assert fraud.whole_lives(World(converted=3), size, 1) <= 0.05


def test_more_accounts_release_more_often() -> None:
    """Enough of them always do: a price exists, and a world without them has none to pay."""
    rule = rule_for(1, 0)
    rates = []
    for accounts in (0, 40):
        rounds = play(World(accounts=accounts, accounts_slip=0.0), 40, np.random.default_rng(1))
        rates.append(float((gates(ballots(rounds, rule), rule) > 0).mean()))
    assert rates == [0.0, 1.0]


def test_it_needs_no_torch() -> None:
    """Nor anything else of a worker's but numpy."""
    code = "import sys, tests.benchmarks.fraud; print(*(set(sys.modules) & {'torch', 'av', 'diffusers', 'discord'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []
