"""The Makefile's set-up, with a Python that installs nothing: it says how long it took, once."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Makes an environment whose `python` does the same, and ends with an error where pip is asked for this package.
PYTHON = """#!/bin/sh
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"$REFUSED"*) exit 1 ;;
esac
"""


def make(folder: Path, refused: str = "nothing at all") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "REFUSED": refused}
    command = ["make", "install", f"PYTHON={folder / 'python3'}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python3").write_text(PYTHON)
    (tmp_path / "python3").chmod(0o755)
    return tmp_path


def test_the_set_up_says_how_long_it_took(folder: Path) -> None:
    """Once: what is set up already is not set up again."""
    first = make(folder)
    assert first.returncode == 0, first.stderr
    assert re.search(r"^The set-up took \d+ s\.$", first.stderr, re.MULTILINE)
    second = make(folder)
    assert (second.returncode, "took" in second.stderr) == (0, False)


def test_a_set_up_that_fails_says_no_time(folder: Path) -> None:
    """It is no set-up, and the next call tries again."""
    failed = make(folder, refused="-e .[dev]")
    assert failed.returncode != 0
    assert "took" not in failed.stderr
    assert "took" in make(folder).stderr
