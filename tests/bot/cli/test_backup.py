"""Backups: taken while everything runs, whole or not at all, and put back only where nothing is lost by it."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import insert

from bot.cli.backup import backup, restore
from bot.domain.errors import OperatorError
from bot.settings import Settings
from contracts.audit.audit import audit
from migrations.database import now_ms, open_database, upgrade_database
from migrations.schema import chain_transactions, executor_leases
from tests.bot.conftest import Told, open_watched


def settings_for(path: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{path}", _env_file=None)  # type: ignore[call-arg]


async def made(path: Path) -> Settings:
    """An empty database, and the settings that name it."""
    await upgrade_database(f"sqlite:///{path}")
    return settings_for(path)


def votes_in(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT count(*) FROM votes").fetchone()[0])


async def test_the_bot_goes_on_from_a_backup(tmp_path: Path) -> None:
    """Taken between votes and their relay, put back after a loss: the votes go to the chain, and the audit agrees."""
    saved = tmp_path / "saved.db"
    settings = {"FLOCK_FLUSH_S": "60"}
    async with open_watched(tmp_path / "state", ["a red circle"], bot=settings) as story:
        database = open_database(story.stack.database_url)
        await story.wait_for_bot(database)
        await story.open_round(database)
        await story.make_videos(database)
        await story.vote(database)
        ours = settings_for(tmp_path / "state" / "flock.db")
        assert "1 videos and " in backup(ours, saved)
        with pytest.raises(OperatorError, match="1 bot and 1 worker are still running"):
            restore(ours, saved)
        for name in ("bot", "worker"):
            await story.stack.supervisor.forget(name)
        await database.dispose()
        (tmp_path / "state" / "flock.db").write_bytes(b"")  # the loss
        for ending in ("-wal", "-shm"):
            (tmp_path / "state" / f"flock.db{ending}").unlink(missing_ok=True)
        assert "is now the backup" in restore(ours, saved, force=True)
        await story.stack.open_bot_and_worker()
        database = open_database(story.stack.database_url)
        await story.wait_for_bot(database)
        await story.close_round(database)
        result = await story.look_back(database)
        await database.dispose()
    assert (
        result["videos"][0]["votes"]
        == {"up": 4, "down": 0}
        == {key: result["videos"][0]["chain"][key] for key in ("up", "down")}
    )


async def test_a_backup_of_a_running_house_is_whole(told: Told, tmp_path: Path) -> None:
    """Only its owner may read it, and an audit that uses it finds what the living database has."""
    saved = tmp_path / "saved.db"
    ours = settings_for(told.stack.state / "flock.db")
    backup(ours, saved)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [saved]
    copy = open_database(f"sqlite:///{saved}")
    address = told.stack.deployment.address if told.stack.deployment else ""
    report = await audit(told.stack.rpc_url, address, database=copy, pepper=told.stack.keys.pepper.encode())
    await copy.dispose()
    assert report.ok
    assert votes_in(saved) == votes_in(told.stack.state / "flock.db") > 0


async def test_nothing_is_overwritten_by_mistake(tmp_path: Path) -> None:
    """A file that exists stays, unless forced; the database itself, and a folder that is not there, are refused."""
    ours = await made(tmp_path / "flock.db")
    saved = tmp_path / "saved.db"
    saved.write_text("precious")
    with pytest.raises(OperatorError, match="--force"):
        backup(ours, saved)
    assert saved.read_text() == "precious"
    backup(ours, saved, force=True)
    assert votes_in(saved) == 0
    with pytest.raises(OperatorError, match="database itself"):
        backup(ours, tmp_path / "flock.db", force=True)
    with pytest.raises(OperatorError, match="does not exist"):
        backup(ours, tmp_path / "nowhere" / "saved.db")
    with pytest.raises(OperatorError, match="nothing to back up"):
        backup(settings_for(tmp_path / "other.db"), tmp_path / "new.db")


async def test_what_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    """A text, another program's database, and a damaged file leave everything as it is."""
    ours = await made(tmp_path / "flock.db")
    before = (tmp_path / "flock.db").read_bytes()
    text, foreign, damaged = tmp_path / "a.txt", tmp_path / "b.db", tmp_path / "c.db"
    text.write_text("not a database")
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE things (id INTEGER)")
    backup(ours, damaged)
    content = bytearray(damaged.read_bytes())
    content[4096 * 3 : 4096 * 9] = os.urandom(4096 * 6)
    damaged.write_bytes(content)
    for file, words in ((text, "damaged"), (foreign, "no database of FLock"), (damaged, "damaged")):
        with pytest.raises(OperatorError, match=words):
            restore(ours, file)
    with pytest.raises(OperatorError, match="There is no file"):
        restore(ours, tmp_path / "nothing.db")
    assert (tmp_path / "flock.db").read_bytes() == before


async def test_a_backup_older_than_the_ledger_is_told(tmp_path: Path) -> None:
    """What went to the chain since would be unknown: that needs --force, and the database is kept beside."""
    ours = await made(tmp_path / "flock.db")
    saved = tmp_path / "saved.db"
    backup(ours, saved)
    database = open_database(ours.database_url)
    async with database.begin() as connection:
        await connection.execute(
            insert(chain_transactions).values(
                id=1,
                kind="votes",
                seq=7,
                sender="0x1",
                nonce=1,
                raw=b"x",
                hashes=["0x2"],
                state="final",
                created_at_ms=1,
            )
        )
    await database.dispose()
    with pytest.raises(OperatorError, match="older than batch 7"):
        restore(ours, saved)
    assert "is kept as" in restore(ours, saved, force=True)
    kept = list(tmp_path.glob("flock.db.*"))
    assert len(kept) == 1
    with sqlite3.connect(kept[0]) as connection:
        assert connection.execute("SELECT seq FROM chain_transactions").fetchall() == [(7,)]
    with sqlite3.connect(tmp_path / "flock.db") as connection:
        assert connection.execute("SELECT seq FROM chain_transactions").fetchall() == []


async def test_the_commands(tmp_path: Path) -> None:
    """From the shell: a sentence and the exit code; with PostgreSQL its own tools are named."""
    ours = await made(tmp_path / "flock.db")
    database = open_database(ours.database_url)

    def flock(*arguments: str, url: str = ours.database_url) -> tuple[int, str]:
        env = {"PATH": os.environ["PATH"], "FLOCK_DATABASE_URL": url}
        argv = [sys.executable, "-m", "bot", *arguments]
        done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = flock("backup", "saved.db")
    assert (code, "saved.db holds 0 videos" in said) == (0, True), said
    async with database.begin() as connection:
        await connection.execute(
            insert(executor_leases).values(executor_id="b", role="bot", queues=[], beat_at_ms=now_ms())
        )
    await database.dispose()
    code, said = flock("restore", "saved.db")
    assert (code, "1 bot is still running" in said) == (1, True), said
    code, said = flock("backup", "other.db", url="postgresql://flock:hunter2@127.0.0.1/flock")
    assert (code, "pg_dump" in said, "hunter2" in said) == (1, True, False), said
