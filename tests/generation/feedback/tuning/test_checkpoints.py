"""Checkpoints: a training goes on as if nothing had been, never on another one's state; metrics without repeats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from generation.feedback.tuning.checkpoints import CheckpointError, Metrics, Place, load, save

# What torch warns of is its own.
pytestmark = pytest.mark.filterwarnings("ignore")


def training() -> tuple[dict[str, Any], Any]:
    import torch

    torch.manual_seed(0)
    parameters = {name: torch.nn.Parameter(torch.randn(3, 2)) for name in ("a", "b")}
    return parameters, torch.optim.AdamW(parameters.values(), lr=0.1)


def steps(parameters: dict[str, Any], optimizer: Any, numbers: range) -> None:
    for number in numbers:
        optimizer.zero_grad(set_to_none=True)
        loss = (parameters["a"] * number).square().sum()
        if number % 2:  # the second one is not asked at each step, as a denoiser for high noise
            loss = loss + (parameters["b"] + number).square().sum()
        loss.backward()
        optimizer.step()


def test_a_training_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    """Six steps at once, or three and three in two processes: bit by bit the same."""
    import torch

    path = tmp_path / "state.safetensors"
    whole, optimizer = training()
    steps(whole, optimizer, range(1, 7))
    first, optimizer = training()
    steps(first, optimizer, range(1, 4))
    save(path, first, optimizer, Place(0, 3), "identity")
    second, optimizer = training()
    assert load(path, second, optimizer, "identity") == Place(0, 3)
    steps(second, optimizer, range(4, 7))
    for name, parameter in whole.items():
        assert torch.equal(parameter, second[name])


def test_a_state_of_another_training_is_not_taken(tmp_path: Path) -> None:
    """Of other data, say; a damaged one, or none, is no state at all."""
    path = tmp_path / "state.safetensors"
    parameters, optimizer = training()
    save(path, parameters, optimizer, Place(1, 0), "identity")
    with pytest.raises(CheckpointError, match="other data, another model or another recipe"):
        load(path, parameters, optimizer, "another")
    path.write_bytes(path.read_bytes()[:50])
    assert load(path, parameters, optimizer, "identity") is None
    assert load(tmp_path / "nowhere", parameters, optimizer, "identity") is None


def test_metrics_of_steps_that_are_taken_again_are_written_once(tmp_path: Path) -> None:
    """Lines after the checkpoint go, half a line too; what was before it stays."""
    metrics = Metrics(tmp_path, keep=None)
    for step in (1, 2, 3):
        metrics.write(Place(0, step), loss=step / 2)
    metrics.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": 0, "st')
    again = Metrics(tmp_path, keep=Place(0, 2))
    again.write(Place(0, 3), loss=9.0)
    again.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.5), (2, 1.0), (3, 9.0)]
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_second_process_writes_nothing(tmp_path: Path) -> None:
    """Of several that train together the first one keeps the log."""
    Metrics(tmp_path, keep=None, writes=False).write(Place(0, 1), loss=1.0)
    assert list(tmp_path.iterdir()) == []
