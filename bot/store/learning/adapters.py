"""The adapters that are offered to workers through the database: those that nobody asks for any more are withdrawn."""

from __future__ import annotations

import logging

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.rounds import NOT_CLOSED
from generation.adapters.transfer import withdraw
from migrations.database import now_ms
from migrations.schema import battle_rounds, candidates, releases, rounds
from migrations.states.learning import CandidateState, ReleaseState

log = logging.getLogger(__name__)

KEPT_MS = 86_400_000  # after the last offer; a job that asks for an adapter offers it anew
_ARRIVING = (CandidateState.TRAINING, CandidateState.CHECKING)


async def withdraw_unused(database: AsyncEngine) -> None:
    """Withdraw the adapters that were last offered a day ago, but for those in use: live, in a battle, or arriving."""
    async with database.begin() as connection:
        count = await withdraw(connection, keep=await in_use(connection), before_ms=now_ms() - KEPT_MS)
    if count:
        log.info("%d adapters are not offered to workers any more.", count)


async def in_use(connection: AsyncConnection) -> set[str]:
    """Return the hashes of live releases, of both sides of open battle rounds, and of candidates on their way here."""
    live = select(releases.c.adapter_sha256).where(releases.c.state == ReleaseState.LIVE)
    arriving = select(candidates.c.adapter_sha256).where(candidates.c.state.in_(_ARRIVING))
    hashes = {*await connection.scalars(live), *await connection.scalars(arriving)}
    fought = (
        select(battle_rounds.c.candidate, battle_rounds.c.live)
        .join(rounds, rounds.c.id == battle_rounds.c.round_id)
        .where(rounds.c.status.in_(NOT_CLOSED))
    )
    for row in await connection.execute(fought):
        hashes |= {row.candidate, row.live}
    return {sha256 for sha256 in hashes if sha256 is not None}
