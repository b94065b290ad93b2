"""A folder of its own for each test of the doctor, and no setting that it has not made."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.settings import Settings


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FLOCK_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
