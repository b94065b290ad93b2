"""The entries that fix data sets and releases on the ledger, and their status.

A release waits for the commitments of its data set and its parent, for the result of its battle round and for all
reveals; whatever the audit would refuse is refused here at once. Every function may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.manifests import DECOY, ReleaseManifest, hex_digits
from contracts.outbox.battles import EntryStatus, entry_status, status_of
from contracts.outbox.documents import keep_document
from migrations.database import now_ms
from migrations.schema import battles, commitments, outbox, rounds
from migrations.states.ledger import CommitmentKind, OutboxKind, OutboxState


@dataclass(frozen=True)
class _Commitment:
    kind: CommitmentKind
    root: str
    meta: str
    parent: str | None
    dataset: str | None = None
    round_id: int | None = None


async def enqueue_dataset(
    connection: AsyncConnection, *, root: str, description: bytes, parent: str | None = None
) -> int:
    """Enter a data set by its root, and keep its description (its manifest); return the entry's id.

    `parent` is the root of the data set that it continues. Raises LookupError for a parent that was not entered, and
    ValueError for a root that was entered with another description or parent.
    """
    root = hex_digits(root, "data set's root")
    parent = None if parent is None else hex_digits(parent, "parent's root")
    await _require(connection, CommitmentKind.DATASET, parent)
    meta = await keep_document(connection, description)
    return await _enter(connection, _Commitment(CommitmentKind.DATASET, root, meta, parent))


async def enqueue_release(connection: AsyncConnection, *, manifest: ReleaseManifest, description: bytes) -> int:
    """Enter a release by its manifest's hash, and keep manifest and description; return the entry's id.

    Raises LookupError for a data set, parent or battle round that was not entered, and ValueError where the manifest
    contradicts them: another number or registration, a battle without its reveal, or one of another adapter.
    """
    await _require(connection, CommitmentKind.RELEASE, manifest.parent)
    await _require(connection, CommitmentKind.DATASET, manifest.dataset, manifest.dataset_number)
    round_id = await _require_battles(connection, manifest)
    meta = await keep_document(connection, description)
    root = await keep_document(connection, manifest.to_bytes())
    return await _enter(
        connection, _Commitment(CommitmentKind.RELEASE, root, meta, manifest.parent, manifest.dataset, round_id)
    )


async def commitment_status(database: AsyncEngine, kind: CommitmentKind, root: str) -> EntryStatus | None:
    """Return the status of a data set's or a release's commitment; None for one that was not entered."""
    query = (
        status_of(commitments.c.number)
        .join(commitments, commitments.c.entry == outbox.c.id)
        .where(commitments.c.kind == kind, commitments.c.root == root)
    )
    async with database.connect() as connection:
        return entry_status((await connection.execute(query)).first())


async def _require(
    connection: AsyncConnection, kind: CommitmentKind, root: str | None, number: int | None = None
) -> None:
    """Raise LookupError where a commitment was not entered, and ValueError where it has another number."""
    if root is None:
        return
    query = select(commitments.c.number).where(commitments.c.kind == kind, commitments.c.root == root)
    row = (await connection.execute(query)).first()
    name = "data set" if kind == CommitmentKind.DATASET else "release"
    if row is None:
        raise LookupError(f"The {name} {root[:8]}… was not entered for the ledger.")
    if number is not None and row.number != number:
        raise ValueError(f"The {name} {root[:8]}… has number {row.number} on the ledger, not {number}.")


async def _require_battles(connection: AsyncConnection, manifest: ReleaseManifest) -> int:
    """Return the id of a release's battle round.

    Raises LookupError where there is none of its key, and ValueError where manifest and battles contradict each other.
    """
    query = (
        select(rounds.c.id, rounds.c.chain_id, outbox.c.payload)
        .join(outbox, (outbox.c.round_id == rounds.c.id) & (outbox.c.kind == OutboxKind.ROUND))
        .where(rounds.c.chain_key.in_((manifest.round_key, "0x" + manifest.round_key)))
    )
    about = (await connection.execute(query)).first()
    if about is None:
        raise LookupError("The release's battle round was not entered for the ledger.")
    if about.chain_id != manifest.round_number:
        raise ValueError(f"The battle round has number {about.chain_id} on the ledger, not {manifest.round_number}.")
    if about.payload["meta_hash"] != manifest.registration:
        raise ValueError("The battle round was opened with another registration.")
    reveals = (
        select(battles.c.id, outbox.c.payload)
        .outerjoin(outbox, (outbox.c.video_id == battles.c.id) & (outbox.c.kind == OutboxKind.REVEAL))
        .where(battles.c.round_id == about.id)
    )
    rows = (await connection.execute(reveals)).all()
    if not rows:
        raise ValueError("The release's round holds no battle.")
    for row in rows:
        if row.payload is None:
            raise ValueError(f"Battle {row.id} of the release's round has no reveal.")
        models = (row.payload["model_a"], row.payload["model_b"])
        if manifest.adapter not in models and DECOY not in models:
            raise ValueError(f"Battle {row.id} of the release's round was not about its adapter.")
    return int(about.id)


async def _enter(connection: AsyncConnection, commitment: _Commitment) -> int:
    """Enter a commitment, once; return its entry."""
    here = (commitments.c.kind == commitment.kind, commitments.c.root == commitment.root)
    row = (await connection.execute(select(commitments).where(*here))).first()
    if row is not None:
        if (row.meta, row.parent) != (commitment.meta, commitment.parent):
            raise ValueError(
                f"The {commitment.kind} {commitment.root[:8]}… was entered with another description or parent."
            )
        return int(row.entry)
    added = await connection.execute(
        insert(outbox)
        .values(
            kind=OutboxKind.COMMITMENT,
            payload={"kind": commitment.kind, "root": commitment.root},
            state=OutboxState.PENDING,
            created_at_ms=now_ms(),
        )
        .returning(outbox.c.id)
    )
    entry = int(added.scalar_one())
    await connection.execute(
        insert(commitments).values(
            kind=commitment.kind,
            root=commitment.root,
            parent=commitment.parent,
            meta=commitment.meta,
            dataset=commitment.dataset,
            round_id=commitment.round_id,
            entry=entry,
        )
    )
    return entry
