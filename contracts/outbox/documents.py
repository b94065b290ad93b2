"""The texts that the ledger names by their hash alone: registrations, manifests of releases, descriptions."""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.manifests import document_hash
from migrations.schema import ledger_documents

MOST_BYTES = 4 * 2**20  # of one text


async def keep_document(connection: AsyncConnection, content: bytes) -> str:
    """Keep a text, and return its hash. Raises ValueError for one of more than four mebibytes."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"A text that the ledger names has at most {MOST_BYTES} bytes.")
    name = document_hash(content)
    if await document(connection, name) is None:
        await connection.execute(insert(ledger_documents).values(hash=name, content=content))
    return name


async def document(connection: AsyncConnection, name: str) -> bytes | None:
    """Return the text of this hash; None where we do not have it."""
    content = await connection.scalar(select(ledger_documents.c.content).where(ledger_documents.c.hash == name))
    return None if content is None else bytes(content)


async def all_documents(connection: AsyncConnection) -> dict[str, bytes]:
    """Return every text, by its hash."""
    rows = await connection.execute(select(ledger_documents))
    return {row.hash: bytes(row.content) for row in rows}
