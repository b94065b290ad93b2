"""Where settings come from: misspelt names in each source, and secrets in files, with every way to get them wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.setting_sources import MOST_BYTES, Sources, look_at_sources
from bot.settings import Settings

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.Gabcde.a-token-that-nobody-may-see"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("FLOCK_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def told(sources: Sources) -> list[str]:
    """Return the sentences, in which no secret stands."""
    texts = [str(problem) for problem in sources.problems.values()]
    assert not any("nobody-may-see" in text for text in texts)
    return texts


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FLOCK_DISCRD_TOKEN", "FLOCK_DISCORD_TOKEN"),
        ("FLOCK_PROMPTS_A_ROUNDS", "FLOCK_PROMPTS_A_ROUND"),
        ("FLOCK_TOKEN", "FLOCK_DISCORD_TOKEN"),
        ("FLOCK_PEPPER", "FLOCK_VOTER_PEPPER"),
        ("flock_discrd_token", "FLOCK_DISCORD_TOKEN"),
        ("FLOCK_DISCRD_TOKEN_FILE", "FLOCK_DISCORD_TOKEN_FILE"),
        ("FLOCK_KEYSTORE_FILE", "FLOCK_KEYSTORE"),
        ("FLOCK_MODEL_ID_FILE", "FLOCK_MODEL_ID"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_misspelt_name_is_told_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, name: str, meant: str
) -> None:
    """In the environment and in `.env` alike, and never with the value, which may be a secret."""
    if place == "environment":
        monkeypatch.setenv(name, TOKEN)
    else:
        (tmp_path / ".env").write_text(f"{name}={TOKEN}\n")
    [text] = told(look_at_sources(Settings))
    assert text.startswith(f"{name.upper()} is not a setting; did you mean {meant}?")


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        (f"FLOCK_DISCORD_TOKEN{TOKEN}", "FLOCK_DISCORD_TOKEN"),
        (f"FLOCK_DISCORD_TOKEN:{TOKEN}", "FLOCK_DISCORD_TOKEN"),
        (f"FLOCK_DISCORD_TOKEN: {TOKEN}", "FLOCK_DISCORD_TOKEN"),
        ("FLOCK_VOTER_PEPPERnobody_may_see_this=", "FLOCK_VOTER_PEPPER"),
        (f"FLOCK_{TOKEN}", "FLOCK_"),
    ],
)
def test_a_line_without_its_equals_sign_is_told_without_what_it_holds(tmp_path: Path, line: str, begins: str) -> None:
    """It may be a secret, and reports of errors are public."""
    (tmp_path / ".env").write_text(line + "\n")
    sources = look_at_sources(Settings)
    everything = " ".join([*sources.problems, *told(sources)]).lower()
    assert "may-see" not in everything
    assert "may_see" not in everything
    assert not told(sources) or f"begins with {begins} has no = " in told(sources)[0]


def test_a_name_like_no_other_is_told_without_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong guess would mislead."""
    monkeypatch.setenv("FLOCK_QUUX", "1")
    assert told(look_at_sources(Settings)) == [
        "FLOCK_QUUX is not a setting. Remove it; .env.example lists all settings."
    ]


def test_names_that_are_not_for_us_are_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the demo's services, of tests, of compose, of other programs; and what Kubernetes says of a service."""
    others = {
        "FLOCK_DEMO_CONTROL_TOKEN": "x",
        "FLOCK_REAL_LIVEPEER_KEY": "x",
        "FLOCK_TEST_SEED": "7",
        "FLOCK_SERVICE_HOST": "10.0.0.1",
        "FLOCK_BOT_SERVICE_PORT": "9464",
        "FLOCK_BOT_SERVICE_PORT_METRICS": "9464",
        "FLOCK_PORT": "tcp://10.0.0.1:9464",
        "FLOCK_BOT_PORT_9464_TCP_ADDR": "10.0.0.1",
    }
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=x\nWORKER_DATABASE_URL=x\nFLOCKS=3\nFLOCK_MODEL_ID=mine\n")
    assert told(look_at_sources(Settings)) == []


def test_a_secret_in_a_file_is_read_without_its_last_newline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The path may stand in the environment or in `.env`; only the line's end is taken away."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "password").write_bytes(b"\xef\xbb\xbf two words \r\n")
    monkeypatch.setenv("FLOCK_DISCORD_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / ".env").write_text("FLOCK_KEYSTORE_PASSWORD_FILE=password\nFLOCK_KEYSTORE_PASSWORD=\n")
    sources = look_at_sources(Settings)
    assert told(sources) == []
    assert sources.values == {"discord_token": TOKEN, "keystore_password": " two words "}
    assert TOKEN not in repr(sources)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "empty file"),
        (b"\n \n", "empty file"),
        (b"x" * (MOST_BYTES + 1), "more than 16 KiB"),
        (b"\xff\xfe\x00", "not text"),
        (b"a\0b", "not text"),
    ],
)
@pytest.mark.parametrize("credential", [False, True])
def test_a_file_without_a_secret_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, credential: bool, content: bytes | None, says: str
) -> None:
    """One sentence for each way in which it is wrong; nothing is read from it."""
    file = tmp_path / "credentials" / "FLOCK_DISCORD_TOKEN"
    file.parent.mkdir()
    if content is not None:
        file.write_bytes(content)
    elif credential:
        file.symlink_to("nowhere")
    if credential:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    else:
        monkeypatch.setenv("FLOCK_DISCORD_TOKEN_FILE", str(file))
    sources = look_at_sources(Settings)
    [text] = told(sources)
    assert text.startswith("The credential FLOCK_DISCORD_TOKEN" if credential else "FLOCK_DISCORD_TOKEN_FILE")
    assert says in text
    assert sources.values == {}


def test_a_folder_and_a_pipe_are_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pipe without a writer would hold up the start for ever."""
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        monkeypatch.setenv("FLOCK_DISCORD_TOKEN_FILE", str(place))
        [text] = told(look_at_sources(Settings))
        assert "not a regular file" in text


def test_a_secret_that_stands_in_two_places_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody would know which one is used. An empty value is none."""
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("FLOCK_DISCORD_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("FLOCK_DISCORD_TOKEN", TOKEN)
    both = "FLOCK_DISCORD_TOKEN and FLOCK_DISCORD_TOKEN_FILE are both set. Keep one of them."
    assert told(look_at_sources(Settings)) == [both]
    monkeypatch.setenv("FLOCK_DISCORD_TOKEN", "")
    assert told(look_at_sources(Settings)) == []
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "FLOCK_DISCORD_TOKEN").write_text(TOKEN)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    [text] = told(look_at_sources(Settings))
    assert text.startswith("FLOCK_DISCORD_TOKEN_FILE and the credential FLOCK_DISCORD_TOKEN are both set.")
    assert told(look_at_sources(Settings, replaced=["discord_token"])) == []


def test_credentials_of_systemd_are_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the names of the settings; others of that folder are not ours, and misspelt ones are told."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name, text in {"FLOCK_DISCORD_TOKEN": f"{TOKEN}\n", "keystore": "{}"}.items():
        (folder / name).write_text(text)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    sources = look_at_sources(Settings)
    assert told(sources) == []
    assert sources.values == {"discord_token": TOKEN}
    (folder / "FLOCK_VOTER_PEPER").write_text(TOKEN)
    (folder / "FLOCK_MODEL_ID").write_text("tiny")
    texts = told(look_at_sources(Settings))
    assert any("FLOCK_VOTER_PEPER is not a setting; did you mean FLOCK_VOTER_PEPPER?" in text for text in texts)
    assert any("FLOCK_MODEL_ID is no secret" in text for text in texts)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "nowhere"))
    [text] = told(look_at_sources(Settings))
    assert "CREDENTIALS_DIRECTORY cannot be read" in text


def test_a_file_of_settings_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """The rest is looked at all the same."""
    (tmp_path / ".env").write_bytes(b"FLOCK_MODEL_ID=\xff\xfe\n")
    sources = look_at_sources(Settings)
    assert "The file .env cannot be read" in told(sources)[0]
    assert not sources.reads_env_file
