"""Every signed transaction that was ever made for a nonce: any of them may be the one that is mined.

A replacement carries the same call under the same nonce, so that the chain takes one of them and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.relayer.fees import Offer
from contracts.signers.keystore import Call, Signed
from migrations.database import now_ms
from migrations.schema import chain_attempts, chain_transactions

TransactionRow: TypeAlias = Row[Any]  # a row of chain_transactions; SQLAlchemy Core gives its columns no types


@dataclass(frozen=True)
class Attempt:
    """Signed bytes, the hash under which the chain would know them, and when they were made."""

    tx: str
    raw: bytes
    created_at_ms: int


async def keep(connection: AsyncConnection, transaction: int, signed: Signed) -> None:
    """Store an attempt, within the transaction that makes it known."""
    await connection.execute(
        insert(chain_attempts).values(tx=signed.tx, transaction_id=transaction, raw=signed.raw, created_at_ms=now_ms())
    )


async def hashes(connection: AsyncConnection, transaction: int, last: str) -> list[str]:
    """Return the hashes of all attempts of a nonce as they stand now, with `last`, made or mined just now, at the end.

    Asked within the transaction that writes them: a caller that holds an older row would lose those made since.
    """
    query = select(chain_transactions.c.hashes).where(chain_transactions.c.id == transaction)
    stored: list[str] = await connection.scalar(query) or []
    return [*(tx for tx in stored if tx != last), last]


async def of(database: AsyncEngine, row: TransactionRow) -> Sequence[Attempt]:
    """Return all attempts of a nonce, the newest first; the bytes of the row itself are one of them."""
    query = (
        select(chain_attempts)
        .where(chain_attempts.c.transaction_id == row.id)
        .order_by(chain_attempts.c.created_at_ms.desc(), chain_attempts.c.tx)
    )
    async with database.connect() as connection:
        stored = [Attempt(a.tx, bytes(a.raw), a.created_at_ms) for a in await connection.execute(query)]
    newest = Attempt(row.hashes[-1], bytes(row.raw), row.created_at_ms)
    return sorted(stored or [newest], key=lambda attempt: attempt.raw != bytes(row.raw))


async def chain_of(database: AsyncEngine) -> int | None:
    """Return the id of the chain for which our newest transaction was signed; None before the first transaction."""
    query = select(chain_transactions.c.raw).order_by(chain_transactions.c.id.desc()).limit(1)
    async with database.connect() as connection:
        raw = await connection.scalar(query)
    return None if raw is None else call_of(bytes(raw))[0]["chainId"]


def call_of(raw: bytes) -> tuple[Call, Offer]:
    """Return the call of signed bytes as it would be signed again, and their offer for gas. Raises ValueError."""
    try:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        call: Call = {
            "chainId": int(fields["chainId"]),
            "nonce": int(fields["nonce"]),
            "to": fields["to"],
            "data": bytes(fields["data"]),
            "value": int(fields["value"]),
            "gas": int(fields["gas"]),
        }
        return call, Offer(int(fields["maxFeePerGas"]), int(fields["maxPriorityFeePerGas"]))
    except Exception as error:  # the decoders of three libraries have no error in common
        raise ValueError("These bytes are no EIP-1559 transaction.") from error
