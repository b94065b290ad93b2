"""The doctor, against real services: what is well is said to be well, and each thing that is not has its remedy."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from pathlib import Path

import discord
import pytest
from simcord.backend.models.channel import Overwrite
from simcord.enums import OverwriteType
from sqlalchemy import create_engine, text

from bot.demo.discord.server import DiscordConfig, EmbeddedDiscord
from bot.doctor.check import Check, Look
from bot.doctor.machine import LEAST_FREE
from bot.doctor.report import examine, look_at, render
from bot.settings import Settings
from bot.store.rounds import set_up_guild
from migrations.database import open_database, sync_url, upgrade_database
from tests.bot.conftest import Told, free_port
from tests.builders.models import a_model

pytestmark = pytest.mark.asyncio(loop_scope="session")

BY_NAME = {"settings", ".env", "data folder", "disk", "database", "pepper", "processes", "outbox", "Discord", "gateway"}
BY_NAME |= {"clock", "video host", "relayer's key", "ledger", "chain", "relayer"}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FLOCK_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def set_up(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], **changed: str) -> None:
    for name, value in {**values, **changed}.items():
        if name.startswith("FLOCK_"):
            monkeypatch.setenv(name, value)


async def checks_of(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], **changed: str) -> dict[str, Check]:
    set_up(monkeypatch, values, **changed)
    checks = await examine(timeout=10.0)
    assert all(check.ok or check.remedy for check in checks)
    return {check.name: check for check in checks}


# ------------------------------------------------------------------ a house that is well


async def test_all_is_well_in_a_house_that_works(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check is made against the running services, and each of them is passed."""
    found = await checks_of(monkeypatch, told.house.bot_env)
    assert {name: check.detail for name, check in found.items() if not check.ok} == {}
    assert set(found) >= BY_NAME
    servers = [check for name, check in found.items() if name.startswith("server ")]
    assert len(servers) == 1
    assert "#videos" in servers[0].detail
    assert "1 bot and 1 worker are running" in found["processes"].detail
    assert "the latest vote" in found["pepper"].detail
    assert "enough for" in found["relayer"].detail


async def test_the_command_says_the_same_and_exits_with_0_or_1(told: Told, tmp_path: Path) -> None:
    """People read lines, programs read JSON and the exit code; nothing in either is a secret."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    for changed, code in (({}, 0), ({"FLOCK_LIVEPEER_API_KEY": "a-key-of-somebody-else"}, 1)):
        env = {**kept, **told.house.bot_env, **changed}
        for arguments in ([], ["--json"]):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "doctor", *arguments, cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE
            )
            output = (await process.communicate())[0].decode()
            assert process.returncode == code, output
            for secret in (told.house.keys.bot_token, told.house.keys.pepper, env["FLOCK_LIVEPEER_API_KEY"]):
                assert secret not in output
        assert json.loads(output)["ok"] is (code == 0)


# ------------------------------------------------------------------ one thing that is wrong


@pytest.mark.parametrize(
    ("name", "value", "what", "words"),
    [
        ("FLOCK_DISCORD_TOKEN", "not-the-token", "Discord", "refused"),
        ("FLOCK_LIVEPEER_API_KEY", "not-the-key", "video host", ""),
        ("FLOCK_LEDGER_ADDRESS", "0x" + "1" * 40, "ledger", "no contract"),
        ("FLOCK_LEDGER_ADDRESS", "somewhere", "ledger", "0x"),
        ("FLOCK_VOTER_PEPPER", "another pepper of 32 characters or more", "pepper", "not the one"),
        ("FLOCK_KEYSTORE", "/nowhere/key", "relayer's key", "cannot be read"),
        ("FLOCK_RPC_URL", "http://127.0.0.1:9/v3/0123456789abcdef0123456789abcdef", "ledger", "does not answer"),
        ("FLOCK_DATABASE_URL", "sqlite:////etc/hostname", "database", ""),
        ("FLOCK_DISCORD_API_BASE", "http://127.0.0.1:9/api/v10", "Discord", "cannot be reached"),
    ],
)
async def test_one_wrong_thing_is_found(
    told: Told, monkeypatch: pytest.MonkeyPatch, name: str, value: str, what: str, words: str
) -> None:
    """A wrong value fails its own check, in words; what has nothing to do with it stays well."""
    found = await checks_of(monkeypatch, told.house.bot_env, **{name: value})
    assert not found[what].ok
    assert words in found[what].detail
    assert value not in " ".join(check.detail + check.remedy for check in found.values() if "pepper" in name.lower())
    assert found["settings"].ok
    assert found["disk"].ok
    others = {"Discord", "video host", "ledger"} - {what}
    assert sum(found[other].ok for other in others) >= len(others) - 1


async def test_an_account_that_is_no_relayer_or_has_no_coin(
    told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A key of a stranger opens, and is told not to be the relayer's."""
    key = tmp_path / "key"
    key.write_text("22" * 32)
    key.chmod(0o600)
    found = await checks_of(monkeypatch, told.house.bot_env, FLOCK_KEYSTORE=str(key))
    assert found["relayer's key"].ok
    assert not found["relayer"].ok
    assert "no relayer" in found["relayer"].detail
    key.chmod(0o644)
    found = await checks_of(monkeypatch, told.house.bot_env, FLOCK_KEYSTORE=str(key))
    assert "chmod 600" in found["relayer's key"].detail


async def test_a_missing_permission_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The rounds' channel denies the bot one thing: the check names it, and nothing else. A lost server is told too."""
    url = f"sqlite:///{tmp_path}/flock.db"
    await upgrade_database(url)
    server = EmbeddedDiscord(DiscordConfig(tmp_path / "discord", "the-bots-token", "the-control-token"))
    await server.start()
    assert server.world is not None
    database = open_database(url)
    try:
        backend, guild = server.world.backend, server.world.guild_id
        channel = next(c for c in backend.channels.values() if c.name == "videos")
        await set_up_guild(database, guild, channel.id, 1)
        base = f"http://127.0.0.1:{server.port}/api/v10"
        where = {
            "FLOCK_DATABASE_URL": url,
            "FLOCK_DISCORD_API_BASE": base,
            "FLOCK_DISCORD_TOKEN": "the-bots-token",
        }
        assert (await checks_of(monkeypatch, where))[f"server {guild}"].ok

        deny = Overwrite(
            target_id=guild, type=OverwriteType.ROLE, allow=0, deny=discord.Permissions(attach_files=True).value
        )
        backend.edit_channel(channel.id, {}, overwrites=[deny], thread_metadata=None)
        found = (await checks_of(monkeypatch, where))[f"server {guild}"]
        assert not found.ok
        assert found.detail == "not allowed in #videos: attach files"

        await set_up_guild(database, guild, 424242, 1)
        await set_up_guild(database, 434343, channel.id, 1)
        found_all = await checks_of(monkeypatch, where)
        assert "gone or hidden" in found_all[f"server {guild}"].detail
        assert "not in it any more" in found_all["server 434343"].detail
        assert found_all["Discord"].ok
    finally:
        await database.dispose()
        await server.close()


# ------------------------------------------------------------------ what hangs


async def test_a_service_that_hangs_is_told_and_hides_nothing(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server takes the connection and says nothing: its checks end in their time, the others are made."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        set_up(monkeypatch, told.house.bot_env, FLOCK_LIVEPEER_API_BASE=f"http://127.0.0.1:{port}/api")
        found = {check.name: check for check in await examine(timeout=3.0)}
    finally:
        server.close()
    assert "no answer within 3 s" in found["video host"].detail
    assert found["Discord"].ok
    assert found["ledger"].ok
    assert set(found) >= BY_NAME


async def test_a_check_that_fails_by_itself_is_a_failed_check() -> None:
    """A mistake of ours in one check is told as such, without its words, which may quote anything."""

    async def broken(_settings: Settings) -> list[Check]:
        raise RuntimeError("with a secret in it")

    async def fine(_settings: Settings) -> list[Check]:
        return [Check(True, "fine", "all is well")]

    looks = [Look("broken", broken, "Tell us."), Look("fine", fine, "")]
    first, second = await look_at(Settings(_env_file=None), looks)
    assert not first.ok
    assert "RuntimeError" in first.detail
    assert "secret" not in first.detail
    assert second.ok


# ------------------------------------------------------------------ the machine and the database


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


async def test_nothing_is_made_where_there_is_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On an empty machine the doctor says what will be made, and makes none of it."""
    found = await checks_of(monkeypatch, {})
    assert found["database"].ok
    assert found["data folder"].ok
    assert "made at the first start" in found["database"].detail
    assert list(tmp_path.iterdir()) == []


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
    assert "hunter2" not in render(list(found.values()), as_json=True)


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


# ------------------------------------------------------------------ a worker's machine


async def test_a_workers_machine(told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Libraries, GPU, model and database are looked at; no key is asked for. A wrong model is told."""
    set_up(monkeypatch, told.house.worker_env)
    found = {check.name: check for check in await examine(worker=True)}
    assert {name: check.detail for name, check in found.items() if not check.ok and name != "GPU"} == {}
    assert "torch" in found["libraries"].detail
    assert "tiny" in found["model"].detail
    assert found["keys"].detail.startswith("none")
    assert "nobody vouches" in found["signature"].detail
    assert not {"Discord", "ledger", "video host"} & set(found)

    models = tmp_path / "models.toml"
    models.write_text('[models.mine]\nsource = "/nowhere/at/all"\n')
    bad = {"FLOCK_MODELS_FILE": str(models), "FLOCK_MODEL_ID": "mine", "FLOCK_DISCORD_TOKEN": "x" * 40}
    set_up(monkeypatch, bad)
    found = {check.name: check for check in await examine(worker=True)}
    assert not found["model"].ok
    assert "FLOCK_DISCORD_TOKEN" in found["keys"].detail
    assert "needs a revision" in found["model"].detail
    key = tmp_path / "key.pem"
    key.write_text("no key")
    key.chmod(0o644)
    for name, value in {"FLOCK_C2PA_CERT": key, "FLOCK_C2PA_KEY": key}.items():
        monkeypatch.setenv(name, str(value))
    for wanted in ("can be read by others", "no PEM file"):
        found = {check.name: check for check in await examine(worker=True)}
        assert not found["signature"].ok
        assert wanted in found["signature"].detail
        key.chmod(0o600)
    for name, value in {"a.scale_weight": False, "a.weight": True}.items():
        models.write_text(a_model(tmp_path / "model", name))
        found = {check.name: check for check in await examine(worker=True)}
        assert found["model"].ok is value
        assert ("vae: its weights have scales" in found["model"].detail) is not value
    models.write_text("[models.tiny]\nsteps = 4\n")
    monkeypatch.setenv("FLOCK_MODEL_ID", "of-nobody")
    found = {check.name: check for check in await examine(worker=True)}
    assert "no model" in found["model"].detail
