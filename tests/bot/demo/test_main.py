"""The options of `flock demo`; tests/acceptance runs the command itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.demo.main import DemoOptions, run_demo
from bot.domain.errors import OperatorError


def test_chaos_and_once_exclude_each_other(tmp_path: Path) -> None:
    """It is said at once, and nothing is started or written."""
    with pytest.raises(OperatorError, match="leave --once out"):
        run_demo(DemoOptions(once=True, chaos=1, state=tmp_path / "state"))
    assert list(tmp_path.iterdir()) == []
