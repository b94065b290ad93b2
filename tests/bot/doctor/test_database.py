"""The checks of the database: its version, its damage, and a server that does not answer."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, text

from bot.doctor.report import render
from migrations.database import now_ms, sync_url, upgrade_database
from migrations.schema import executor_leases
from tests.bot.conftest import free_port
from tests.builders.doctor import checks_of


async def test_the_version_of_a_database_is_told_and_left_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this version, of none, of a newer one: told apart on both databases, and nothing is upgraded."""
    engine = create_engine(sync_url(database_url))
    try:
        empty = await checks_of(monkeypatch, {}, FLOCK_DATABASE_URL=database_url)
        assert "made at the first start" in empty["database"].detail
        await upgrade_database(database_url)
        assert "of this version" in (await checks_of(monkeypatch, {}))["database"].detail
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        newer = (await checks_of(monkeypatch, {}))["database"]
        assert not newer.ok
        assert "newer FLock" in newer.detail
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    finally:
        engine.dispose()


async def test_a_damaged_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pages full of rubbish: the check says so, and what to do. Before that, the same file is well."""
    file = tmp_path / "flock.db"
    await upgrade_database(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    assert (await checks_of(monkeypatch, {}, FLOCK_DATABASE_URL=f"sqlite:///{file}"))["database"].ok
    content = bytearray(file.read_bytes())
    content[4096 * 2 :] = os.urandom(len(content) - 4096 * 2)
    file.write_bytes(content)
    found = (await checks_of(monkeypatch, {}))["database"]
    assert not found.ok


async def test_a_server_that_is_not_there_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's address holds a password: the sentence does not."""
    url = f"postgresql://flock:hunter2-hunter2@127.0.0.1:{free_port()}/flock"
    found = await checks_of(monkeypatch, {}, FLOCK_DATABASE_URL=url)
    assert not found["database"].ok
    assert [name for name, check in found.items() if "database cannot be opened" in check.detail] == ["database"]
    assert "hunter2" not in render(list(found.values()), as_json=True)


async def test_two_bots_on_one_database_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the names of both, with what to do; one bot, or one that died a minute ago, is well."""
    url = f"sqlite:///{tmp_path}/flock.db"
    await upgrade_database(url)
    engine = create_engine(sync_url(url))

    def beat(executor_id: str, role: str, beat_at_ms: int) -> None:
        row = {"executor_id": executor_id, "role": role, "queues": [], "beat_at_ms": beat_at_ms}
        with engine.begin() as connection:
            connection.execute(insert(executor_leases).values(row))

    try:
        beat("bot-attic-0a1b2c3d", "bot", now_ms() + 60_000)
        beat("bot-shed-0a1b2c3d", "bot", now_ms() - 60_000)
        beat("worker-shed-0a1b2c3d", "worker", now_ms() + 60_000)
        assert (await checks_of(monkeypatch, {}, FLOCK_DATABASE_URL=url))["processes"].ok
        beat("bot-cellar-0a1b2c3d", "bot", now_ms() + 60_000)
        check = (await checks_of(monkeypatch, {}))["processes"]
        assert not check.ok
        assert "2 bots" in check.detail
        assert "bot-attic-0a1b2c3d, bot-cellar-0a1b2c3d" in check.detail
        assert check.remedy.startswith("Stop all bots but one")
    finally:
        engine.dispose()
