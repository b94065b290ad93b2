"""The `flock` command, as an operator meets it: help that reads well, and failures in one plain sentence."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

SECRETS = {
    "FLOCK_DISCORD_TOKEN": "secret-token-1",
    "FLOCK_LIVEPEER_API_KEY": "secret-key-2",
    "FLOCK_VOTER_PEPPER": "secret-pepper-3-" + "x" * 32,
}


def free_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def flock(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**kept, **settings},
    )


def complete(folder: Path) -> dict[str, str]:
    """Settings with which `flock run` would start, if anything answered at its addresses."""
    key = folder / "key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    nobody = f"http://127.0.0.1:{free_port()}"
    return {
        **SECRETS,
        "FLOCK_DISCORD_API_BASE": f"{nobody}/api/v10",
        "FLOCK_LIVEPEER_API_BASE": f"{nobody}/api",
        "FLOCK_RPC_URL": nobody,
        "FLOCK_LEDGER_ADDRESS": "0x" + "1" * 40,
        "FLOCK_KEYSTORE": str(key),
    }


def plain(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """It failed with a sentence: no traceback, no secret."""
    assert run.returncode == 1, run.stderr
    text = run.stdout + run.stderr
    for word in words:
        assert word in text, text
    assert "Traceback" not in text
    for secret in SECRETS.values():
        assert secret not in text


def test_help_names_every_command(tmp_path: Path) -> None:
    """`flock --help` is a page that a newcomer can act upon."""
    run = flock(tmp_path, "--help")
    assert run.returncode == 0
    for command in ("demo", "run", "worker", "migrate", "doctor", "deploy", "audit"):
        assert f"  {command} " in run.stdout
        assert flock(tmp_path, command, "--help").returncode == 0
    assert "first steps" in run.stdout


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    """A typing mistake shows what there is."""
    run = flock(tmp_path, "dance")
    assert run.returncode == 2
    assert "invalid choice" in run.stderr


def test_missing_settings_are_told_at_once(tmp_path: Path) -> None:
    """`flock run` without settings lists all of them before anything starts."""
    run = flock(tmp_path, "run")
    plain(run, "FLOCK_DISCORD_TOKEN is missing", "FLOCK_KEYSTORE is missing", ".env.example")
    assert not (tmp_path / "data").exists()


def test_an_unreachable_discord_is_a_sentence(tmp_path: Path) -> None:
    """Nothing answers at Discord's address: the last line says so, and that nothing is lost."""
    plain(flock(tmp_path, "run", **complete(tmp_path)), "Discord cannot be reached", "Nothing is lost")


@pytest.mark.parametrize("command", ["run", "worker", "migrate"])
def test_an_unreachable_database_is_a_sentence(tmp_path: Path, command: str) -> None:
    """Every process that needs the database says how to mend it, without its password."""
    url = f"postgresql://flock:secret-key-2@127.0.0.1:{free_port()}/flock"
    plain(
        flock(tmp_path, command, **{**complete(tmp_path), "FLOCK_DATABASE_URL": url}), "database", "FLOCK_DATABASE_URL"
    )


def test_a_keystore_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The relayer's key is not opened while its file is readable by others; the remedy is named."""
    settings = complete(tmp_path)
    (tmp_path / "key").chmod(0o644)
    plain(flock(tmp_path, "run", **settings), "chmod 600")


def test_an_unknown_model_is_a_sentence(tmp_path: Path) -> None:
    """A worker that is told to serve what it does not have says what it has."""
    plain(flock(tmp_path, "worker", FLOCK_MODEL_ID="nothing-like-that"), "no model", "tiny")


def test_migrate_makes_the_database(tmp_path: Path) -> None:
    """`flock migrate` needs no other setting."""
    run = flock(tmp_path, "migrate")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "data" / "flock.db").exists()


@pytest.mark.parametrize("command", ["migrate", "run", "worker", "workers"])
def test_a_database_of_a_newer_version_is_a_sentence(tmp_path: Path, command: str) -> None:
    """Whatever opens it says which FLock to run, and never that it would help to migrate."""
    settings = complete(tmp_path)
    assert flock(tmp_path, "migrate").returncode == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "flock.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    run = flock(tmp_path, command, **settings)
    plain(run, "The database is of a newer FLock (9999)", "Run that version, or a newer one")
    assert "flock migrate" not in run.stderr


def test_an_audit_needs_a_chain(tmp_path: Path) -> None:
    """Where the chain does not answer there is no verdict, neither good nor bad."""
    nobody = f"http://127.0.0.1:{free_port()}"
    plain(flock(tmp_path, "audit", "--chain-only", "--rpc", nobody, "--ledger", "0x" + "1" * 40), "chain")
    plain(flock(tmp_path, "audit"), "FLOCK_RPC_URL is missing", "FLOCK_LEDGER_ADDRESS is missing")
    plain(flock(tmp_path, "audit", "--rpc", nobody, "--ledger", "somewhere"), "0x")


def test_doctor_finds_what_is_wrong_and_names_remedies(tmp_path: Path) -> None:
    """One list: what is well, what is not, and what to do; as JSON for programs. No secret in either."""
    settings = complete(tmp_path)
    run = flock(tmp_path, "doctor", **settings)
    plain(run, "✓ settings", "✓ database", "✗ Discord", "✗ video host", "✗ ledger", "→")
    report = json.loads(flock(tmp_path, "doctor", "--json", **settings).stdout)
    assert report["ok"] is False
    assert {check["what"]: check["ok"] for check in report["checks"]}["database"] is True
    assert all(check["ok"] or check["remedy"] for check in report["checks"])


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
