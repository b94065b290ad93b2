"""An adapter's way between bot and workers: in parts through the database, which is all that they share.

A file may be written while its row stands in `adapters`. The bot offers those that jobs ask for; it expects one that a
worker has made. Each part is a transaction, so that whoever is killed goes on with the parts that are missing; a file
gets its name once it is whole and has its hash. The list of examples that a training learns from goes the same way.
So go the originals of videos, and so does a worker need no key. The video host's store is no such way: what lies there
everybody may read, and an adapter that has not won belongs to nobody yet.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from generation.adapters.file import MOST_BYTES, PART_BYTES, AdapterError, adapter_path, check_adapter, check_numbers
from migrations.database import now_ms, upsert_into
from migrations.files import commit_draft, create_draft, draft_path, sha256_file
from migrations.schema import adapter_parts, adapters


class UnwantedError(Exception):
    """Nobody expects this adapter any more."""


async def expect(connection: AsyncConnection, sha256: str, size_bytes: int) -> None:
    """Expect an adapter: once the caller's transaction commits, its parts may be written. Safe to repeat.

    Raises AdapterError for a size that no adapter may have.
    """
    if not 0 < size_bytes <= MOST_BYTES:
        raise AdapterError(f"An adapter of {size_bytes} bytes is too large for the way through the database.")
    now = now_ms()
    await connection.execute(
        upsert_into(connection, adapters)
        .values(sha256=sha256, size_bytes=size_bytes, offered_at_ms=now)
        .on_conflict_do_update(index_elements=["sha256"], set_={"offered_at_ms": now})
    )


async def send(database: AsyncEngine, path: Path, sha256: str) -> None:
    """Write the parts of an adapter that are not there yet.

    Raises UnwantedError once nobody expects it, and OSError.
    """
    size = path.stat().st_size
    there = await _sizes(database, sha256)
    for part in range(-(-size // PART_BYTES)):
        data = await asyncio.to_thread(_read, path, part)
        if there.get(part) == len(data):
            continue
        try:
            async with database.begin() as connection:
                await connection.execute(
                    upsert_into(connection, adapter_parts)
                    .values(sha256=sha256, part=part, data=data)
                    .on_conflict_do_nothing()
                )
        except IntegrityError:
            raise UnwantedError from None


async def offer(database: AsyncEngine, path: Path, sha256: str) -> None:
    """Offer an adapter to all workers, unless it is offered already.

    Raises AdapterError where the file is not whole.
    """
    size = await asyncio.to_thread(_size, path)
    async with database.begin() as connection:
        await expect(connection, sha256, size)
    if sum((await _sizes(database, sha256)).values()) == size:
        return
    await asyncio.to_thread(check_adapter, path, sha256)
    await send(database, path, sha256)


async def offer_file(database: AsyncEngine, path: Path, sha256: str) -> None:
    """Offer a file that is no adapter to all workers, unless it is offered already. Raises AdapterError, OSError."""
    async with database.begin() as connection:
        await expect(connection, sha256, await asyncio.to_thread(_size, path))
    await send(database, path, sha256)


async def fetch_file(database: AsyncEngine, path: Path, sha256: str) -> None:
    """Bring a file that is no adapter to a path, unless it is there. Only its hash is checked.

    Raises AdapterError where it is not offered whole, whatever the database raises, and OSError.
    """
    if await asyncio.to_thread(_has_hash, path, sha256):
        return
    draft = draft_path(path)
    try:
        await asyncio.to_thread(_begin, draft)
        await _write_parts(database, draft, sha256)
        await asyncio.to_thread(commit_draft, draft, path)
    finally:
        await asyncio.to_thread(draft.unlink, missing_ok=True)


async def fetch(database: AsyncEngine, data_dir: Path, sha256: str, *, numbers: bool = True) -> Path:
    """Return the path of an adapter in a data folder, brought there if it must be, and checked.

    `numbers`: whether each number is looked at as well, which needs numpy; the bot has none.

    Raises AdapterError with a sentence where it is not offered, or is not what its hash says; whatever the database
    raises; and OSError.
    """
    path = adapter_path(data_dir, sha256)
    if await asyncio.to_thread(path.is_file):
        try:
            await asyncio.to_thread(_check, path, sha256, numbers)
        except AdapterError:  # damaged on this disk: the offered one may be whole
            await asyncio.to_thread(path.unlink, missing_ok=True)
        else:
            return path
    draft = draft_path(path)
    try:
        await asyncio.to_thread(_begin, draft)
        await _write_parts(database, draft, sha256)
        await asyncio.to_thread(_check, draft, sha256, numbers)
        await asyncio.to_thread(commit_draft, draft, path)
    finally:
        await asyncio.to_thread(draft.unlink, missing_ok=True)
    return path


async def withdraw(connection: AsyncConnection, *, keep: Collection[str], before_ms: int) -> int:
    """Delete the adapters that were last offered before a time, but for some; return how many."""
    old = delete(adapters).where(adapters.c.offered_at_ms < before_ms, adapters.c.sha256.not_in(keep))
    return (await connection.execute(old)).rowcount


async def forget_file(connection: AsyncConnection, sha256: str) -> None:
    """Offer a file no more: its parts are deleted. Safe to repeat."""
    await connection.execute(delete(adapters).where(adapters.c.sha256 == sha256))


async def _write_parts(database: AsyncEngine, draft: Path, sha256: str) -> None:
    """Write all parts into a draft. Raises AdapterError where one is missing."""
    async with database.connect() as connection:
        size = await connection.scalar(select(adapters.c.size_bytes).where(adapters.c.sha256 == sha256))
    if size is None:
        raise AdapterError(f"The adapter {sha256[:8]}… is not here, and the bot does not offer it.")
    digest = hashlib.sha256()
    for part in range(-(-size // PART_BYTES)):
        query = select(adapter_parts.c.data).where(adapter_parts.c.sha256 == sha256, adapter_parts.c.part == part)
        async with database.connect() as connection:
            data: bytes | None = await connection.scalar(query)
        if data is None or len(data) != min(PART_BYTES, size - part * PART_BYTES):
            raise AdapterError(f"The adapter {sha256[:8]}… lacks its part {part + 1}, or that is damaged.")
        digest.update(data)
        await asyncio.to_thread(_append, draft, data)
    if digest.hexdigest() != sha256:
        raise AdapterError(f"The adapter {sha256[:8]}… has another hash than its release names; it is not used.")


async def _sizes(database: AsyncEngine, sha256: str) -> dict[int, int]:
    query = select(adapter_parts.c.part, func.length(adapter_parts.c.data)).where(adapter_parts.c.sha256 == sha256)
    async with database.connect() as connection:
        return {int(part): int(size) for part, size in await connection.execute(query)}


def _check(path: Path, sha256: str, numbers: bool) -> None:
    check_adapter(path, sha256)
    if numbers:
        check_numbers(path)


def _has_hash(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise AdapterError(f"The adapter's file {path.name} cannot be read ({error.strerror}).") from error


def _begin(draft: Path) -> None:
    draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    create_draft(draft)


def _append(draft: Path, data: bytes) -> None:
    with draft.open("ab") as file:
        file.write(data)


def _read(path: Path, part: int) -> bytes:
    with path.open("rb") as file:
        file.seek(part * PART_BYTES)
        return file.read(PART_BYTES)
