"""`flock doctor`: one list with remedies, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.builders.command_line import complete, flock, plain


def test_doctor_finds_what_is_wrong_and_names_remedies(tmp_path: Path) -> None:
    """One list: what is well, what is not, and what to do; as JSON for programs. No secret in either."""
    settings = complete(tmp_path)
    run = flock(tmp_path, "doctor", **settings)
    plain(run, "✓ settings", "✓ database", "✗ Discord", "✗ video host", "✗ ledger", "→")
    report = json.loads(flock(tmp_path, "doctor", "--json", **settings).stdout)
    assert report["ok"] is False
    assert {check["what"]: check["ok"] for check in report["checks"]}["database"] is True
    assert all(check["ok"] or check["remedy"] for check in report["checks"])
