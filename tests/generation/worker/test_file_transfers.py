"""What a worker sends to a bot on another machine: its own file, once, in small parts, and only while it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.jobs import MOST_BYTES, PART_BYTES, OriginalJob, originals_queue, parts_of, upload_queue
from generation.queue.reaper import MACHINE_QUEUES, WORKER_QUEUES
from generation.worker.file_transfers import Originals
from generation.worker.uploads import HandOverError
from migrations.schema import original_parts, originals

DATA = bytes(range(256)) * 4096 * 2 + b"the rest"  # two whole parts, and a short one
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class Sender:
    """A worker's sending over a real database, and the file that it holds."""

    database: AsyncEngine
    data_dir: Path
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.path = self.data_dir / "videos" / "42.mp4"
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(DATA)
        self._originals = Originals(self.database, self.data_dir, watch_for_cancel=self._watched, closing=self.closing)

    @contextlib.asynccontextmanager
    async def _watched(self, _video_id: str) -> AsyncIterator[asyncio.Event]:
        yield self.unwanted

    async def send(self, **other: Any) -> dict[str, Any]:
        job = OriginalJob("42", str(self.path), SHA256, len(DATA)).to_json()
        return await self._originals.send({**job, **other})

    async def want(self) -> None:
        async with self.database.begin() as connection:
            await connection.execute(insert(originals).values(video_id="42", sha256=SHA256, created_at_ms=0))

    async def there(self) -> dict[int, bytes]:
        async with self.database.connect() as connection:
            rows = await connection.execute(select(original_parts).order_by(original_parts.c.part))
            return {row.part: row.data for row in rows}


@pytest.fixture
def sender(database: AsyncEngine, tmp_path: Path) -> Sender:
    return Sender(database, tmp_path / "data")


async def test_a_file_comes_in_parts_and_a_repetition_adds_nothing(sender: Sender) -> None:
    """Together they are the file, byte for byte."""
    await sender.want()
    for _ in range(2):
        assert await sender.send() == {"outcome": "done"}
    found = await sender.there()
    assert [len(data) for data in found.values()] == [PART_BYTES, PART_BYTES, 8]
    assert b"".join(found.values()) == DATA


async def test_only_what_is_missing_is_sent_again(sender: Sender) -> None:
    """After a death between two parts, those that are there stay as they are."""
    await sender.want()
    async with sender.database.begin() as connection:
        await connection.execute(
            insert(original_parts).values(video_id="42", sha256=SHA256, part=1, data=DATA[PART_BYTES : 2 * PART_BYTES])
        )
    sent: list[int] = []

    def note(_connection: Any, clause: Any, _many: Any, _parameters: Any, _options: Any) -> None:
        if getattr(clause, "table", None) is original_parts and clause.is_insert:
            sent.append(clause.compile().params["part"])

    event.listen(sender.database.sync_engine, "before_execute", note)
    assert await sender.send() == {"outcome": "done"}
    assert sent == [0, 2]
    assert b"".join((await sender.there()).values()) == DATA


async def test_nothing_can_be_written_that_the_bot_does_not_wait_for(sender: Sender) -> None:
    """Neither before its wish nor after it; with the wish go the parts, whoever writes late leaves nothing."""
    assert (await sender.send())["outcome"] == "cancelled"
    assert await sender.there() == {}
    await sender.want()
    await sender.send()
    async with sender.database.begin() as connection:
        await connection.execute(delete(originals))
    assert await sender.there() == {}
    assert (await sender.send())["outcome"] == "cancelled"
    assert await sender.there() == {}


@pytest.mark.parametrize(("part", "size"), [(0, PART_BYTES + 1), (100, 1), (-1, 1)])
async def test_the_table_takes_no_more_than_a_file_may_have(sender: Sender, part: int, size: int) -> None:
    """Whoever writes past our own code can fill 100 MiB for a video that is waited for, and no more."""
    await sender.want()
    row = {"video_id": "42", "sha256": SHA256, "part": part, "data": b"x" * size}
    with pytest.raises(DBAPIError, match="ck_original_parts"):
        async with sender.database.begin() as connection:
            await connection.execute(insert(original_parts).values(row))
    async with sender.database.begin() as connection:
        await connection.execute(insert(original_parts).values({**row, "part": 99, "data": b"x" * PART_BYTES}))
    assert parts_of(MOST_BYTES) == 100


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_only_what_was_rendered_here_and_is_unchanged_is_sent(sender: Sender) -> None:
    """Another file of this machine, a link to one, other bytes, a file too large: nothing is written."""
    await sender.want()
    secret = sender.data_dir / "key.pem"
    secret.write_bytes(DATA)
    link = sender.path.with_name("43.mp4")
    link.symlink_to(secret)
    for named in (secret, link, sender.path.parent / ".." / "key.pem", sender.path.with_name("44.mp4")):
        assert (await sender.send(video_path=str(named)))["outcome"] == "file_missing"
    assert (await sender.send(sha256="0" * 64))["outcome"] == "file_missing"
    for size in (0, -1, MOST_BYTES + 1):
        assert "too large" in (await sender.send(size_bytes=size))["reason"]
    for odd in ({"size_bytes": "many"}, {"video_path": None}, {"more": 1}):
        assert "cannot read this job" in (await sender.send(**odd))["reason"]
    assert await sender.there() == {}
    assert await sender.send() == {"outcome": "done"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_who_ends_hands_over_and_who_is_unwanted_stops(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ending worker records nothing; a cancelled video ends its sending."""
    await sender.want()
    never = asyncio.Event()
    monkeypatch.setattr(Originals, "_parts_there", lambda *_: never.wait())
    sender.closing.set()
    with pytest.raises(HandOverError):
        await sender.send()
    sender.closing.clear()
    sender.unwanted.set()
    assert (await sender.send())["outcome"] == "cancelled"


def test_originals_have_a_queue_of_their_own_that_is_watched_like_an_uploads() -> None:
    """Uploads that wait for their host take no place of theirs, and a machine that is gone gives them up too."""
    queue = originals_queue("0123456789ab")
    assert queue != upload_queue("0123456789ab")
    assert queue.startswith(MACHINE_QUEUES)
    assert queue.startswith(WORKER_QUEUES)
    with pytest.raises(ValueError, match="machine's name"):
        originals_queue("../x")
