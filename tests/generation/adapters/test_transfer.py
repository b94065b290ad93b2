"""An adapter goes through the database in parts: once, whole, and only while it is expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete, event, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from generation.adapters.file import PART_BYTES, AdapterError
from generation.adapters.transfer import UnwantedError, expect, fetch, offer, send, withdraw
from migrations.database import now_ms
from migrations.schema import adapter_parts, adapters
from tests.builders.adapters import LAYER, adapter_bytes, write_adapter

LARGE = adapter_bytes({f"{LAYER}.lora_A.weight": (1, 200_000), f"{LAYER}.lora_B.weight": (400_000, 1)})


@pytest.fixture
def offered(tmp_path: Path) -> tuple[Path, str]:
    """A file of three parts on the bot's disk."""
    assert 2 * PART_BYTES < len(LARGE) < 3 * PART_BYTES
    return write_adapter(tmp_path / "bot", LARGE)


async def test_a_worker_gets_what_the_bot_offers(
    database: AsyncEngine, offered: tuple[Path, str], tmp_path: Path
) -> None:
    """Byte for byte, under the name of its hash; the second time nothing is asked for."""
    path, sha256 = offered
    for _ in range(2):
        await offer(database, path, sha256)
    here = await fetch(database, tmp_path / "worker", sha256)
    assert here == tmp_path / "worker" / "adapters" / f"{sha256}.safetensors"
    assert here.read_bytes() == LARGE
    async with database.begin() as connection:
        assert await withdraw(connection, keep=[], before_ms=now_ms() + 1) == 1
    assert await fetch(database, tmp_path / "worker", sha256) == here


async def test_whoever_was_killed_goes_on_with_the_missing_parts(
    database: AsyncEngine, offered: tuple[Path, str], tmp_path: Path
) -> None:
    """Until all parts are there a worker takes nothing; a draft of a killed one does no harm."""
    path, sha256 = offered
    async with database.begin() as connection:
        await expect(connection, sha256, len(LARGE))
        await connection.execute(
            insert(adapter_parts).values(sha256=sha256, part=1, data=LARGE[PART_BYTES:][:PART_BYTES])
        )
    folder = tmp_path / "worker" / "adapters"
    folder.mkdir(parents=True)
    (folder / f".{sha256}.safetensors.1.safetensors").write_bytes(b"half")
    with pytest.raises(AdapterError, match="lacks its part 1"):
        await fetch(database, tmp_path / "worker", sha256)
    sent: list[int] = []

    def note(_connection: object, clause: object, _many: object, parameters: object, _options: object) -> None:
        if getattr(clause, "table", None) is adapter_parts and getattr(clause, "is_insert", False):
            sent.append(clause.compile().params["part"])  # type: ignore[attr-defined]  # an Insert, as just asked

    event.listen(database.sync_engine, "before_execute", note)
    await offer(database, path, sha256)
    assert sent == [0, 2]
    assert (await fetch(database, tmp_path / "worker", sha256)).read_bytes() == LARGE


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_wrong_bytes_are_refused_with_a_sentence(
    database: AsyncEngine, offered: tuple[Path, str], tmp_path: Path
) -> None:
    """Whoever has changed a part has changed the hash; nothing of it stays on the worker's disk."""
    path, sha256 = offered
    await offer(database, path, sha256)
    async with database.begin() as connection:
        await connection.execute(update(adapter_parts).where(adapter_parts.c.part == 0).values(data=bytes(PART_BYTES)))
    with pytest.raises(AdapterError, match="another hash than its release names"):
        await fetch(database, tmp_path / "worker", sha256)
    assert list((tmp_path / "worker" / "adapters").iterdir()) == []
    with pytest.raises(AdapterError, match="the bot does not offer it"):
        await fetch(database, tmp_path / "worker", "0" * 64)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_damaged_file_is_fetched_anew(database: AsyncEngine, offered: tuple[Path, str], tmp_path: Path) -> None:
    path, sha256 = offered
    await offer(database, path, sha256)
    here = await fetch(database, tmp_path / "worker", sha256)
    here.write_bytes(LARGE[:-1] + b"x")
    assert (await fetch(database, tmp_path / "worker", sha256, numbers=False)).read_bytes() == LARGE
    path.write_bytes(b"damaged")
    async with database.begin() as connection:
        await connection.execute(delete(adapters))
    with pytest.raises(AdapterError, match="another hash"):
        await offer(database, path, sha256)


async def test_nothing_comes_that_nobody_expects(database: AsyncEngine, offered: tuple[Path, str]) -> None:
    """A candidate's file is written while the bot waits for it, and no longer; a size has its bounds."""
    path, sha256 = offered
    with pytest.raises(UnwantedError):
        await send(database, path, sha256)
    async with database.begin() as connection:
        await expect(connection, sha256, len(LARGE))
        for size in (0, (1 << 30) + 1):
            with pytest.raises(AdapterError, match="too large"):
                await expect(connection, sha256, size)
    await send(database, path, sha256)
    for part, size in ((0, PART_BYTES + 1), (1024, 1), (-1, 1)):
        with pytest.raises(DBAPIError, match="ck_adapter_parts"):
            async with database.begin() as connection:
                await connection.execute(delete(adapter_parts).where(adapter_parts.c.part == part))
                await connection.execute(insert(adapter_parts).values(sha256=sha256, part=part, data=b"x" * size))
    async with database.begin() as connection:
        assert await withdraw(connection, keep=[sha256], before_ms=now_ms() + 1) == 0
        assert await withdraw(connection, keep=[], before_ms=0) == 0
        await connection.execute(delete(adapters))
    async with database.connect() as connection:
        assert (await connection.scalars(select(adapter_parts.c.part))).all() == []
