"""The doctor's checks by their names, for settings that a test makes."""

from __future__ import annotations

import pytest

from bot.doctor.check import Check
from bot.doctor.report import examine


def set_up(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], **changed: str) -> None:
    """Put the settings among these values into the environment."""
    for name, value in {**values, **changed}.items():
        if name.startswith("FLOCK_"):
            monkeypatch.setenv(name, value)


async def checks_of(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], **changed: str) -> dict[str, Check]:
    """Return the checks with these settings; each that failed has a remedy."""
    set_up(monkeypatch, values, **changed)
    checks = await examine(timeout=10.0)
    assert all(check.ok or check.remedy for check in checks)
    return {check.name: check for check in checks}
