"""How long it will still take: by this machine's own past renders, phase by phase."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from generation.worker import eta
from generation.worker.eta import MOST_RENDERS, Estimate, History, kind_of
from tests.builders.renders import loaded_model

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
    assert estimate.remaining("denoising", 0, 20) == 2 + 20 + 15
    clock.now += 3
    assert estimate.remaining("denoising", 1, 20) == 19 + 15
    clock.now += 2  # this one is twice as slow
    assert estimate.remaining("denoising", 2, 20) == 18 * 2 + 15
    clock.now += 36
    assert estimate.remaining("denoising", 20, 20) == 15
    assert estimate.remaining("encoding", 0, 1) == 15
    clock.now += 11
    assert estimate.remaining("encoding", 0, 1) == 4
    clock.now += 11
    assert estimate.remaining("encoding", 0, 1) == 0


def test_a_worker_without_history_says_what_it_sees(clock: Clock) -> None:
    """Nothing at first, then the steps by their pace; or how long such a video took elsewhere, if that is longer."""
    nothing = Estimate({})
    assert nothing.remaining("loading", 0, 1) is None
    assert nothing.remaining("denoising", 0, 4) is None
    assert nothing.remaining("denoising", 1, 4) is None
    clock.now += 5
    assert nothing.remaining("denoising", 2, 4) == 10
    assert nothing.remaining("encoding", 0, 1) is None
    elsewhere = Estimate({}, whole=60.0)
    clock.now += 20
    assert elsewhere.remaining("denoising", 1, 4) == 40
    clock.now += 30
    assert elsewhere.remaining("denoising", 2, 4) == 60


def test_the_past_of_the_same_kind_is_the_median(tmp_path: Path) -> None:
    """One slow render does not spoil it, another kind is not mixed in, and the oldest are forgotten."""
    history = History(tmp_path, "wan")
    assert history.usual("a") == {}
    for step in (1.0, 1.0, 90.0):
        history.add("a", {**USUAL, "step": step, "other": 1.0})
    history.add("b", {**USUAL, "step": 7.0})
    assert history.usual("a") == USUAL
    assert history.usual("b")["step"] == 7.0
    for _ in range(MOST_RENDERS):
        history.add("a", {**USUAL, "step": 3.0})
    assert history.usual("a")["step"] == 3.0
    assert history.usual("b")["step"] == 7.0
    [file] = (tmp_path / "timings").iterdir()
    assert len(json.loads(file.read_text())) == MOST_RENDERS + 1


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
    model = loaded_model(offload="none")
    assert kind_of(replace(model, notes=["x"], seconds=3)) == kind_of(model)
    assert kind_of(replace(model, device="GPU")) != kind_of(model)
    assert kind_of(replace(model, preset=replace(model.preset, steps=4))) != kind_of(model)
    assert kind_of(replace(model, settings=replace(model.settings, offload="model"))) != kind_of(model)


def test_a_kind_keeps_its_name_from_release_to_release() -> None:
    """It stands in files on disk: under another name a worker would have no history."""
    assert kind_of(loaded_model(device="cpu", offload="none")) == "3a71f1fdd14899f2"
