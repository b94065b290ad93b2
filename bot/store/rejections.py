"""What the ledger refused of a member's votes and they have not heard of; that they have stands with the entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.outbox.progress import CHOICES
from migrations.schema import outbox, rounds, videos

ROUNDS_BACK = 3  # who comes back later finds it in the result of the round and in their receipt


@dataclass(frozen=True)
class RejectedVotes:
    """Votes of one member in one round, by its number in the guild; `entries` are theirs in the outbox."""

    number: int
    votes: int
    reason: str
    entries: Sequence[int]


async def list_untold(database: AsyncEngine, guild_id: int, voter: str) -> Sequence[RejectedVotes]:
    """A voter's latest choices that were refused and that they have not been told of, by round."""
    newest = (  # by a limit, from which PostgreSQL knows how few they are
        select(rounds.c.id).where(rounds.c.guild_id == guild_id).order_by(rounds.c.number.desc()).limit(ROUNDS_BACK)
    )
    query = (
        select(outbox.c.id, outbox.c.video_id, outbox.c.state, outbox.c.reason, outbox.c.payload, rounds.c.number)
        .select_from(rounds)
        .join(videos, videos.c.round_id == rounds.c.id)
        .join(outbox, outbox.c.video_id == videos.c.id)
        .where(rounds.c.id.in_(newest), outbox.c.voter_id == voter)
        .where(outbox.c.kind.in_(CHOICES), outbox.c.state != "superseded")
        .order_by(rounds.c.number, outbox.c.id)
    )
    async with database.connect() as connection:
        latest = {row.video_id: row for row in await connection.execute(query)}
    found: dict[int, RejectedVotes] = {}
    for row in latest.values():
        if row.state == "rejected" and not row.payload.get("told"):
            before = found.get(row.number, RejectedVotes(row.number, 0, str(row.reason or "It gave no reason."), ()))
            found[row.number] = RejectedVotes(row.number, before.votes + 1, before.reason, (*before.entries, row.id))
    return list(found.values())


async def mark_told(database: AsyncEngine, refused: Sequence[RejectedVotes]) -> None:
    """The member has read of these: they are told of them no second time."""
    ids = [entry for one in refused for entry in one.entries]
    async with database.begin() as connection:
        rows = (await connection.execute(select(outbox.c.id, outbox.c.payload).where(outbox.c.id.in_(ids)))).all()
        for row in rows:
            with_it = {**row.payload, "told": True}
            await connection.execute(update(outbox).where(outbox.c.id == row.id).values(payload=with_it))
