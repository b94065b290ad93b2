"""`flock worker`: it starts without a key, and says what keeps it from starting."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from bot.cli.worker import config_of
from bot.settings import Settings
from tests.builders.command_line import flock, plain


def test_an_unknown_model_is_a_sentence(tmp_path: Path) -> None:
    """A worker that is told to serve what it does not have says what it has."""
    plain(flock(tmp_path, "worker", FLOCK_MODEL_ID="nothing-like-that"), "no model", "tiny")


def test_a_training_worker_starts_as_other_workers_do(tmp_path: Path) -> None:
    """What keeps it from starting is a sentence; it has no videos to check."""
    plain(flock(tmp_path, "worker", "--train", FLOCK_MODEL_ID="nothing-like-that"), "no model", "tiny")
    plain(flock(tmp_path, "worker", "--train", "--check"), "Leave --train out")


def test_a_worker_keeps_no_key(tmp_path: Path) -> None:
    """None of the settings that it is given is a secret, though all of them may be set beside it."""
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secrets >= {"discord_token", "livepeer_api_key", "voter_pepper", "keystore_password"}
    values = {name: SecretStr(f"secret-{name}-{'x' * 32}") for name in secrets}
    config = config_of(Settings(_env_file=None, data_dir=tmp_path, hang_s=7, **values))
    assert (config.data_dir, config.hang_s) == (tmp_path.resolve(), 7)
    assert "secret-" not in repr(config)
