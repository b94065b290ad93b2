"""`flock demo --learn` as a person runs it: a community's votes train, a battle decides, and the audit agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PATIENT_S = 3600  # for machines that are busy; nothing is said here about how long it takes


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def told(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """The result of one telling, what was printed of it, and the state that it left."""
    if not pytestconfig.getoption("--long"):
        pytest.skip('it takes many minutes; run it by `make test ARGS="--long"`')
    state = tmp_path_factory.mktemp("learn") / "state"
    run = demo("--learn", "--once", "--json", "--taste", "large", "--state", str(state))
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout), run.stderr, state


def test_a_large_community_of_one_taste_votes(told: tuple[dict[str, Any], str, Path]) -> None:
    """Noisy and hostile voters among them; what the ledger holds is what they cast."""
    result, printed, _ = told
    assert result["taste"] == "large"
    assert result["voters"] >= 40
    assert result["noise"] > 0
    assert result["hostile"] >= 1
    assert result["votes"] == sum(sum(video["votes"].values()) for video in result["videos"])
    for video in result["videos"]:
        assert video["votes"] == {"up": video["chain"]["up"], "down": video["chain"]["down"]}
    assert "Only the voters know" in printed


def test_the_votes_train_and_a_battle_decides(told: tuple[dict[str, Any], str, Path]) -> None:
    """By the rule as it is: so many pairs, and the evidence without the k voters who helped most."""
    result, _, _ = told
    training, battle = result["training"], result["battle"]
    assert training["votes"] > 0
    assert training["pairs"] > 0
    assert training["seconds"] > 0
    if battle is None:
        assert result["refused"]
        assert result["release"] is None
        return
    assert 0 < training["drift"] <= 0.08 + 1e-6
    assert battle["pairs"] >= 90  # of 100, if some cannot be made
    assert battle["interval"][0] <= battle["win_rate"] <= battle["interval"][1]
    assert battle["k"] >= 2
    released = battle["verdict"] == "released"
    assert released == (battle["evidence"] >= battle["evidence_needed"])
    assert released == (result["release"] is not None) == (result["refused"] is None)
    assert battle["sentence"]
    for measure in ("adherence", "motion"):
        assert 0 < result[measure]["before"] <= 1
        assert 0 < result[measure]["after"] <= 1


def test_a_release_renders_and_is_on_the_ledger(told: tuple[dict[str, Any], str, Path]) -> None:
    """With its transaction, its file, and the pairs that the page shows; without one there is none of it."""
    result, printed, state = told
    release = result["release"]
    compared = list((state / "compared").glob("*.mp4"))
    if release is None:
        assert compared == []
        assert result["refused"] in printed
        return
    assert release["number"] == 1
    assert release["tx"].startswith("0x")
    assert (state / "data" / "adapters").is_dir()
    assert len(compared) == 6
    assert "made with release 1" in printed
    assert "Your votes moved this" in printed


def test_the_audit_agrees(told: tuple[dict[str, Any], str, Path]) -> None:
    """With the votes, the releases, and the data set."""
    result, _, _ = told
    assert result["audit"]["ok"] is True
    assert result["audit"]["votes"] == result["votes"]
    assert result["seconds"]["total"] > result["seconds"]["training"] > 0


def test_an_unknown_taste_is_refused_at_once() -> None:
    """In a sentence that names those that there are, and nothing is started."""
    run = demo("--learn", "--once", "--taste", "sour")
    assert run.returncode == 1
    assert "There is no taste 'sour'; those are warm" in run.stderr
    assert "Traceback" not in run.stderr


def test_only_the_community_that_learns_has_a_taste() -> None:
    """Without --learn the option is a mistake, and says so."""
    run = demo("--once", "--taste", "warm")
    assert run.returncode == 1
    assert "add --learn" in run.stderr
