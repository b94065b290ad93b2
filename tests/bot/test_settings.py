"""Settings: all problems at once, in plain words, and never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot import settings as settings_module
from bot.domain.errors import SettingsError
from bot.settings import Settings
from contracts.audit.replay import MAX_GRACE

ROOT = Path(__file__).parents[2]

COMPLETE = {
    "FLOCK_DISCORD_TOKEN": "a-token-that-nobody-may-see",
    "FLOCK_LIVEPEER_API_KEY": "a-key-that-nobody-may-see",
    "FLOCK_RPC_URL": "http://127.0.0.1:8545",
    "FLOCK_LEDGER_ADDRESS": "0x" + "1" * 40,
    "FLOCK_KEYSTORE": "relayer.json",
    "FLOCK_VOTER_PEPPER": "p" * 40,
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FLOCK_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def load_with(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return settings_module.load("run")


def test_the_example_is_the_one_that_the_class_writes() -> None:
    """`.env.example` and the settings never disagree."""
    assert (ROOT / ".env.example").read_text() == settings_module.example()


def test_every_setting_has_a_sentence() -> None:
    """Nobody has to guess what a variable is for."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.rstrip().endswith("."), name


def test_a_complete_set_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything in place `flock run` may start."""
    assert load_with(monkeypatch, COMPLETE).rpc_url == "http://127.0.0.1:8545"


def test_a_key_service_needs_no_keystore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names a key service is not asked for a file; who names neither is."""
    without = {name: value for name, value in COMPLETE.items() if name != "FLOCK_KEYSTORE"}
    with pytest.raises(SettingsError, match="FLOCK_KEYSTORE is missing"):
        load_with(monkeypatch, without)
    assert load_with(monkeypatch, {**without, "FLOCK_SIGNER": "aws-kms:alias/flock"}).keystore is None


def test_several_chain_nodes_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With commas between their addresses."""
    several = "https://a.example/key1, https://b.example/key2"
    assert load_with(monkeypatch, {**COMPLETE, "FLOCK_RPC_URL": several}).rpc_url == several


def test_all_that_is_missing_is_told_at_once() -> None:
    """A new operator reads one list, not six errors one after the other."""
    with pytest.raises(SettingsError) as caught:
        settings_module.load("run")
    assert {problem.split()[0] for problem in caught.value.problems} == set(COMPLETE)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FLOCK_DATABASE_URL", "mysql://root:hunter2@host/x", "SQLite or PostgreSQL"),
        ("FLOCK_DATABASE_URL", "sqlite://", "file"),
        ("FLOCK_RPC_URL", "ws://elsewhere", "http"),
        ("FLOCK_RPC_URL", "https://a.example/hunter2,ws://b.example", "several with commas"),
        ("FLOCK_VOTER_PEPPER", "short", "32"),
        ("FLOCK_SIGNER", "vault:hunter2", "aws-kms:KEY_ID"),
        ("FLOCK_SIGNER", "aws-kms:", "aws-kms:KEY_ID"),
        ("FLOCK_MAX_FEE_GWEI", "0", "greater"),
        ("FLOCK_FINAL_TAG", "pending", "safe"),
        ("FLOCK_WATCH_PAGE", "https://example.org/", "{playback_id}"),
        ("FLOCK_PAGE_URL", "http://vote.example.org", "https://"),
        ("FLOCK_PAGE_URL", "vote.example.org", "http or https"),
        ("FLOCK_HOST_POLL_S", "soon", "number"),
        ("FLOCK_PROMPTS_A_ROUND", "0", "greater"),
    ],
)
def test_a_wrong_value_is_named_but_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """The message names the setting and the remedy, and never repeats a value that may be a secret."""
    with pytest.raises(SettingsError) as caught:
        load_with(monkeypatch, {**COMPLETE, name: value})
    text = str(caught.value)
    assert name in text
    assert says in text
    assert "hunter2" not in text


def test_the_grace_is_at_most_what_the_contract_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer one is told at the start, not by a round that the ledger refuses."""
    monkeypatch.setenv("FLOCK_CHAIN_GRACE_S", str(MAX_GRACE))
    assert settings_module.load().chain_grace_s == MAX_GRACE
    monkeypatch.setenv("FLOCK_CHAIN_GRACE_S", str(MAX_GRACE + 1))
    with pytest.raises(SettingsError, match="FLOCK_CHAIN_GRACE_S"):
        settings_module.load()


def test_secrets_are_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may be printed by accident: nothing of theirs shows."""
    settings = load_with(monkeypatch, {**COMPLETE, "FLOCK_DATABASE_URL": "postgresql://u:hunter2@h/d"})
    shown = f"{settings!r} {settings} {settings.discord_token} {settings.model_dump()['livepeer_api_key']}"
    for secret in ("nobody-may-see", "hunter2", "pppp"):
        assert secret not in shown
