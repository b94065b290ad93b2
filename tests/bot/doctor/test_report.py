"""The doctor, against real services: what is well is said to be well, and what is not has its remedy."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from bot.doctor.report import examine
from tests.bot.conftest import Told
from tests.builders.doctor import checks_of, set_up

pytestmark = pytest.mark.asyncio(loop_scope="session")

BY_NAME = {"settings", ".env", "data folder", "disk", "database", "pepper", "processes", "outbox", "Discord", "gateway"}
BY_NAME |= {"clock", "video host", "relayer's key", "ledger", "chain", "relayer"}


async def test_all_is_well_in_a_house_that_works(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check is made against the running services, and each of them is passed."""
    found = await checks_of(monkeypatch, told.stack.bot_env)
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
        env = {**kept, **told.stack.bot_env, **changed}
        for arguments in ([], ["--json"]):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "doctor", *arguments, cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE
            )
            output = (await process.communicate())[0].decode()
            assert process.returncode == code, output
            for secret in (told.stack.keys.bot_token, told.stack.keys.pepper, env["FLOCK_LIVEPEER_API_KEY"]):
                assert secret not in output
        assert json.loads(output)["ok"] is (code == 0)


@pytest.mark.parametrize(
    ("name", "value", "what", "words"),
    [
        ("FLOCK_DISCORD_TOKEN", "not-the-token", "Discord", "refused"),
        ("FLOCK_LIVEPEER_API_KEY", "not-the-key", "video host", ""),
        ("FLOCK_LEDGER_ADDRESS", "0x" + "1" * 40, "ledger", "no contract"),
        ("FLOCK_LEDGER_ADDRESS", "somewhere", "ledger", "0x"),
        ("FLOCK_VOTER_PEPPER", "another pepper of 32 characters or more", "pepper", "not the one"),
        ("FLOCK_KEYSTORE", "/nowhere/key", "relayer's key", "does not exist"),
        ("FLOCK_RPC_URL", "http://127.0.0.1:9/v3/0123456789abcdef0123456789abcdef", "ledger", "does not answer"),
        ("FLOCK_DATABASE_URL", "sqlite:////etc/hostname", "database", ""),
        ("FLOCK_DISCORD_API_BASE", "http://127.0.0.1:9/api/v10", "Discord", "cannot be reached"),
    ],
)
async def test_one_wrong_thing_is_found(
    told: Told, monkeypatch: pytest.MonkeyPatch, name: str, value: str, what: str, words: str
) -> None:
    """A wrong value fails its own check, in words; what has nothing to do with it stays well."""
    found = await checks_of(monkeypatch, told.stack.bot_env, **{name: value})
    assert not found[what].ok
    assert words in found[what].detail
    assert value not in " ".join(check.detail + check.remedy for check in found.values() if "pepper" in name.lower())
    assert found["settings"].ok
    assert found["disk"].ok
    others = {"Discord", "video host", "ledger"} - {what}
    assert sum(found[other].ok for other in others) >= len(others) - 1


async def test_what_rests_on_a_thing_that_is_away_is_not_told_again(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that does not answer fails the ledger alone; with a good one the relayer is looked at."""
    found = await checks_of(monkeypatch, told.stack.bot_env, FLOCK_RPC_URL="http://127.0.0.1:9")
    assert [name for name, check in found.items() if "does not answer" in check.detail] == ["ledger"]
    assert "relayer" not in found
    assert "relayer" in await checks_of(monkeypatch, told.stack.bot_env)


async def test_a_key_file_that_is_missing_has_the_remedy_that_makes_it(
    told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another wrong thing about the key has another remedy."""
    found = await checks_of(monkeypatch, told.stack.bot_env, FLOCK_KEYSTORE=str(tmp_path / "none.json"))
    assert found["relayer's key"].remedy.startswith("Run `flock deploy --new-key`")
    (tmp_path / "none.json").write_text("{}")
    (tmp_path / "none.json").chmod(0o600)
    found = await checks_of(monkeypatch, told.stack.bot_env, FLOCK_KEYSTORE=str(tmp_path / "none.json"))
    assert found["relayer's key"].remedy.startswith("Check FLOCK_SIGNER")


async def test_misspelt_settings_and_missing_ones_are_told_with_their_own_remedies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A remedy for each, no two of them the same."""
    monkeypatch.setenv("FLOCK_DISCRD_TOKEN", "hunter2")
    checks = [check for check in await examine(timeout=10.0) if check.name == "settings"]
    assert checks[0].detail == "FLOCK_DISCRD_TOKEN is not a setting; did you mean FLOCK_DISCORD_TOKEN?"
    assert not any("hunter2" in check.detail for check in checks)
    missing = {check.detail.split()[0]: check.remedy for check in checks[1:]}
    assert "FLOCK_DISCORD_TOKEN" in missing
    assert len(set(missing.values())) == len(missing) > 4


async def test_a_wrong_setting_leaves_the_other_checks(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named; only what would be looked at with it is left out, and nothing is asked at a default's address."""
    bad = {"FLOCK_LIVEPEER_API_BASE": "livepeer", "FLOCK_HOST_POLL_S": "soon"}
    set_up(monkeypatch, told.stack.bot_env, **bad)
    checks = await examine(timeout=10.0)
    details = [check.detail for check in checks if check.name == "settings"]
    assert details == [
        "FLOCK_LIVEPEER_API_BASE must be an http or https address.",
        "FLOCK_HOST_POLL_S must be a valid number, unable to parse string as a number.",
    ]
    assert {check.name for check in checks if check.ok} >= BY_NAME - {"settings", "video host"}
    assert "video host" not in {check.name for check in checks}
    monkeypatch.setenv("FLOCK_DATABASE_URL", "mysql://u:hunter2@h/d")
    checks = await examine(timeout=10.0)
    assert {check.name for check in checks} == {"settings"}
    assert not any("hunter2" in check.detail for check in checks)


async def test_a_service_that_hangs_is_told_and_hides_nothing(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server takes the connection and says nothing: its checks end in their time, the others are made."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        set_up(monkeypatch, told.stack.bot_env, FLOCK_LIVEPEER_API_BASE=f"http://127.0.0.1:{port}/api")
        found = {check.name: check for check in await examine(timeout=3.0)}
    finally:
        server.close()
    assert "no answer within 3 s" in found["video host"].detail
    assert found["Discord"].ok
    assert found["ledger"].ok
    assert set(found) >= BY_NAME
