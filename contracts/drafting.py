"""What all drafters share: a draft, the entries that it carries, and what a refusal of the ledger means to a member."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger import Ledger
from contracts.node import ChainUnreachableError, LedgerRefusedError
from migrations.schema import chain_transactions, outbox, rounds

log = logging.getLogger(__name__)

NOT_OURS_TO_JUDGE = {  # refusals that say nothing about the entry: try again later
    "ledger: not a relayer": "This account is not a relayer of the ledger; its owner must call set_relayer.",
    "ledger: paused": "The ledger is paused by its guardian; nothing is lost, and it goes on after unpause.",
    "ledger: wrong sequence": "The ledger's sequence moved while a batch was drafted.",
    "ledger: round not open": "The chain's clock has not reached the round's opening yet.",
}
SENTENCES = {
    "ledger: round closed": "The round had already closed on the ledger.",
    "ledger: bad times": "The round was already over when the ledger could be reached.",
    "ledger: round full": "The round holds as many videos as the ledger takes.",
    "ledger: voter linked": "This member votes with a wallet: only what that wallet signs is recorded.",
    "ledger: seat claimed": "This member votes with a wallet: only what that wallet signs is recorded.",
    "ledger: wallet linked": "That wallet votes for another member already.",
    "ledger: not linked": "The wallet was not linked when this came to the ledger.",
    "ledger: bad signature": "The ledger does not accept the signature as the wallet's.",
    "ledger: stale nonce": "The wallet has signed something newer, which the ledger has already.",
    "ledger: late": "It came to the ledger later than it was signed for.",
}


@dataclass(frozen=True)
class DraftSettings:
    """When votes are sent: at once from `flush_votes` on, at the latest after `flush_age_s`, or when a round closes."""

    flush_votes: int = 1000
    flush_age_s: float = 15.0
    max_gas: int = 8_000_000  # of one batch: well under every chain's limit for a transaction


@dataclass(frozen=True)
class Draft:
    """A transaction that is worth sending: calldata, its gas, and the outbox entries that it carries."""

    kind: str  # round | video | voters | votes | close | finalize | link | unlink | claim | ballot
    data: bytes
    gas: int
    round_id: int | None = None
    entries: Sequence[int] = ()
    superseded: Sequence[int] = ()
    seq: int | None = None
    digest: str | None = None


async def mark(connection: AsyncConnection, entries: Iterable[int], state: str, **values: Any) -> int:
    """Moves outbox entries to a state, where they are still pending or batched; gives how many moved."""
    listed, moved = list(entries), 0
    for start in range(0, len(listed), 500):  # a statement takes a limited number of values
        changed = await connection.execute(
            update(outbox)
            .where(outbox.c.id.in_(listed[start : start + 500]), outbox.c.state.in_(("pending", "batched")))
            .values(state=state, **values)
        )
        moved += changed.rowcount
    return moved


class Desk:
    """One ledger, one sending account, one database: what drafters work with."""

    def __init__(
        self,
        engine: AsyncEngine,
        ledger: Ledger,
        sender: str,
        settings: DraftSettings,
        sure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`sure` raises while a refusal is no proof: a node that is behind knows no round of ours."""
        self.engine = engine
        self.ledger = ledger
        self.settings = settings
        self._sender = sender
        self._sure = sure

    async def estimate(self, data: bytes) -> int:
        try:
            return await self.ledger.node.estimate(self._sender, self.ledger.address, data)
        except LedgerRefusedError as refusal:
            if refusal.reason in NOT_OURS_TO_JUDGE:
                raise ChainUnreachableError(NOT_OURS_TO_JUDGE[refusal.reason]) from refusal
            raise

    async def pending(self, kind: str) -> Sequence[Row[Any]]:
        query = (
            select(outbox, rounds.c.chain_id.label("round_number"))
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .where(outbox.c.kind == kind, outbox.c.state == "pending")
            .order_by(outbox.c.id)
            .limit(200)
        )
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).all()

    async def reject(self, entries: Sequence[int], reason: str) -> None:
        if self._sure is not None:
            await self._sure()
        sentence = SENTENCES.get(reason, f"The ledger refused it: {reason.removeprefix('ledger: ')}.")
        log.warning("%d entries were refused by the ledger (%s)", len(entries), reason)
        async with self.engine.begin() as connection:
            await mark(connection, entries, "rejected", reason=sentence)

    async def close_the_books(self) -> None:
        """Rejects what can never be recorded, because the round or video that it belongs to was refused."""
        refused_rounds = select(outbox.c.round_id).where(outbox.c.kind == "round", outbox.c.state == "rejected")
        refused_videos = select(outbox.c.video_id).where(outbox.c.kind == "video", outbox.c.state == "rejected")
        waiting = update(outbox).where(outbox.c.state == "pending")
        async with self.engine.begin() as connection:
            await connection.execute(
                waiting.where(outbox.c.kind != "round", outbox.c.round_id.in_(refused_rounds)).values(
                    state="rejected", reason="The round could not be recorded on the ledger."
                )
            )
            await connection.execute(
                waiting.where(outbox.c.kind == "vote", outbox.c.video_id.in_(refused_videos)).values(
                    state="rejected", reason="The video could not be recorded on the ledger."
                )
            )


async def opened_in(engine: AsyncEngine, round_id: int) -> int:
    """The block before which the log says nothing of a round; 0 where we do not know it."""
    query = select(chain_transactions.c.block_number).where(
        chain_transactions.c.kind == "round",
        chain_transactions.c.round_id == round_id,
        chain_transactions.c.block_number.is_not(None),
    )
    async with engine.connect() as connection:
        return int(await connection.scalar(query.limit(1)) or 0)
