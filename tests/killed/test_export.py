"""`flock export`, killed: the folder holds the old data set or the whole new one, and the next export writes it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from bot.store.learning import choices
from generation.feedback.dataset.files import verify
from migrations.database import open_database, upgrade_database
from migrations.schema import votes
from tests.bot.store.learning.test_rows import add_vote
from tests.bot.store.test_vote_writer import GUILD, add_round, add_video
from tests.builders.killed import killed_flock

FILES = "generation.feedback.dataset.files"
PLACES: dict[str, dict[str, Any]] = {
    "the votes are read": {"place": "bot.cli.learning.export:tables_for"},
    "the first table is open": {"place": f"{FILES}:_write_table", "when": "before"},
    "a table is written": {"place": f"{FILES}:_write_table"},
    "all tables are written": {"place": f"{FILES}:_write_table", "nth": 2},
    "the draft is whole": {"place": f"{FILES}:_put_in_place", "when": "before"},
    "the draft has its name": {"place": f"{FILES}:_put_in_place"},
}
QUICK = ("a table is written", "the draft has its name")
PEPPER = "a pepper of the tests, 32 bytes long"


async def a_community(url: str) -> None:
    """Two videos of a closed round, with votes of two members who have read what these train."""
    await upgrade_database(url)
    database = open_database(url)
    await add_round(database, 1, closes_in_s=-1, status="closed")
    for video_id in ("10", "11"):
        await add_video(database, video_id, 1)
        await add_vote(database, video_id, 6)
        await add_vote(database, video_id, 7, 2)
    for member in (5, 6, 7):
        await choices.record_notice(database, GUILD, member)
    await database.dispose()


async def take_a_vote_back(url: str) -> None:
    database = open_database(url)
    async with database.begin() as connection:
        await connection.execute(delete(votes).where(votes.c.video_id == "10", votes.c.member_id == 7))
    await database.dispose()


async def kill_at(place: str, folder: Path) -> None:
    """An export over an older one is killed; what is there is one of the two, and the next export leaves nothing."""
    url = f"sqlite:///{folder}/flock.db"
    await a_community(url)
    settings = {"FLOCK_DATABASE_URL": url, "FLOCK_DATA_DIR": str(folder / "data"), "FLOCK_VOTER_PEPPER": PEPPER}

    def export(name: str, at: Mapping[str, Any] | None = None) -> tuple[int, str]:
        return killed_flock(folder, "export", "--out", str(folder / "sets" / name), at=at, **settings)

    code, said = export("votes")
    assert code == 0, said
    old = verify(folder / "sets" / "votes").root
    await take_a_vote_back(url)
    code, said = export("votes", PLACES[place])
    assert code == -signal.SIGKILL, said
    left = verify(folder / "sets" / "votes").root
    code, said = export("votes")
    assert code == 0, said
    new = verify(folder / "sets" / "votes").root
    assert new != old
    assert left == (new if place == "the draft has its name" else old)
    assert [path.name for path in (folder / "sets").iterdir()] == ["votes"]


@pytest.mark.parametrize("place", QUICK)
async def test_a_killed_export_leaves_the_old_data_set_or_the_new_one(place: str, tmp_path: Path) -> None:
    """Each file of it as its manifest says; and the next export cleans up."""
    await kill_at(place, tmp_path)


@pytest.mark.parametrize("place", [place for place in PLACES if place not in QUICK])
@pytest.mark.usefixtures("in_a_long_run")
async def test_wherever_it_is_killed(place: str, tmp_path: Path) -> None:
    """Before the tables, between them, and when all are written."""
    await kill_at(place, tmp_path)
