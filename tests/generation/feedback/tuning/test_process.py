"""A training as a process: killed at any point it goes on to the same bytes; its result is read by another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, cast

import pytest

from generation.feedback.scoring.taste import load_taste
from generation.feedback.tuning.examples import Example
from generation.feedback.tuning.order import GUARDS, RESULT, TASTE, Order
from generation.feedback.tuning.process import untaught
from generation.feedback.tuning.recipe import Recipe
from generation.models.known_words import PromptReader
from tests.generation.feedback.tuning.training import data, model

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    folder = tmp_path_factory.mktemp("training")
    recipe = Recipe(steps=30, batch=4, warm_up=2, rank=2, save_every=5, tracked=0.5)
    return Order(str(data(folder / "data")), model("Wan", folder), str(folder / "whole"), recipe, guard_videos=2)


def begin(order: Order) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "generation.feedback", str(order.write())]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def test_a_killed_training_ends_with_the_same_bytes(order: Order, tmp_path: Path) -> None:
    """SIGKILL in the middle of the steps; the same order again, and another process that was never killed."""
    whole = begin(order)
    out, errors = whole.communicate()
    assert whole.returncode == 0, errors
    said = json.loads(out.splitlines()[-1])
    assert {"videos", "prompts", "guards"} <= {json.loads(line).get("progress") for line in out.splitlines()[:-1]}

    killed = replace(order, out=str(tmp_path / "killed"))
    process = begin(killed)
    state = tmp_path / "killed" / "checkpoint.safetensors"
    while not state.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / RESULT).exists()
    again = begin(killed)
    out, errors = again.communicate()
    assert again.returncode == 0, errors
    assert json.loads(out.splitlines()[-1])["sha256"] == said["sha256"]
    lines = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 31))

    folder = Path(order.out)
    assert json.loads((folder / RESULT).read_text())["sha256"] == said["sha256"]
    assert len(json.loads((folder / GUARDS).read_text())["sentences"]) == 5
    recipe = json.loads((folder / "recipe.json").read_text())
    assert load_taste(folder / TASTE, recipe["model"]).liking.votes == 8


def test_half_precision_and_checkpointing_train_as_well(order: Order, tmp_path: Path) -> None:
    """In two steps, of both kinds of saving memory."""
    recipe = replace(order.recipe, steps=2, precision="bf16", checkpointing=True)
    process = begin(replace(order, out=str(tmp_path / "out"), recipe=recipe, guard_videos=0))
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    said = json.loads(out.splitlines()[-1])
    assert said["drift"] > 0
    assert "guards" not in said


def test_an_order_of_nothing_is_a_sentence(order: Order, tmp_path: Path) -> None:
    """No trace: what is wrong, and what to do."""
    process = begin(replace(order, data=str(tmp_path), out=str(tmp_path / "out")))
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "holds no data set for tuning" in errors
    assert "Traceback" not in errors


def test_what_votes_cannot_teach_is_a_note() -> None:
    """Of a model that tells which words it knows; one that tells nothing has none, and no reader fails a training."""

    class Reader:
        values: ClassVar = {"colour": ["red", "blue"]}

        def values_in(self, prompt: str) -> list[tuple[str, str]]:
            return [("colour", each) for each in prompt.split() if each in self.values["colour"]]

    examples = [Example("v1", "a red circle", 1, up=1.0, down=0.0)]
    reader = cast(PromptReader, Reader())
    assert untaught(reader, examples) == [
        "Nobody has asked for colour 'blue' yet: votes cannot teach what no video shows."
    ]
    assert untaught(reader, [*examples, replace(examples[0], prompt="a blue one")]) == []
    assert untaught(None, examples) == []
    assert untaught(cast(PromptReader, object()), examples) == [
        "The words that no voted prompt has could not be listed (AttributeError)."
    ]
