"""The stack's keys and settings; that its processes work together is what all stories here show."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bot.demo.stack import WORKER_SETTINGS, Keys, Stack
from bot.demo.supervisor import Supervisor
from bot.domain.errors import OperatorError


def test_keys_outlive_a_run_and_are_nobody_elses(tmp_path: Path) -> None:
    """New ones are random; saved ones come back, in a file for their owner alone, and none is in a trace."""
    path = tmp_path / "demo.json"
    keys = Keys.load(path)
    assert keys != Keys.load(path)
    keys.save(path)
    assert Keys.load(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert repr(keys) == "Keys(...)"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bot_token": "a", "unknown": 1}'])
def test_a_broken_file_is_told_with_its_remedy(tmp_path: Path, text: str) -> None:
    """Nothing is overwritten."""
    path = tmp_path / "demo.json"
    path.write_text(text)
    with pytest.raises(OperatorError, match="--state"):
        Keys.load(path)
    assert path.read_text() == text


def test_keys_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    """A state that has no port for the signing page yet goes on."""
    path = tmp_path / "demo.json"
    path.write_text(json.dumps({"bot_token": "a", "control_token": "b", "host_key": "c", "pepper": "d"}))
    assert Keys.load(path).signing_port == 0


def test_the_worker_has_no_secrets_and_of_the_settings_only_its_own(tmp_path: Path) -> None:
    """The bot has all of them; both know where the database is."""
    settings = {"FLOCK_LOG_LEVEL": "DEBUG", "FLOCK_FLUSH_S": "9"}
    stack = Stack(tmp_path, Supervisor(tmp_path), settings=settings)
    bot, worker = stack.bot_env, stack.worker_env
    assert (bot["FLOCK_FLUSH_S"], bot["FLOCK_LOG_LEVEL"], worker["FLOCK_LOG_LEVEL"]) == ("9", "DEBUG", "DEBUG")
    assert "FLOCK_LOG_LEVEL" in WORKER_SETTINGS
    assert "FLOCK_FLUSH_S" not in worker
    assert bot["FLOCK_DATABASE_URL"] == worker["FLOCK_DATABASE_URL"] == f"sqlite:///{tmp_path / 'flock.db'}"
    keys = stack.keys
    for secret in (keys.bot_token, keys.control_token, keys.host_key, keys.pepper):
        assert secret not in worker.values()
