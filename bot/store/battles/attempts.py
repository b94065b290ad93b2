"""The attempts at a release of a model: its battle rounds, in whichever server, and which of them the ledger bears out.

An attempt without a release on the ledger failed, whatever ended it; a registration that the ledger turned down is
none, as nobody could vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.rounds import NOT_CLOSED
from migrations.schema import battle_rounds, commitments, outbox, releases, rounds
from migrations.states.ledger import CommitmentKind, OutboxKind, OutboxState


@dataclass(frozen=True)
class Attempt:
    """An earlier battle round of a model."""

    round_number: int  # in its server
    is_open: bool
    is_settled: bool  # the ledger has taken its registration, and the commitment of its release where there is one
    is_released: bool  # by the ledger


async def attempts_of(connection: AsyncConnection, model_id: str) -> Sequence[Attempt]:
    """Return the attempts of a model, the first one first."""
    entry, commitment_entry = outbox.alias(), outbox.alias()
    query = (
        select(
            rounds.c.number,
            rounds.c.status,
            rounds.c.chain_id,
            entry.c.state.label("registered"),
            releases.c.manifest_sha256,
            commitment_entry.c.state.label("committed"),
        )
        .join(battle_rounds, battle_rounds.c.round_id == rounds.c.id)
        .outerjoin(entry, (entry.c.round_id == rounds.c.id) & (entry.c.kind == OutboxKind.ROUND))
        .outerjoin(releases, releases.c.battle_round_id == rounds.c.id)
        .outerjoin(
            commitments,
            (commitments.c.kind == CommitmentKind.RELEASE) & (commitments.c.root == releases.c.manifest_sha256),
        )
        .outerjoin(commitment_entry, commitment_entry.c.id == commitments.c.entry)
        .where(battle_rounds.c.live_model == model_id)
        .order_by(rounds.c.id)
    )
    rows = (await connection.execute(query)).all()
    return [_attempt(row) for row in rows if row.chain_id is not None or row.registered != OutboxState.REJECTED]


def _attempt(row: Any) -> Attempt:  # a row of the query
    is_released = row.committed == OutboxState.FINAL
    is_on_its_way = row.committed not in (None, OutboxState.FINAL, OutboxState.REJECTED)
    return Attempt(row.number, row.status in NOT_CLOSED, row.chain_id is not None and not is_on_its_way, is_released)


async def is_dataset_entered(connection: AsyncConnection, root: str) -> bool:
    """Return True where a data set's root was entered for the ledger, so that it has to stand there first."""
    query = select(commitments.c.root).where(commitments.c.kind == CommitmentKind.DATASET, commitments.c.root == root)
    return await connection.scalar(query) is not None
