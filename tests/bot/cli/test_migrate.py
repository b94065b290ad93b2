"""`flock migrate`: the database of this version, or a sentence."""

from __future__ import annotations

from pathlib import Path

from tests.builders.command_line import flock


def test_migrate_makes_the_database(tmp_path: Path) -> None:
    """`flock migrate` needs no other setting."""
    run = flock(tmp_path, "migrate")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "data" / "flock.db").exists()
