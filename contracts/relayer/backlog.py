"""The forecast whether the backlog comes to the ledger in time: backlog times pace, against what is left of its round.

Only reads. The alarm is a sentence for the operator and the moderator; it rejects nothing and hurries nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger.calldata import MAX_VOTERS
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, rounds, voters
from migrations.states.ledger import UNDERWAY_TRANSACTIONS, OutboxKind, OutboxState

# The kinds whose entries take a transaction each.
ONE_EACH = (
    OutboxKind.ROUND,
    OutboxKind.VIDEO,
    OutboxKind.BATTLE,
    OutboxKind.LINK,
    OutboxKind.UNLINK,
    OutboxKind.BALLOT,
    OutboxKind.COMMITMENT,
)  # reveals wait for the end of their round, and come after all that has a deadline
URGENT = (OutboxKind.ROUND, OutboxKind.VIDEO, OutboxKind.BATTLE, OutboxKind.VOTE, OutboxKind.BALLOT)
# The kinds that the ledger takes until a round's close only; it takes the others in the round's grace too.
NO_GRACE = (OutboxKind.ROUND, OutboxKind.BALLOT)
LATEST = 0.3  # how much the latest transaction counts in the pace


class Pace:
    """The time that a transaction takes, in seconds, from the moment it is its turn until it is in a block.

    While nothing moves although something waits, the pace is at least as slow as that has lasted.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._usual = 0.0  # 0 before the first
        self._since = clock()

    def idle(self) -> None:
        """Note that nothing waits for the relayer just now."""
        self._since = self.clock()

    def included(self) -> None:
        """Note that a transaction came into a block."""
        took = self.clock() - self._since
        self._usual = self._usual * (1 - LATEST) + took * LATEST if self._usual else took
        self._since = self.clock()

    @property
    def seconds(self) -> float:
        """The seconds that the next transaction is expected to take."""
        return max(self._usual, self.clock() - self._since)


@dataclass(frozen=True)
class Outlook:
    """The time that the backlog will take, and the time for which the ledger still takes it, of the most urgent round.

    Without a round nothing that waits can be late.
    """

    needs_s: float
    left_s: float | None = None
    round_number: int | None = None

    @property
    def late(self) -> str | None:
        """A sentence where something will be late, or is."""
        if self.left_s is None or self.needs_s <= self.left_s:
            return None
        over = f"is over there in {_duration(self.left_s)}" if self.left_s > 0 else "is over there"
        return (
            f"What waits for the ledger takes about {_duration(self.needs_s)} more, and round {self.round_number} "
            f"{over}: what comes later is refused. See that the chain's node answers and that its fee can be paid "
            "(FLOCK_RPC_URL, FLOCK_MAX_FEE_GWEI)."
        )


async def outlook(database: AsyncEngine, seconds_each: float, room: int) -> Outlook:
    """Return the outlook at a pace of so many seconds for a transaction, of which one takes `room` votes."""
    waits = outbox.c.state == OutboxState.PENDING
    unknown = (
        select(func.count(outbox.c.voter_id.distinct()))
        .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
        .where(waits, outbox.c.kind.in_((OutboxKind.VOTE, OutboxKind.LINK)), voters.c.voter_index.is_(None))
    )
    underway = select(chain_transactions.c.id).where(
        chain_transactions.c.state.in_(UNDERWAY_TRANSACTIONS), chain_transactions.c.block_number.is_(None)
    )
    urgent = (  # entries that are batched and in no block yet may be late as well
        select(outbox.c.round_id, outbox.c.kind)
        .where(waits | ((outbox.c.state == OutboxState.BATCHED) & outbox.c.transaction_id.in_(underway)))
        .where(outbox.c.kind.in_(URGENT))
        .distinct()
    )
    async with database.connect() as connection:
        rows = await connection.execute(select(outbox.c.kind, func.count()).where(waits).group_by(outbox.c.kind))
        counts = {str(kind): int(count) for kind, count in rows}
        new = int(await connection.scalar(unknown) or 0)
        transactions = len((await connection.execute(underway)).all())
        urgent_entries = (await connection.execute(urgent)).all()
        about = select(outbox.c.round_id, outbox.c.payload, rounds.c.number).join(
            rounds, rounds.c.id == outbox.c.round_id
        )
        openings = about.where(
            outbox.c.kind == OutboxKind.ROUND, outbox.c.round_id.in_({row.round_id for row in urgent_entries})
        )
        opened = {row.round_id: row for row in await connection.execute(openings)}
    transactions += sum(counts.get(kind, 0) for kind in ONE_EACH)
    transactions += -(-new // MAX_VOTERS) + -(-counts.get(OutboxKind.VOTE, 0) // room)
    needs = transactions * seconds_each
    ends = []
    for row in urgent_entries:
        if (opening := opened.get(row.round_id)) is not None:
            grace = 0 if row.kind in NO_GRACE else opening.payload.get("grace", 0)
            ends.append((opening.payload["closes"] + grace, opening.number))
    if not ends:
        return Outlook(needs)
    end, number = min(ends)
    return Outlook(needs, max(0.0, end - now_ms() / 1000), number)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
