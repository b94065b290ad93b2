"""A database that a newer FLock has written: each command says so in a sentence, and changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from migrations.database import upgrade_database
from tests.builders.command_line import complete, flock, plain

SAYS = "newer FLock (0099)"


@pytest.fixture
async def newer(tmp_path: Path) -> Path:
    """The database of the folder, as a newer FLock would have left it."""
    file = tmp_path / "data" / "flock.db"
    await upgrade_database(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    return file


@pytest.mark.parametrize(
    "arguments",
    [["migrate"], ["run"], ["worker"], ["workers"], ["audit", "--with-database"], ["doctor"], ["doctor", "--worker"]],
    ids=" ".join,
)
def test_a_command_says_so_in_a_sentence(tmp_path: Path, newer: Path, arguments: list[str]) -> None:
    """No traceback, exit code 1 (an audit's that cannot tell: 2), what to do; and the database is as it was."""
    before = contents(newer)
    run = flock(tmp_path, *arguments, **complete(tmp_path))
    plain(run, SAYS, "Run that version, or a newer one", code=2 if arguments[0] == "audit" else 1)
    assert run.stderr.count("\n") <= 3, run.stderr
    assert contents(newer) == before


def test_a_backup_of_it_is_made_but_not_restored(tmp_path: Path, newer: Path) -> None:
    """To keep it is wise; in the place of the database of now it would only end every start. An older one goes in."""
    older, kept = str(tmp_path / "older.db"), str(tmp_path / "kept.db")
    set_revision(newer, "0011")
    assert flock(tmp_path, "backup", older).returncode == 0
    set_revision(newer, "0099")
    assert flock(tmp_path, "backup", kept).returncode == 0
    plain(flock(tmp_path, "restore", kept, "--force"), SAYS, "Run that version, or a newer one")
    assert contents(newer)[-1] == ("0099",)
    restored = flock(tmp_path, "restore", older)
    assert restored.returncode == 0, restored.stderr
    assert contents(newer)[-1] == ("0011",)


@pytest.mark.parametrize("arguments", [["models"], ["costs", "--help"]], ids=" ".join)
def test_what_needs_no_database_works(tmp_path: Path, newer: Path, arguments: list[str]) -> None:
    """Nothing is said of a database that is not read."""
    run = flock(tmp_path, *arguments)
    assert run.returncode == 0, run.stderr
    assert "newer" not in run.stdout + run.stderr
    assert newer.exists()


def set_revision(file: Path, revision: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def contents(file: Path) -> list[tuple[str, ...]]:
    """Return the schema and the version of a database."""
    with sqlite3.connect(file) as connection:
        tables = connection.execute("SELECT name, coalesce(sql, '') FROM sqlite_master ORDER BY name").fetchall()
        return [*tables, *connection.execute("SELECT version_num FROM alembic_version").fetchall()]
