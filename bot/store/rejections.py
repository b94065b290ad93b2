"""Votes that the ledger rejected, and whether their member was told: the outbox entries hold both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.outbox.progress import CHOICES
from migrations.schema import outbox, rounds, videos
from migrations.states.ledger import OutboxState

ROUNDS_BACK = 3  # a member who returns later finds them in the result of the round and in the receipt


@dataclass(frozen=True)
class RejectedVotes:
    """The rejected votes of one member in one round, by its number in the guild; `entries` are outbox ids."""

    number: int
    votes: int
    reason: str
    entries: Sequence[int]


async def list_untold(database: AsyncEngine, guild_id: int, voter: str) -> Sequence[RejectedVotes]:
    """Return a voter's latest choices that were rejected and that they have not been told of, by round."""
    newest = (  # with a limit, which tells PostgreSQL how few they are
        select(rounds.c.id).where(rounds.c.guild_id == guild_id).order_by(rounds.c.number.desc()).limit(ROUNDS_BACK)
    )
    query = (
        select(outbox.c.id, outbox.c.video_id, outbox.c.state, outbox.c.reason, outbox.c.payload, rounds.c.number)
        .select_from(rounds)
        .join(videos, videos.c.round_id == rounds.c.id)
        .join(outbox, outbox.c.video_id == videos.c.id)
        .where(rounds.c.id.in_(newest), outbox.c.voter_id == voter)
        .where(outbox.c.kind.in_(CHOICES), outbox.c.state != OutboxState.SUPERSEDED)
        .order_by(rounds.c.number, outbox.c.id)
    )
    async with database.connect() as connection:
        latest = {row.video_id: row for row in await connection.execute(query)}
    by_round: dict[int, RejectedVotes] = {}
    for row in latest.values():
        if row.state == OutboxState.REJECTED and not row.payload.get("told"):
            none_yet = RejectedVotes(row.number, 0, str(row.reason or "It gave no reason."), ())
            before = by_round.get(row.number, none_yet)
            by_round[row.number] = RejectedVotes(row.number, before.votes + 1, before.reason, (*before.entries, row.id))
    return list(by_round.values())


async def mark_told(database: AsyncEngine, rejections: Sequence[RejectedVotes]) -> None:
    """Mark rejections of which the member has been told, so that they are told only once."""
    ids = [entry for rejection in rejections for entry in rejection.entries]
    async with database.begin() as connection:
        rows = (await connection.execute(select(outbox.c.id, outbox.c.payload).where(outbox.c.id.in_(ids)))).all()
        for row in rows:
            payload = {**row.payload, "told": True}
            await connection.execute(update(outbox).where(outbox.c.id == row.id).values(payload=payload))
