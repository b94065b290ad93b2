"""How long it will still take: by this machine's own past renders, phase by phase."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from generation.worker import eta
from generation.worker.eta import KEPT, Estimate, History, kind_of

USUAL = {"prompt": 2.0, "step": 1.0, "decoding": 10.0, "encoding": 5.0}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(eta, "time", clock)
    return clock


def test_decoding_and_encoding_are_counted(clock: Clock) -> None:
    """From the first tick to the last: what is left after the last step is what usually follows it."""
    estimate = Estimate(USUAL)
    assert estimate.left("denoising", 0, 20) == 2 + 20 + 15
    clock.now += 3
    assert estimate.left("denoising", 1, 20) == 19 + 15
    clock.now += 2  # this one is twice as slow
    assert estimate.left("denoising", 2, 20) == 18 * 2 + 15
    clock.now += 36
    assert estimate.left("denoising", 20, 20) == 15
    assert estimate.left("encoding", 0, 1) == 15
    clock.now += 11
    assert estimate.left("encoding", 0, 1) == 4
    clock.now += 11
    assert estimate.left("encoding", 0, 1) == 0


def test_a_worker_without_history_says_what_it_sees(clock: Clock) -> None:
    """Nothing at first, then the steps by their pace; or how long such a video took elsewhere, if that is longer."""
    nothing = Estimate({})
    assert nothing.left("loading", 0, 1) is None
    assert nothing.left("denoising", 0, 4) is None
    assert nothing.left("denoising", 1, 4) is None
    clock.now += 5
    assert nothing.left("denoising", 2, 4) == 10
    assert nothing.left("encoding", 0, 1) is None
    elsewhere = Estimate({}, whole=60.0)
    clock.now += 20
    assert elsewhere.left("denoising", 1, 4) == 40
    clock.now += 30
    assert elsewhere.left("denoising", 2, 4) == 60


def test_the_past_of_the_same_kind_is_the_median(tmp_path: Path) -> None:
    """One slow render does not spoil it, another kind is not mixed in, and the oldest are forgotten."""
    history = History(tmp_path, "wan")
    assert history.usual("a") == {}
    for step in (1.0, 1.0, 90.0):
        history.add("a", {**USUAL, "step": step, "other": 1.0})
    history.add("b", {**USUAL, "step": 7.0})
    assert history.usual("a") == USUAL
    assert history.usual("b")["step"] == 7.0
    for _ in range(KEPT):
        history.add("a", {**USUAL, "step": 3.0})
    assert history.usual("a")["step"] == 3.0
    assert history.usual("b")["step"] == 7.0
    [file] = (tmp_path / "timings").iterdir()
    assert len(json.loads(file.read_text())) == KEPT + 1


@pytest.mark.parametrize("damage", ["", "[1, {}]", "{}", '[{"kind": "a", "step": "x"}]', "\x00"])
def test_a_damaged_file_is_no_history(tmp_path: Path, damage: str) -> None:
    """It is written anew with the next render."""
    (tmp_path / "timings").mkdir()
    (tmp_path / "timings" / "wan.json").write_text(damage)
    history = History(tmp_path, "wan")
    assert history.usual("a") == {}
    history.add("a", USUAL)
    assert history.usual("a") == USUAL


def test_another_device_or_setting_is_another_kind() -> None:
    """What is only said does not matter; what makes it slower does."""
    loaded = {"revision": "r", "preset": {"steps": 3}, "device": "cpu", "settings": {"offload": "none"}, "said": []}
    assert kind_of({**loaded, "said": ["x"], "seconds": 3}) == kind_of(loaded)
    assert kind_of({**loaded, "device": "GPU"}) != kind_of(loaded)
    assert kind_of({**loaded, "preset": {"steps": 4}}) != kind_of(loaded)
    assert kind_of({**loaded, "settings": {"offload": "model"}}) != kind_of(loaded)
