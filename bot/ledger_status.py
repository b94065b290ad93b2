"""The state of a round on the ledger, in a sentence for members and moderators."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.domain.amounts import amount
from bot.domain.ledger_links import PublicLedger
from bot.domain.rounds import Round
from contracts.outbox.progress import round_progress

_HASH = re.compile(r"0x[0-9a-fA-F]{16,}")
Trouble = Callable[[], Awaitable[str | None]]


class LedgerStatus:
    """Says how far the entries of a round are on the ledger."""

    def __init__(self, *, database: AsyncEngine, links: PublicLedger, relayer_trouble: Trouble) -> None:
        """`relayer_trouble` gives what keeps the relayer from its work, as a sentence, or None."""
        self._database = database
        self._links = links
        self._relayer_trouble = relayer_trouble

    async def summary(self, round_: Round) -> str:
        """Return how far a round is on the ledger, in plain words for everybody; `sentence` has the details."""
        progress = await round_progress(self._database, round_.id)
        if progress.finalized_tx:
            return "✅ On the ledger for good: anyone can recount the votes."
        if progress.rejection:
            reason = layout.sentence(_HASH.sub("…", progress.rejection))
            return f"Not on the ledger: {reason} The votes stand as they were counted here."
        return "The votes are on their way to the ledger, whose tally is the final one."

    async def sentence(self, round_: Round) -> str:
        """Return how far a round is on the ledger, with its transaction and the audit command once it is final."""
        progress = await round_progress(self._database, round_.id)
        recorded = progress.entries.get("final", 0)
        if progress.finalized_tx:
            transaction = self._links.transaction(progress.finalized_tx)
            return (
                f"On the ledger: the result stands as round {progress.chain_id}, transaction {transaction}. "
                f"Anyone can recompute it: `{self._links.audit_command(progress.chain_id)}`"
            )
        if progress.rejection:
            return (
                f"Not on the ledger: {layout.sentence(progress.rejection)} The votes stand as they were counted here, "
                "and nobody can recompute them from the ledger."
            )
        trouble = await self._relayer_trouble()
        trouble = layout.sentence(trouble) if trouble else ""  # a node's words may be in it
        rejected = f", {count} rejected" if (count := progress.entries.get("rejected", 0)) else ""
        entries = amount(recorded, "entry", "entries")
        return (f"On the ledger: {entries} recorded, {progress.underway} on the way{rejected}. {trouble}").rstrip()
