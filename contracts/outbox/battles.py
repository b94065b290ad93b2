"""The entries of a battle round: its registration, its battles, the votes on them and, after its end, the reveals.

The registration's hash opens the round on the ledger, so that it stands there before the first vote can. Every function
may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.manifests import hex_digits, sides_hash
from contracts.outbox.documents import keep_document
from contracts.outbox.entries import OutboxRow, choice_row, enter_once, record_round
from migrations.schema import battles, chain_transactions, commitments, outbox, videos
from migrations.states.ledger import CommitmentKind, OutboxKind, OutboxState

A, B, TIE = 1, 2, 3  # the choices about a battle; "both bad" is a tie for the ledger


@dataclass(frozen=True)
class EntryStatus:
    """The place of an entry on its way to the ledger. `state` is an OutboxState; never superseded.

    `number` is the ledger's, once it is known; `tx` the transaction that holds it, once a block does. A rejected entry
    has a `reason`, which is a sentence.
    """

    state: str
    number: int | None
    tx: str | None
    reason: str | None

    @property
    def on_ledger(self) -> bool:
        """True once it stands there for good."""
        return self.state == OutboxState.FINAL


async def enqueue_battle_round(
    connection: AsyncConnection,
    *,
    round_id: int,
    key: str,
    opens_ms: int,
    closes_ms: int,
    registration: bytes,
    prompts: bytes,
    dataset: str | None = None,
    grace_s: int = 0,
) -> str:
    """Enter a battle round that opens with the hash of its registration; return the hash.

    The text is kept, and that of the prompts beside it: the JSON list of which the registration has the root. With the
    root of the candidate's data set, raises LookupError where that was not entered, and ValueError where it does not
    stand on the ledger yet: it has to stand there before the round opens.
    """
    if dataset is not None:
        await _require_on_ledger(connection, dataset)
    await keep_document(connection, prompts)
    meta_hash = await keep_document(connection, registration)
    await record_round(
        connection,
        round_id=round_id,
        key=key,
        opens_ms=opens_ms,
        closes_ms=closes_ms,
        meta_hash=meta_hash,
        grace_s=grace_s,
    )
    return meta_hash


async def enqueue_battle(
    connection: AsyncConnection,
    *,
    round_id: int,
    battle_id: str,
    key: str,
    prompt_hash: str,
    content_a: str,
    content_b: str,
    sides: str,
) -> None:
    """Enter a battle of a round: two videos of one prompt, and the hash of its sides (`sides_hash`).

    Raises ValueError for hashes that are not 64 hex digits, and for the id of a video.
    """
    payload: dict[str, object] = {
        "key": hex_digits(key, "battle's key"),
        "prompt_hash": hex_digits(prompt_hash, "prompt's hash"),
        "content_a": hex_digits(content_a, "hash of video A"),
        "content_b": hex_digits(content_b, "hash of video B"),
        "sides": hex_digits(sides, "hash of the sides"),
    }
    if (await connection.execute(select(videos.c.id).where(videos.c.id == battle_id))).first() is not None:
        raise ValueError("A battle needs an id that no video has.")
    if (await connection.execute(select(battles.c.id).where(battles.c.id == battle_id))).first() is None:
        await connection.execute(insert(battles).values(id=battle_id, round_id=round_id, chain_key=str(payload["key"])))
    await enter_once(connection, OutboxKind.BATTLE, round_id, battle_id, payload)


def battle_vote_row(
    *, round_id: int, battle_id: str, voter_id: str, choice: int, created_at_ms: int | None = None
) -> OutboxRow:
    """Return one vote on a battle as a row for `record_votes`: choice 1 A, 2 B, 3 a tie. Rows count in their order.

    Raises ValueError for any other choice: the ledger's batches cannot withdraw a vote on a battle, only change it.
    """
    if choice not in (A, B, TIE):
        raise ValueError("A choice about a battle is 1, 2 or 3; it cannot be withdrawn.")
    return choice_row(round_id, battle_id, voter_id, choice, created_at_ms)


async def enqueue_reveal(connection: AsyncConnection, *, battle_id: str, model_a: str, model_b: str, salt: str) -> None:
    """Enter the sides of a battle, to be revealed. They wait for the round's result, whenever they are entered.

    Best entered with the round's close: the operator is told of entries that wait for long. Raises LookupError for a
    battle that was not entered, and ValueError for sides that are not those of the battle.
    """
    query = select(outbox.c.round_id, outbox.c.payload).where(
        outbox.c.kind == OutboxKind.BATTLE, outbox.c.video_id == battle_id
    )
    battle = (await connection.execute(query)).first()
    if battle is None:
        raise LookupError("There is no such battle.")
    payload: dict[str, object] = {
        "model_a": hex_digits(model_a, "hash of model A"),
        "model_b": hex_digits(model_b, "hash of model B"),
        "salt": hex_digits(salt, "salt"),
    }
    if sides_hash(*(bytes.fromhex(str(part)) for part in payload.values())).hex() != battle.payload["sides"]:
        raise ValueError("These are not the sides that the battle was entered with.")
    await enter_once(connection, OutboxKind.REVEAL, battle.round_id, battle_id, payload)


async def _require_on_ledger(connection: AsyncConnection, dataset: str) -> None:
    """Raise LookupError for a data set that was not entered, and ValueError for one that is not on the ledger yet."""
    query = (
        select(outbox.c.state)
        .join(commitments, commitments.c.entry == outbox.c.id)
        .where(commitments.c.kind == CommitmentKind.DATASET, commitments.c.root == dataset)
    )
    state = await connection.scalar(query)
    if state is None:
        raise LookupError(f"The data set {dataset[:8]}… was not entered for the ledger.")
    if state != OutboxState.FINAL:
        raise ValueError(f"The data set {dataset[:8]}… is not on the ledger yet: its battle round has to wait for it.")


async def battle_status(database: AsyncEngine, battle_id: str) -> EntryStatus | None:
    """Return the status of a battle's entry; None for a battle that was not entered."""
    return await _status(database, OutboxKind.BATTLE, battle_id)


async def reveal_status(database: AsyncEngine, battle_id: str) -> EntryStatus | None:
    """Return the status of a battle's reveal, with the battle's number; None where none was entered."""
    return await _status(database, OutboxKind.REVEAL, battle_id)


async def _status(database: AsyncEngine, kind: OutboxKind, battle_id: str) -> EntryStatus | None:
    query = (
        status_of(battles.c.chain_id.label("number"))
        .join(battles, battles.c.id == outbox.c.video_id)
        .where(outbox.c.kind == kind, outbox.c.video_id == battle_id)
    )
    async with database.connect() as connection:
        return entry_status((await connection.execute(query)).first())


def status_of(*columns: Any) -> Select[Any]:  # SQLAlchemy's columns of no declared type
    """Return the query of entries with what `entry_status` reads of them, and these columns."""
    return (
        select(
            outbox.c.state,
            outbox.c.reason,
            outbox.c.payload,
            chain_transactions.c.hashes,
            chain_transactions.c.block_number,
            *columns,
        )
        .select_from(outbox)
        .outerjoin(chain_transactions, chain_transactions.c.id == outbox.c.transaction_id)
    )


def entry_status(row: Any) -> EntryStatus | None:  # a row of `status_of`
    """Return the status that a row holds; None for no row."""
    if row is None:
        return None
    tx = row.payload.get("tx") if row.block_number is None else row.hashes[-1]
    return EntryStatus(row.state, row.number, tx, row.reason)
