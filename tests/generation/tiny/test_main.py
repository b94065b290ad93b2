"""`python -m generation.tiny`, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MAKE = [sys.executable, "-m", "generation.tiny"]


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["train", "--rounds", "5"]], ids=["none", "two", "too many"])
def test_a_wrong_command_line_is_answered_with_its_usage(arguments: list[str], tmp_path: Path) -> None:
    """Nothing is made."""
    said = subprocess.run([*MAKE, *arguments], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert said.stderr.startswith("usage: python -m generation.tiny FOLDER")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Where the parent is a file there is a sentence, no trace, and the file stays as it was."""
    (tmp_path / "file").write_text("mine")
    said = subprocess.run([*MAKE, str(tmp_path / "file" / "tiny")], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert (tmp_path / "file").read_text() == "mine"
