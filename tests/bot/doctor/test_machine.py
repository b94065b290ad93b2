"""The checks of the machine: files that others can read, a full disk, and an empty machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.doctor.machine import LEAST_FREE
from migrations.database import upgrade_database
from tests.builders.doctor import checks_of


async def test_files_that_others_can_read_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env`, the data folder and the database: each with the command that mends it, and well once it was run."""
    (tmp_path / ".env").write_text("FLOCK_PROMPTS_A_ROUND=4\n")
    (tmp_path / "data").mkdir()
    await upgrade_database(f"sqlite:///{tmp_path}/data/flock.db")
    places = {
        ".env": (tmp_path / ".env", 0o644, 0o600),
        "data folder": (tmp_path / "data", 0o755, 0o700),
        "database": (tmp_path / "data" / "flock.db", 0o640, 0o600),
    }
    for place, loose, _ in places.values():
        place.chmod(loose)
    found = await checks_of(monkeypatch, {})
    for what, (place, _, tight) in places.items():
        assert not found[what].ok
        assert found[what].remedy.startswith(f"Run: chmod {tight:o}")
        place.chmod(tight)
    found = await checks_of(monkeypatch, {})
    assert all(found[what].ok for what in places)


async def test_a_secret_that_every_user_can_read_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the command that mends it; a file that a container or systemd has mounted has the mode that they give."""
    secret = tmp_path / "the token"
    secret.write_text("a-token-that-nobody-may-see")
    secret.chmod(0o644)
    found = (await checks_of(monkeypatch, {}, FLOCK_DISCORD_TOKEN_FILE=str(secret)))["secret files"]
    assert not found.ok
    assert "FLOCK_DISCORD_TOKEN" in found.detail
    assert found.remedy == f"Run: chmod 600 '{secret}'"
    secret.chmod(0o640)
    assert (await checks_of(monkeypatch, {}))["secret files"].ok
    monkeypatch.delenv("FLOCK_DISCORD_TOKEN_FILE")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "FLOCK_DISCORD_TOKEN").write_text("a-token-that-nobody-may-see")
    (credentials / "FLOCK_DISCORD_TOKEN").chmod(0o444)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert (await checks_of(monkeypatch, {}))["secret files"].ok


async def test_without_files_of_secrets_nothing_is_said_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most installations have none."""
    assert "secret files" not in await checks_of(monkeypatch, {})


async def test_nothing_is_made_where_there_is_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On an empty machine the doctor says what will be made, and makes none of it."""
    found = await checks_of(monkeypatch, {})
    assert found["database"].ok
    assert found["data folder"].ok
    assert "made at the first start" in found["database"].detail
    assert list(tmp_path.iterdir()) == []


async def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real, small file system is told to be too full; where there is none, the real disk is told to have room."""
    found = (await checks_of(monkeypatch, {}))["disk"]
    assert found.ok
    small = next((p for p in (Path("/run/lock"), Path("/run"), Path("/sys")) if _free(p) < LEAST_FREE), None)
    if small is None:
        pytest.skip("this machine has no file system with less than 1 GiB free")
    found = (await checks_of(monkeypatch, {}, FLOCK_DATA_DIR=str(small)))["disk"]
    assert not found.ok
    assert str(small) in found.detail


def _free(path: Path) -> int:
    if not path.is_dir():
        return LEAST_FREE
    about = os.statvfs(path)
    return about.f_bavail * about.f_frsize
