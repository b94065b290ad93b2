"""Settings: all problems at once, in plain words, and never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.errors import SettingsError
from bot.setting_rules import REMEDIES
from bot.settings import Need, Settings, example, load_settings, read_settings
from contracts.audit.replay import MAX_GRACE

ROOT = Path(__file__).parents[2]

COMPLETE = {
    "FLOCK_DISCORD_TOKEN": "a-token-that-nobody-may-see",
    "FLOCK_LIVEPEER_API_KEY": "a-key-that-nobody-may-see",
    "FLOCK_RPC_URL": "http://127.0.0.1:8545",
    "FLOCK_LEDGER_ADDRESS": "0x" + "1" * 40,
    "FLOCK_KEYSTORE": "relayer.json",
    "FLOCK_VOTER_PEPPER": "0badc0de5afe1dea7e57ab1e0ddba11f",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FLOCK_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def load_with(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return load_settings("run")


def test_the_example_is_the_one_that_the_class_writes() -> None:
    """`.env.example` and the settings never disagree."""
    assert (ROOT / ".env.example").read_text() == example()


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
        load_settings("run")
    assert {problem.split()[0] for problem in caught.value.problems} == set(COMPLETE)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FLOCK_DATABASE_URL", "mysql://root:hunter2@host/x", "SQLite or PostgreSQL"),
        ("FLOCK_DATABASE_URL", "sqlite://", "file"),
        ("FLOCK_RPC_URL", "ws://elsewhere", "http"),
        ("FLOCK_RPC_URL", "https://a.example/hunter2,ws://b.example", "several with commas"),
        ("FLOCK_VOTER_PEPPER", "short", "32"),
        ("FLOCK_VOTER_PEPPER", "hunter2" * 6, "openssl rand -hex 32"),
        ("FLOCK_PUBLIC_RPC_URL", "https://user:hunter2@node.example/rpc", "members read it"),
        ("FLOCK_PUBLIC_RPC_URL", "https://node.example/v3/0123456789abcdef0123456789abcdef", "members read it"),
        ("FLOCK_EXPLORER_TX_URL", "https://user:hunter2@scan.example/tx/{tx}", "members read it"),
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


def test_wrong_and_missing_values_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One list has both, each setting once; what a wrong value decides is not guessed at."""
    wrong = {"FLOCK_VOTER_PEPPER": "short", "FLOCK_SIGNER": "vault:x", "FLOCK_HOST_POLL_S": "soon"}
    for name, value in {**COMPLETE, **wrong}.items():
        monkeypatch.setenv(name, value)
    for name in ("FLOCK_KEYSTORE", "FLOCK_DISCORD_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError) as caught:
        load_settings("run")
    assert sorted(problem.split()[0] for problem in caught.value.problems) == sorted([*wrong, "FLOCK_DISCORD_TOKEN"])


def test_a_webhook_needs_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port without one is a problem of `flock run`, and of no other command; a short secret is one of all."""
    monkeypatch.setenv("FLOCK_WEBHOOK_PORT", "9000")
    with pytest.raises(SettingsError, match="FLOCK_WEBHOOK_SECRET is missing"):
        load_with(monkeypatch, COMPLETE)
    assert load_settings("worker").webhook_port == 9000
    monkeypatch.setenv("FLOCK_WEBHOOK_SECRET", "too-short")
    with pytest.raises(SettingsError, match="FLOCK_WEBHOOK_SECRET is too short: use at least 16"):
        load_settings("worker")
    monkeypatch.setenv("FLOCK_WEBHOOK_SECRET", "s" * 16)
    with pytest.raises(SettingsError, match="FLOCK_WEBHOOK_SECRET is too easy to guess"):
        load_settings("worker")
    monkeypatch.setenv("FLOCK_WEBHOOK_SECRET", "5ca1ab1e0ddba11f")
    assert load_settings("run").webhook_port == 9000


def test_an_option_takes_the_place_of_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a wrong one; and its own value is looked at in the same way."""
    monkeypatch.setenv("FLOCK_RPC_URL", "ws://elsewhere")
    assert load_settings("audit", rpc_url="http://a.example", ledger_address="0x1").rpc_url == "http://a.example"
    with pytest.raises(SettingsError, match="FLOCK_RPC_URL must be an http"):
        load_settings("audit", rpc_url="ftp://hunter2", ledger_address="0x1")


def test_a_wrong_value_leaves_the_others_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor goes on with them: the default stands for the wrong one, which is named."""
    monkeypatch.setenv("FLOCK_WATCH_PAGE", "https://example.org/")
    monkeypatch.setenv("FLOCK_MODEL_ID", "mine")
    checked = read_settings()
    assert {name: problem.sentence for name, problem in checked.problems.items()} == {
        "watch_page": "FLOCK_WATCH_PAGE must contain {playback_id}."
    }
    assert (checked.settings.model_id, checked.settings.watch_page) == (
        "mine",
        Settings.model_fields["watch_page"].default,
    )


def test_the_grace_is_at_most_what_the_contract_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer one is told at the start, not by a round that the ledger refuses."""
    monkeypatch.setenv("FLOCK_CHAIN_GRACE_S", str(MAX_GRACE))
    assert load_settings().chain_grace_s == MAX_GRACE
    monkeypatch.setenv("FLOCK_CHAIN_GRACE_S", str(MAX_GRACE + 1))
    with pytest.raises(SettingsError, match="FLOCK_CHAIN_GRACE_S"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("FLOCK_DISCORD_TOKEN", "https://discord.com/developers/applications"),
        ("FLOCK_LIVEPEER_API_KEY", "https://livepeer.studio"),
        ("FLOCK_LEDGER_ADDRESS", "Run `flock deploy`,"),
        ("FLOCK_KEYSTORE", "flock deploy --new-key"),
        ("FLOCK_VOTER_PEPPER", "openssl rand -hex 32"),
        ("FLOCK_RPC_URL", "https://"),
    ],
)
def test_each_missing_value_has_a_remedy_of_its_own(monkeypatch: pytest.MonkeyPatch, name: str, remedy: str) -> None:
    """What makes the value, not where it is written down."""
    with pytest.raises(SettingsError) as caught:
        load_with(monkeypatch, {each: value for each, value in COMPLETE.items() if each != name})
    [problem] = caught.value.problems
    assert problem.startswith(f"{name} is missing.")
    assert remedy in problem


def test_whatever_may_be_missing_has_a_remedy() -> None:
    """For every command, video host and listener."""
    settings = Settings(_env_file=None, video_host="s3", webhook_port=9000)  # type: ignore[call-arg]  # a default each
    needs: tuple[Need, ...] = ("run", "worker", "migrate", "deploy", "audit")
    missing = {name for need in needs for each in (settings, Settings(_env_file=None)) for name in each.missing(need)}  # type: ignore[call-arg]  # as above
    assert missing == set(REMEDIES)


@pytest.mark.parametrize("command", ["run", "worker", "migrate", "deploy", "audit", None])
def test_a_name_that_is_no_setting_stops_every_command(monkeypatch: pytest.MonkeyPatch, command: Need | None) -> None:
    """A misspelt name is a setting that would be ignored in silence; the right one is named."""
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    load_settings(command)
    monkeypatch.setenv("FLOCK_PROMPTS_A_ROUNDS", "3")
    with pytest.raises(SettingsError) as caught:
        load_settings(command)
    [problem] = caught.value.problems
    assert "FLOCK_PROMPTS_A_ROUNDS is not a setting; did you mean FLOCK_PROMPTS_A_ROUND?" in problem


def test_a_secret_of_a_file_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is used as if it stood in the environment, and breaks the same rules; an option takes its place."""
    (tmp_path / "rpc").write_text("http://node.example\n")
    monkeypatch.setenv("FLOCK_RPC_URL_FILE", str(tmp_path / "rpc"))
    assert load_settings().rpc_url == "http://node.example"
    assert load_settings(rpc_url="http://other.example").rpc_url == "http://other.example"
    (tmp_path / "rpc").write_text("ws://hunter2\n")
    with pytest.raises(SettingsError, match="FLOCK_RPC_URL must be an http"):
        load_settings()
    (tmp_path / "rpc").unlink()
    assert load_settings(rpc_url="http://other.example").rpc_url == "http://other.example"
    with pytest.raises(SettingsError, match="FLOCK_RPC_URL_FILE names a file that cannot be read"):
        load_settings()


def test_members_never_read_an_address_that_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.0.0.0 is where a container listens, and nowhere for a browser."""
    monkeypatch.setenv("FLOCK_PAGE_PORT", "9465")
    monkeypatch.setenv("FLOCK_PAGE_HOST", "0.0.0.0")  # noqa: S104  # never bound here
    assert load_settings().signing_url == "http://127.0.0.1:9465"
    monkeypatch.setenv("FLOCK_PAGE_HOST", "192.0.2.7")
    assert load_settings().signing_url == "http://192.0.2.7:9465"
    monkeypatch.setenv("FLOCK_PAGE_URL", "https://vote.example.org/")
    assert load_settings().signing_url == "https://vote.example.org"


def test_secrets_are_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may be printed by accident: nothing of theirs shows."""
    settings = load_with(monkeypatch, {**COMPLETE, "FLOCK_DATABASE_URL": "postgresql://u:hunter2@h/d"})
    shown = f"{settings!r} {settings} {settings.discord_token} {settings.model_dump()['livepeer_api_key']}"
    for secret in ("nobody-may-see", "hunter2", "0badc0de"):
        assert secret not in shown
