"""Originals come to the bot's machine whole or not at all, and nothing of them stays in the database."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.client import Client
from bot.files import transfer
from bot.files.attachments import brought_path, delete_rendered, read_here
from bot.files.transfer import FileTransfer
from bot.store import file_transfers as store
from bot.store import videos
from generation.jobs import PART_BYTES
from generation.queue.engine import Engine, WorkCancelledError
from migrations.database import open_database, upgrade_database
from migrations.schema import original_parts, originals
from tests.bot.store.test_vote_writer import add_round, add_video
from tests.bot.sync.test_view_counts import video

MACHINE = "0123456789ab"
DATA = b"\0\0\0\x20ftypisom" + bytes(range(256)) * 5000  # two parts, of which the second is short
SHA256 = hashlib.sha256(DATA).hexdigest()


class OneGuild(Client):
    """A client whose guilds take the files that a machine's guild takes."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    @property
    def filesize_limit(self) -> int:
        return self._machine.limit

    def get_guild(self, _id: int, /) -> Any:
        return self


class MachineEngine(Engine):
    """Hands the jobs of a machine to it, and its results back."""

    def __init__(self, machine: Machine) -> None:
        self.submit, self.result = machine.submit, machine.result


@dataclass
class Machine:
    """The bot's machine over a real database; what a worker would send is written when its job comes."""

    database: AsyncEngine
    data_dir: Path
    limit: int = 10 * PART_BYTES
    jobs: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=lambda: [DATA[:PART_BYTES], DATA[PART_BYTES:]])
    end: dict[str, Any] | None = field(default_factory=lambda: {"outcome": "done"})

    def __post_init__(self) -> None:
        self.transfer = FileTransfer(
            database=self.database, engine=MachineEngine(self), client=OneGuild(self), data_dir=self.data_dir
        )

    async def submit(
        self, connection: AsyncConnection, _workflow: str, name: str, argument: dict[str, Any], *, queue: str
    ) -> None:
        if any(name == each for each, _, _ in self.jobs):
            return  # the same workflow again changes nothing
        self.jobs.append((name, queue, argument))
        for number, data in enumerate(self.parts):
            row = {"video_id": "7", "sha256": argument["sha256"], "part": number, "data": data}
            await connection.execute(insert(original_parts).values(row))

    async def result(self, _name: str) -> dict[str, Any] | None:
        if self.end == {}:
            raise WorkCancelledError
        return self.end

    async def bring(self) -> bool:
        return await self.transfer.bring("7", 1, MACHINE)

    async def here(self) -> bytes | None:
        return read_here(await videos.get(self.database, "7"), self.data_dir)

    async def left(self) -> tuple[int, int]:
        """Wishes and parts in the database."""
        async with self.database.connect() as connection:
            wishes = await connection.scalar(select(func.count()).select_from(originals))
            return int(wishes or 0), int(await connection.scalar(select(func.count()).select_from(original_parts)) or 0)


@pytest.fixture
async def machine(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    monkeypatch.setattr(transfer, "POLL_S", 0.01)
    await upgrade_database(sqlite_url)
    database = open_database(sqlite_url)
    await add_round(database, 1)
    await add_video(database, "7", 1, status="uploading")
    far = "/far/data/videos/7.mp4"
    await videos.change(database, "7", video_path=far, sha256=SHA256, size_bytes=len(DATA))
    yield Machine(database, tmp_path / "data")
    await database.dispose()


async def test_an_original_is_brought_once(machine: Machine) -> None:
    """Byte for byte, for this user's eyes only, and with it the parts are gone; a repetition asks for nothing."""
    for _ in range(2):
        assert await machine.bring()
    [(name, queue, job)] = machine.jobs
    assert (name, queue) == ("video-7-original-1", f"upload.{MACHINE}.originals")
    assert (job["video_id"], job["sha256"], job["size_bytes"]) == ("7", SHA256, len(DATA))
    assert await machine.here() == DATA
    assert await machine.left() == (0, 0)
    [path] = (machine.data_dir / "originals").iterdir()
    assert path == brought_path("7", machine.data_dir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_what_is_here_is_not_asked_for(machine: Machine) -> None:
    """Bot and worker share a data folder: no job, no part."""
    path = machine.data_dir / "videos" / "7.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    await videos.change(machine.database, "7", video_path=str(path))
    assert await machine.bring()
    assert (machine.jobs, await machine.left()) == ([], (0, 0))
    path.write_bytes(DATA + b"!")  # not what is recorded: then it is asked for
    assert await machine.bring()
    assert (len(machine.jobs), await machine.here()) == (1, DATA)


def _flipped(parts: list[bytes]) -> list[bytes]:
    return [parts[0], parts[1][:-1] + b"?"]


@pytest.mark.parametrize(
    "wrong",
    [
        _flipped,
        lambda parts: parts[:1],
        lambda parts: [parts[0], parts[1] + b"?"],
        lambda parts: [parts[0][:-1], parts[0][-1:] + parts[1]],
        lambda parts: [*parts[::-1]],
        lambda _: [],
    ],
    ids=["a byte", "too few", "too long", "other cuts", "other order", "nothing"],
)
async def test_other_bytes_are_refused(
    machine: Machine, wrong: Callable[[list[bytes]], list[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged on their way, or forged: no file, no draft, no part, and the operator reads it."""
    machine.parts = wrong(machine.parts)
    assert not await machine.bring()
    assert await machine.here() is None
    assert await machine.left() == (0, 0)
    assert list((machine.data_dir / "originals").iterdir()) == []
    assert "is not brought here" in caplog.text


async def test_what_is_no_mp4_is_refused_though_its_hash_is_recorded(machine: Machine) -> None:
    """A worker chooses the hash too."""
    page = b"<html>" + b" " * 100
    machine.parts = [page]
    await videos.change(machine.database, "7", sha256=hashlib.sha256(page).hexdigest(), size_bytes=len(page))
    assert not await machine.bring()
    assert (await machine.here(), await machine.left()) == (None, (0, 0))


async def test_what_is_too_large_stays_where_it_is(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """At the server's limit it comes; beyond it nobody is asked, and the operator reads why."""
    machine.limit = len(DATA) - 1
    assert not await machine.bring()
    assert machine.jobs == []
    assert "stays with its worker" in caplog.text
    await videos.change(machine.database, "7", size_bytes=None)
    assert not await machine.bring()
    machine.limit = len(DATA)
    await videos.change(machine.database, "7", size_bytes=len(DATA))
    assert await machine.bring()


@pytest.mark.parametrize("end", [{"outcome": "file_missing", "reason": "It is gone."}, {}], ids=["missing", "gone"])
async def test_a_lost_machine_costs_the_original_only(machine: Machine, end: dict[str, Any]) -> None:
    """The life goes on with what the host has; what was sent so far is deleted."""
    machine.end, machine.parts = end, machine.parts[:1]
    assert not await machine.bring()
    assert await machine.left() == (0, 0)


async def test_nobody_waits_for_a_cancelled_video(machine: Machine) -> None:
    """Its parts are deleted though its worker may still be sending."""
    machine.end, machine.parts = None, machine.parts[:1]
    bringing = asyncio.create_task(machine.bring())
    await asyncio.sleep(0.1)
    assert (bringing.done(), await machine.left()) == (False, (1, 1))
    assert await videos.request_cancel(machine.database, "7", "Cancelled.")
    assert await asyncio.wait_for(bringing, 10) is False
    assert await machine.left() == (0, 0)


async def test_an_outage_between_two_parts_loses_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller waits it out and calls again: the parts are still there, and the worker is not asked twice."""
    real, calls = store.part_or_none, 0

    async def failing(*given: Any) -> bytes | None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OperationalError("SELECT", {}, Exception("the server closed the connection"))
        return await real(*given)

    monkeypatch.setattr(store, "part_or_none", failing)
    with pytest.raises(OperationalError):
        await machine.bring()
    assert await machine.left() == (1, 2)
    assert await machine.bring()
    assert (len(machine.jobs), await machine.here(), await machine.left()) == (1, DATA, (0, 0))


async def test_a_death_before_the_parts_were_deleted_is_made_good(machine: Machine) -> None:
    """The file has its name, its parts are still there: the repetition only deletes them."""
    assert await machine.bring()
    async with machine.database.begin() as connection:
        await store.expect(connection, "7", SHA256)
        row = {"video_id": "7", "sha256": SHA256, "part": 0, "data": b"x"}
        await connection.execute(insert(original_parts).values(row))
    assert await machine.bring()
    assert (len(machine.jobs), await machine.left()) == (1, (0, 0))


async def test_a_disk_that_takes_nothing_costs_the_original_only(machine: Machine) -> None:
    """A file stands where its folder should be: the reason is logged, the database is clean."""
    machine.data_dir.mkdir()
    (machine.data_dir / "originals").write_text("in the way")
    assert not await machine.bring()
    assert await machine.left() == (0, 0)


async def test_what_nobody_needs_any_more_is_dropped(machine: Machine) -> None:
    """File, drafts of the dead, wish and parts; what was rendered on this machine stays."""
    rendered = machine.data_dir / "videos" / "7.mp4"
    rendered.parent.mkdir(parents=True)
    rendered.write_bytes(b"a worker's own")
    assert await machine.bring()
    path = brought_path("7", machine.data_dir)
    path.with_name(".7.mp4.123").write_bytes(b"half")
    path.with_name("77.mp4").write_bytes(b"another's")
    async with machine.database.begin() as connection:
        await store.expect(connection, "7", SHA256)
    video = await videos.get(machine.database, "7")
    for _ in range(2):
        await machine.transfer.drop(video)
    assert [each.name for each in path.parent.iterdir()] == ["77.mp4"]
    assert (rendered.exists(), await machine.left()) == (True, (0, 0))


async def test_a_rejected_video_is_deleted_here_too(machine: Machine) -> None:
    """It was brought for moderators; its worker's path leads to no file of this machine."""
    assert await machine.bring()
    delete_rendered(await videos.get(machine.database, "7"), machine.data_dir)
    assert await machine.here() is None
    assert not brought_path("7", machine.data_dir).exists()


def test_a_removed_video_takes_all_its_files_with_it(tmp_path: Path) -> None:
    """Poster, note and latents too, where it was rendered here; those of its neighbour stay."""
    folder = tmp_path / "videos"
    folder.mkdir()
    names = [f"{video_id}{ending}" for video_id in "78" for ending in (".mp4", ".jpg", ".json", ".latents.safetensors")]
    for name in names:
        (folder / name).write_bytes(b"x")
    delete_rendered(replace(video(7), video_path=str(folder / "7.mp4")), tmp_path)
    assert sorted(each.name for each in folder.iterdir()) == sorted(names[4:])


@pytest.mark.parametrize("odd", ["", "../7", "7/../../flock", "7.mp4", "٣"])
def test_only_an_id_makes_a_name(odd: str, tmp_path: Path) -> None:
    """Whatever the database may say."""
    with pytest.raises(ValueError, match="interaction id"):
        brought_path(odd, tmp_path)
