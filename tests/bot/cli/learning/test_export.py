"""`flock export`: what an operator reads, and the folder that others load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError
from pydantic import SecretStr
from sqlalchemy import update

from bot.__main__ import main
from bot.cli.learning.export import export, export_texts, hub_token, push
from bot.cli.process import exit_code_of
from bot.domain.errors import OperatorError
from bot.files.dataset import Wish
from bot.settings import Settings
from bot.store.learning import choices
from contracts.audit.texts import read_folder
from contracts.outbox.documents import keep_document
from generation.feedback.dataset.files import rows_of, verify
from migrations.database import open_database, upgrade_database
from migrations.schema import videos
from migrations.states.community import TrainingChoice
from tests.bot.store.learning.test_rows import add_vote
from tests.bot.store.test_vote_writer import GUILD, add_round, add_video
from tests.builders.clips import clip, finalized

PEPPER = "a pepper of the tests, 32 bytes long"
TOKEN = "hf_secret"


@pytest.fixture
async def settings(sqlite_url: str, tmp_path: Path) -> Settings:
    """A community of three whose one round is closed: two videos of 5's, votes of 6 and 7, who all have read."""
    await upgrade_database(sqlite_url)
    database = open_database(sqlite_url)
    await add_round(database, 1, closes_in_s=-1, status="closed")
    for video_id in ("10", "11"):
        await add_video(database, video_id, 1)
        await add_vote(database, video_id, 6)
        await add_vote(database, video_id, 7, 2)
    for member in (5, 6, 7):
        await choices.record_notice(database, GUILD, member)
    await database.dispose()
    return Settings(_env_file=None, database_url=sqlite_url, data_dir=tmp_path / "data", voter_pepper=SecretStr(PEPPER))


async def change(settings: Settings, video_id: str, **values: Any) -> None:
    database = open_database(settings.database_url)
    async with database.begin() as connection:
        await connection.execute(update(videos).where(videos.c.id == video_id).values(**values))
    await database.dispose()


async def test_the_folder_is_whole_and_the_lines_say_what_is_in_it(settings: Settings, tmp_path: Path) -> None:
    """Twice the same root; nothing was left out; what nobody could measure is said."""
    text = await export(settings, Wish(tmp_path / "set"))
    root = verify(tmp_path / "set").root
    assert f"{tmp_path / 'set'} holds 2 videos (" in text
    assert "4 rows of votes and feedback, 0 pairs and 2 voters, of round 1." in text
    assert "Nothing was left out." in text
    assert "The motion of 2 videos is not known" in text
    assert f"Root: {root}" in text
    assert (await export(settings, Wish(tmp_path / "again"))).endswith(f"Root: {root}\n")


async def test_whoever_opted_out_is_left_out_and_counted(settings: Settings, tmp_path: Path) -> None:
    """Their votes are nowhere in the folder; what was exported before stays as it was."""
    before = await export(settings, Wish(tmp_path / "before"))
    database = open_database(settings.database_url)
    await choices.choose(database, GUILD, 6, TrainingChoice.OUT)
    await database.dispose()
    text = await export(settings, Wish(tmp_path / "after"))
    assert "Left out: 2 votes by members who have opted out." in text
    assert "2 rows of votes and feedback, 0 pairs and 1 voter" in text
    ups = [row["up"] for split in ("train", "test") for row in rows_of(tmp_path / "after", "videos", split)]
    assert ups == [0, 0]
    assert before.endswith(f"Root: {verify(tmp_path / 'before').root}\n")


async def test_motion_and_licence_come_from_card_file_and_model(settings: Settings, tmp_path: Path) -> None:
    """The card's number is taken where there is one; else the file is measured, unless it is another file by now."""
    facts = finalized(settings.data_dir, clip())
    whole = {"video_path": str(settings.data_dir / "videos" / "1.mp4"), "sha256": facts["sha256"]}
    await change(settings, "10", **whole, provenance=facts["provenance"])
    await change(settings, "11", **whole)
    text = await export(settings, Wish(tmp_path / "set"))
    assert "is not known" not in text
    rows = {
        row["motion_source"]: row for split in ("train", "test") for row in rows_of(tmp_path / "set", "videos", split)
    }
    assert rows["frames"]["motion"] == facts["provenance"]["motion"]
    assert rows["file"]["motion"] == pytest.approx(facts["provenance"]["motion"], rel=0.2)
    assert rows["frames"]["model_license"] == rows["file"]["model_license"] == "MIT"
    assert json.loads(str(rows["frames"]["card"]))["seed"] == facts["provenance"]["seed"]
    await change(settings, "11", sha256="0" * 64)
    assert "The motion of 1 video is not known" in await export(settings, Wish(tmp_path / "set"))


async def test_the_texts_behind_releases_are_what_an_audit_reads(settings: Settings, tmp_path: Path) -> None:
    """Each text is written whole, and read back by its hash; a file in the folder's place is a sentence."""
    assert "holds 0 texts" in await export_texts(settings, tmp_path / "texts")
    database = open_database(settings.database_url)
    async with database.begin() as connection:
        name = await keep_document(connection, b'{"a": "manifest"}')
    await database.dispose()
    said = await export_texts(settings, tmp_path / "texts")
    assert said.startswith(f"{tmp_path / 'texts'} holds 1 text ")
    assert f"flock audit --releases {tmp_path / 'texts'}" in said
    assert read_folder(tmp_path / "texts") == {name: b'{"a": "manifest"}'}
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match=r"cannot be written to .*/file: File exists\."):
        await export_texts(settings, tmp_path / "file")


@pytest.mark.parametrize("arguments", [[], ["--texts", "texts", "--round", "3"], ["--texts", "texts", "--push", "a/b"]])
def test_without_a_folder_for_the_data_set_nothing_is_written(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice of rounds or a hub needs a data set; the sentence names both options."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        main(["export", *arguments])
    assert "Name a folder: --out for a data set" in capsys.readouterr().err
    assert not (tmp_path / "texts").exists()


@pytest.mark.parametrize(
    ("wish", "values", "words"),
    [
        ({"rounds": (2,)}, {}, "no round 2"),
        ({"server": 1}, {}, "nothing to export"),
        ({}, {"voter_pepper": None}, "FLOCK_VOTER_PEPPER is not set"),
        ({}, {"models_file": Path("none.toml")}, "cannot be read"),
    ],
)
async def test_what_cannot_be_exported_is_a_sentence(
    settings: Settings, tmp_path: Path, wish: dict[str, Any], values: dict[str, Any], words: str
) -> None:
    """And nothing is written."""
    with pytest.raises(OperatorError, match=words):
        await export(settings.model_copy(update=values), Wish(tmp_path / "set", **wish))
    assert not (tmp_path / "set").exists()


async def test_a_folder_with_other_things_stays_as_it_is(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(OperatorError, match="something else"):
        await export(settings, Wish(tmp_path / "photos"))
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


# --------------------------------------------------------------------------- the hub


class Hub:
    """A hub that takes, or answers with an error whose text holds what nobody may read."""

    sent: list[tuple[str, str]]

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.sent, self.tokens = error, [], [""]

    def __call__(self, token: str) -> Hub:
        self.tokens.append(token)
        return self

    def create_repo(self, repository: str, *, repo_type: str, private: bool, exist_ok: bool) -> None:
        assert (repo_type, private, exist_ok) == ("dataset", True, True)
        if self.error is not None:
            raise self.error

    def upload_folder(self, *, repo_id: str, folder_path: Path, **values: str) -> None:
        assert values["repo_type"] == "dataset"
        self.sent.append((repo_id, str(folder_path)))


def test_a_push_sends_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    assert push(tmp_path, "org/votes", TOKEN) == "Sent to org/votes.\n"
    assert hub.sent == [("org/votes", str(tmp_path))]
    assert hub.tokens[-1] == TOKEN


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            HfHubHTTPError(
                f"403 with {TOKEN}", response=httpx.Response(403, request=httpx.Request("POST", "http://h"))
            ),
            r"did not take the data set \(HTTP 403\)",
        ),
        (httpx.ConnectError(f"no way to {TOKEN}"), r"cannot be reached \(ConnectError\)"),
    ],
    ids=["rejected", "away"],
)
def test_a_push_that_fails_is_a_sentence_without_the_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, words: str
) -> None:
    """The data set is whole all the same, and the sentence says where."""
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub(error))
    with pytest.raises(OperatorError, match=words) as caught:
        push(tmp_path, "org/votes", TOKEN)
    assert TOKEN not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_without_a_token_nothing_is_tried(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence names the ways to give one; with one it is taken as it is."""
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert exit_code_of(lambda: len(hub_token())) == 1
    assert "hf auth login" in capsys.readouterr().err
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
    assert hub_token() == TOKEN
