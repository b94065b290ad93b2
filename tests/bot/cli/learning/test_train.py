"""`flock train`: the bot writes an order and starts another process; what cannot be tuned is a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from bot.__main__ import build_parser
from bot.cli.learning import train
from bot.domain.errors import OperatorError
from bot.settings import Settings


def arguments(folder: Path, *more: str) -> Namespace:
    return build_parser().parse_args(["train", str(folder / "data"), "--out", str(folder / "out"), *more])


def settings(folder: Path) -> Settings:
    return Settings(_env_file=None, data_dir=folder / "state")


def test_the_order_is_what_the_command_line_says(tmp_path: Path) -> None:
    """The embedded model unless another is named, and the recipe's own numbers unless others are given."""
    (tmp_path / "data").mkdir()
    order = train.order_of(settings(tmp_path), arguments(tmp_path, "--method", "dpo", "--steps", "9"))
    assert (order.model.id, order.recipe.method, order.recipe.steps) == ("tiny", "dpo", 9)
    assert (order.data, order.out) == (str(tmp_path / "data"), str(tmp_path / "out"))
    assert order.recipe.rank == 8
    assert (order.live, order.handover) == (None, None)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "none"], "There is no model 'none'"),
        (["--steps", "0"], "steps must be above 0"),
        ([], "flock export"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_a_sentence(more: list[str], words: str, tmp_path: Path) -> None:
    """Nothing is written for it."""
    if more:
        (tmp_path / "data").mkdir()
    with pytest.raises(OperatorError, match=words):
        train.order_of(settings(tmp_path), arguments(tmp_path, *more))
    assert not (tmp_path / "out").exists()


def test_a_training_in_the_folder_is_not_begun_again_by_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only with --resume."""
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / train.FILE).write_text("{}")
    monkeypatch.setattr(train, "load_settings", lambda: settings(tmp_path))
    monkeypatch.setattr(train, "require", lambda *_: None)
    monkeypatch.setattr(train, "train", lambda _order: 0)
    with pytest.raises(OperatorError, match="--resume"):
        train.run(arguments(tmp_path))
    assert train.run(arguments(tmp_path, "--resume")) == 0


def test_progress_and_result_are_shown_as_people_read_them() -> None:
    """Whatever else the process writes comes through as it is."""
    assert train.shown('{"progress": "steps", "done": 3, "of": 9}') == "steps: 3 of 9\n"
    result = {"adapter": "a", "sha256": "s", "drift": 0.05, "notes": ["n"], "guards": {"sentences": ["g"]}}
    text = train.shown(json.dumps(result))
    assert "The candidate is a" in text
    assert "  guard   g\n  note    n\n" in text
    assert "README.md has the command" in train.shown('{"handover": "/x", "videos": 3}')
    assert train.shown("a warning\n") == "a warning\n"


def test_the_bot_imports_nothing_of_a_training() -> None:
    """Neither torch nor numpy, for the command's sake."""
    code = (
        "import sys, bot.cli.learning.train; sys.exit(bool({'torch', 'numpy', 'peft', 'diffusers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
