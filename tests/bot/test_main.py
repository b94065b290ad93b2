"""The `flock` command, as an operator meets it: help that reads well, and failures in one plain sentence."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bot.__main__ import main
from tests.builders.command_line import complete, flock, free_port, plain


def test_help_names_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`flock --help` is a page that a newcomer can act upon."""
    run = flock(tmp_path, "--help")
    assert run.returncode == 0
    for command in ("demo", "run", "worker", "migrate", "doctor", "deploy", "audit"):
        assert f"  {command} " in run.stdout
        with pytest.raises(SystemExit) as ended:  # a process for each takes its second; test_extras.py starts them all
            main([command, "--help"])
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: flock {command}")
    assert "first steps" in run.stdout


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    """A typing mistake shows what there is."""
    run = flock(tmp_path, "dance")
    assert run.returncode == 2
    assert "invalid choice" in run.stderr


@pytest.mark.parametrize("command", ["run", "worker", "migrate"])
def test_an_unreachable_database_is_a_sentence(tmp_path: Path, command: str) -> None:
    """Every process that needs the database says how to mend it, without its password."""
    url = f"postgresql://flock:secret-key-2@127.0.0.1:{free_port()}/flock"
    plain(
        flock(tmp_path, command, **{**complete(tmp_path), "FLOCK_DATABASE_URL": url}), "database", "FLOCK_DATABASE_URL"
    )


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a newer version, as far as its database says."""
    folder = tmp_path_factory.mktemp("newer")
    assert flock(folder, "migrate").returncode == 0
    with contextlib.closing(sqlite3.connect(folder / "data" / "flock.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    return folder / "data"


@pytest.mark.parametrize("command", ["migrate", "run", "worker", "workers"])
def test_a_database_of_a_newer_version_is_a_sentence(tmp_path: Path, newer: Path, command: str) -> None:
    """Whatever opens it says which FLock to run, and never that it would help to migrate."""
    settings = complete(tmp_path)
    shutil.copytree(newer, tmp_path / "data")
    run = flock(tmp_path, command, **settings)
    plain(run, "The database is of a newer FLock (9999)", "Run that version, or a newer one")
    assert "flock migrate" not in run.stderr


def test_the_worker_process_loads_no_discord_and_the_bot_no_torch(tmp_path: Path) -> None:
    """What a process need not have, it does not have."""
    script = (
        "import sys; import {module}; "
        "print([name for name in ('discord', 'web3', 'torch', 'diffusers', 'simcord') if name in sys.modules])"
    )
    found = {
        module: subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script.format(module=module)],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        ).stdout.strip()
        for module in ("generation.worker.worker", "bot.app")
    }
    assert found == {"generation.worker.worker": "[]", "bot.app": "['discord', 'web3']"}


def test_the_parser_of_all_commands_loads_only_what_all_need(tmp_path: Path) -> None:
    """Each command imports what it needs when it runs, and not when another one does."""
    heavy = ("discord", "web3", "eth_account", "torch", "diffusers", "simcord", "dbos", "aiohttp")
    script = f"import sys, bot.__main__ as m; m.build_parser(); print([n for n in {heavy!r} if n in sys.modules])"
    command = [sys.executable, "-W", "ignore", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.strip() == "[]"
