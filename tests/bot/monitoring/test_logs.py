"""What a process logs: one id through all of them, one object a line, and no secret, whatever is logged."""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.monitoring.logs import HIDDEN, JsonLines, Secrets, TextFormatter
from bot.settings import Settings
from generation.log_context import about
from tests.bot.conftest import Told

TOKEN = "the-token-that-nobody-may-see"
INTERACTION = "aW50ZXJhY3Rpb246MTIzNDU2Nzg5MDp0b2tlbg"


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("bot.test").makeRecord(
        "bot.test", logging.WARNING, __file__, 1, message, args, None, None, extra
    )


# ------------------------------------------------------------------ one line


def test_a_json_line_says_who_what_and_when() -> None:
    """Every promised field is there, and the work in which a line is logged gives it the video's id."""
    with about(video=42, round=7):
        line = json.loads(JsonLines(Secrets(), "worker").format(record("%d frames", 17, tx="0xabc")))
    when = line.pop("ts")
    assert when.endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "bot.test",
        "message": "17 frames",
        "role": "worker",
        "video": "42",
        "round": "7",
        "tx": "0xabc",
    }
    outside = json.loads(JsonLines(Secrets(), "worker").format(record("nothing")))
    assert "video" not in outside


def test_a_traceback_is_in_the_line_and_without_secrets() -> None:
    """An exception quotes what it was given: its trace is kept, the secret in it is not."""
    try:
        raise RuntimeError(f"refused {TOKEN}")
    except RuntimeError:
        bad = record("It failed")
        bad.exc_info = sys.exc_info()
    for formatter in (JsonLines(Secrets([TOKEN]), "bot"), TextFormatter(Secrets([TOKEN]))):
        text = formatter.format(bad)
        assert "RuntimeError" in text
        assert "test_logs.py" in text
        assert TOKEN not in text
        assert HIDDEN in text
        bad.exc_text = None


def test_a_message_cannot_forge_a_line_of_text() -> None:
    """A line break in what members name themselves stays within its line; the next line is a new record."""
    text = TextFormatter(Secrets()).format(record("hello %s", "x\n2026-01-01 CRITICAL bot: forged\x1b[31m"))
    assert text.count("\n") == 0
    assert "\\n2026" in text
    assert "\x1b" not in text


# ------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    "text",
    [
        f"POST https://discord.com/api/v10/interactions/123/{INTERACTION}/callback with {{}}",
        f"PATCH /webhooks/99/{INTERACTION}/messages/@original",
        f"https://origin.livepeer.com/api/asset/upload/tus/{INTERACTION}",
        f"https://origin.livepeer.com/api/asset/upload/direct?token={INTERACTION}",
        f"Authorization: Bearer {INTERACTION}",
        f"headers={{'Authorization': 'Bot {INTERACTION}'}}",
        f"postgresql://flock:{INTERACTION}@host/flock",
    ],
)
def test_a_credential_is_known_by_its_shape(text: str) -> None:
    """Nobody has to list what is made at run time: it is hidden, and what is beside it stays."""
    hidden = Secrets().hide(text)
    assert INTERACTION not in hidden
    assert HIDDEN in hidden
    assert hidden.startswith(text[:6])


@pytest.mark.parametrize(
    "text",
    [
        "Transaction 0x" + "ab" * 32 + " is final in block 12.",
        "GET https://livepeer.studio/api/asset/0a1b2c3d-e4f5-6789 → 200",
        "Bot is online; Basic facts about 17 frames.",
        "http://127.0.0.1:8545/health?page=2",
    ],
)
def test_what_is_no_credential_stays_readable(text: str) -> None:
    """Hashes, ids and plain addresses are what a log is read for."""
    assert Secrets().hide(text) == text


def test_every_secret_of_the_settings_is_hidden() -> None:
    """Tokens, keys, passwords in addresses, and a provider's key in the path of the chain's address."""
    names = ("token", "key", "a-pepper-of-32-letters", "keystore", "database", "rpc")
    secret = {name: f"{name}-secret-value/+ü" for name in names}
    settings = Settings(
        _env_file=None,
        discord_token=secret["token"],
        livepeer_api_key=secret["key"],
        voter_pepper=secret["a-pepper-of-32-letters"],
        keystore_password=secret["keystore"],
        database_url="postgresql://u:database-secret-value%2F%2B%C3%BC@h/d",
        rpc_url="https://mainnet.example/v3/0123456789abcdef0123456789abcdef?apikey=rpc-secret-value, "
        "https://second.example/v3/fedcba9876543210fedcba9876543210",
    )
    hide = Secrets.of(settings).hide
    for value in (*secret.values(), "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"):
        if value != secret["rpc"]:
            assert value not in hide(f"it was {value}, you know")
            assert hide("it was nothing, you know") == "it was nothing, you know"
    assert "rpc-secret-value" not in hide(settings.rpc_url or "")
    assert "database-secret" not in hide(settings.database_url)


def test_a_short_password_is_hidden_where_it_is_one() -> None:
    """`flock` as a password does not blacken the word flock everywhere."""
    hide = Secrets(["flock"]).hide
    assert hide("postgresql://flock:flock@host/flock") == f"postgresql://flock:{HIDDEN}@host/flock"
    assert hide("flock run") == "flock run"


def test_an_unforeseen_end_is_one_json_object(tmp_path: Path) -> None:
    """What kills a process is logged as everything else is: parsed by programs, and without its secrets."""
    script = (
        "from bot.monitoring import logs; from bot.settings import Settings; "
        f"logs.start(Settings(_env_file=None, log_format='json', discord_token='{TOKEN}'), 'bot'); "
        f"raise RuntimeError('{TOKEN}')"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 1
    assert TOKEN not in run.stderr
    line = json.loads(run.stderr)
    assert line["level"] == "CRITICAL"
    assert "RuntimeError" in line["traceback"]


# ------------------------------------------------------------------ a whole house


def found_in(logs: dict[str, str], secrets: dict[str, str]) -> list[tuple[str, str]]:
    """Which secret stands in which log."""
    return [(log, name) for log, text in logs.items() for name, secret in secrets.items() if secret in text]


def run_time_credentials(database: Path) -> Iterator[tuple[str, str]]:
    """Addresses of uploads, as the durable engine has recorded them."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        for (text,) in connection.execute("SELECT output FROM operation_outputs WHERE output LIKE '%tus_endpoint%'"):
            yield from ((f"upload {at}", endpoint) for at, endpoint in enumerate(_endpoints(json.loads(text))))


def _endpoints(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "tus_endpoint":
                yield str(value)
            else:
                yield from _endpoints(value)
    elif isinstance(data, list):
        for value in data:
            yield from _endpoints(value)


@pytest.mark.asyncio(loop_scope="session")
async def test_no_secret_is_in_any_log_of_a_house_that_logs_everything(told: Told) -> None:
    """At DEBUG, with real tokens, keys and upload addresses; and the search does find a secret that is planted."""
    stack = told.stack
    keys = stack.keys
    secrets = {
        "token": keys.bot_token,
        "control token": keys.control_token,
        "host key": keys.host_key,
        "pepper": keys.pepper,
        "relayer key": stack.key_file.read_text().strip().removeprefix("0x"),
        **dict(run_time_credentials(stack.state / "flock.db")),
    }
    assert sum(name.startswith("upload") for name in secrets) >= 1
    logs = told.logs()
    assert {"bot", "worker", "chain", "host", "discord"} <= set(logs)
    assert any('"level": "DEBUG"' in text for text in (logs["bot"], logs["worker"]))
    assert found_in(logs, secrets) == []
    for name, secret in secrets.items():
        planted = {**logs, "bot": logs["bot"] + f"\n{{'oops': '{secret}'}}"}
        assert ("bot", name) in found_in(planted, secrets)


@pytest.mark.asyncio(loop_scope="session")
async def test_one_id_follows_a_prompt_through_all_processes(told: Told) -> None:
    """Worker, life of the video and relayer name the same video, on lines that a program can read, all of them."""
    logs = told.logs()
    lines = {name: [json.loads(line) for line in logs[name].splitlines()] for name in ("bot", "worker")}
    for name, of_process in lines.items():
        assert {line["role"] for line in of_process} == {name}
        assert all({"ts", "level", "logger", "message"} <= set(line) for line in of_process)
    for video_id in told.story.video_ids:
        about_it = [
            line
            for line in (*lines["bot"], *lines["worker"])
            if line.get("video") == video_id or video_id in line.get("videos", [])
        ]
        assert {line["logger"] for line in about_it} >= {
            "bot.workflows.video",
            "generation.worker.worker",
            "contracts.relayer.settlement",
        }
        said = " ".join(line["message"] for line in about_it)
        assert "The render ends" in said
        assert "is final in block" in said
    # Of a video that was never asked for, nobody says anything.
    assert not any("1234567890" in (line.get("video"), *line.get("videos", [])) for line in lines["bot"])
