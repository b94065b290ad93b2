"""`make bench` runs, with numbers too small to say anything, and says what it must.

A part that needs processes of FLock is measured in a long run alone: those take minutes to start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.__main__ import PARTS
from tests.benchmarks.figures import Figure, write

# Of each part the figures that are always there, and are more than nothing.
NAMES = {
    "commits": {"votes_vs_commit_each"},
    "growth": {
        "growth_vote_burst",
        "growth_vote_burst_sqlite",
        "growth_vote_burst_postgresql",
        "growth_standings",
        "growth_worst",
    },
    "gas": {"gas_per_vote_baseline", "gas_vs_baseline_dense"},
    "relay": {"relay_votes_per_s_embedded", "relay_latency_p50_s", "relay_latency_p99_s"},
    "clicks": {"vote_acks_per_s", "vote_ack_p99_ms", "vote_acks_per_s_busy", "vote_ack_p99_ms_busy"},
    "render": {"worker_overhead", "pipeline_overlap"},
    "tiny": {"tiny_seconds_a_video", "tiny_memory_mb"},
    "encode": {"encode_s", "encode_vs_bare"},
    "uploads": {"upload_resume_ok"},
}
# Those that depend on the small numbers, or may be nothing.
MORE = {
    "gas": {"gas_per_vote_dense_20", "gas_per_vote_typical_20", "gas_per_vote_registry_300"},
    "tiny": {"tiny_colour_accuracy", "tiny_shape_accuracy", "tiny_motion_accuracy"},
}
ON_ANVIL = {"relay_votes_per_s_anvil", "faults_survived"}
ALONE = ("commits", "gas", "encode")  # parts that start no process of FLock


def measure(out: Path, *parts: str) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """Measure those parts, or all; return what was written to the file, after a look at what every part must say."""
    only = [word for part in parts for word in ("--only", part)]
    argv = [sys.executable, "-m", "tests.benchmarks", "--small", "--out", str(out), *only]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(out.read_text())
    for part in parts or NAMES:
        for name in NAMES[part]:
            assert told[name] > 0
            assert name in done.stdout
        assert told.keys() >= MORE.get(part, set())
    assert set(told) >= {"machine", "aims", "beside", "by_kind"}
    assert told["machine"]["cores"] >= 1
    # Twenty votes cannot be as cheap as a thousand: an aim that is missed is said to be.
    assert told["aims"]["gas_per_vote_dense_20"] == {"aim": "≤ 900", "met": False}
    assert "NOT MET" in done.stdout
    return told, done


def test_figures_are_measured_and_written(tmp_path: Path) -> None:
    """The file holds each figure, its aim, what it was measured beside, and the machine; the table shows them."""
    told, _ = measure(tmp_path / "bench.json", *ALONE)
    assert not told.keys() & {name for part in NAMES.keys() - set(ALONE) for name in NAMES[part]}


@pytest.mark.usefixtures("in_a_long_run")
def test_every_figure_is_measured_and_written(tmp_path: Path) -> None:
    """So are those for which bot, worker, chain and host are started, and the faults survived are told by kind."""
    told, done = measure(tmp_path / "bench.json")
    assert told.keys() >= ON_ANVIL or "anvil is not installed" in done.stderr
    if "faults_survived" in told:
        by_kind = told["by_kind"]["faults_survived"]
        assert sum(by_kind.values()) == told["faults_survived"]
        assert by_kind["SIGKILL after send"] >= 1


def test_each_part_is_known_here() -> None:
    """The figures of a new part are looked at as well; the page is lived through in tests/acceptance/test_page.py."""
    assert set(NAMES) == set(PARTS) - {"page"}
    assert {*MORE, *ALONE} <= set(NAMES)


@pytest.mark.parametrize(("value", "met"), [(899, True), (900, True), (901, False)])
def test_an_aim_is_met_or_not(value: float, met: bool) -> None:
    """Up to the aim and no further, in either direction; without an aim there is nothing to meet."""
    assert Figure("gas", value, "", at_most=900).met is met
    assert Figure("ratio", 1800 - value, "", at_least=900).met is met
    assert Figure("seconds", value, "").met is None


def test_a_total_is_written_with_what_it_is_made_of(tmp_path: Path) -> None:
    """By kind, as numbers that a program can read; a figure that is no total of kinds has none."""
    figures = [Figure("faults", 5, "in all", by_kind={"reorganisation of 2": 3, "429": 2}), Figure("seconds", 1.5, "")]
    write(figures, tmp_path / "build" / "bench.json")
    told = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert (told["faults"], told["seconds"]) == (5, 1.5)
    assert told["by_kind"] == {"faults": {"reorganisation of 2": 3, "429": 2}}


def families(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.benchmarks.families", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)


def test_every_architecture_can_be_measured(tmp_path: Path) -> None:
    """Each with a few layers: a step, one that a cache leaves out, and what it was measured on."""
    out = tmp_path / "families.json"
    done = families("--small", "--no-compile", "--steps", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(out.read_text())
    assert [entry["family"] for entry in told] == families("--list").stdout.splitlines()
    for entry in told:
        assert entry["plain"]["step_s"] > 0
        assert entry["device"]
        assert entry["tokens"] > 0
    assert sum(isinstance(entry["cached"], dict) for entry in told) >= 4


def test_an_unknown_architecture_is_answered_with_a_sentence() -> None:
    """And with where the known ones are named."""
    said = families("--family", "Wan 9")
    assert said.returncode == 2
    assert "there is no architecture 'Wan 9'; --list names them" in said.stderr
