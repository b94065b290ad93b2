"""The results of rounds: as counted here while they run, and as the ledger has them once they are final."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.rounds import Round
from bot.domain.standings import Entry, Outcome, final_outcome, winner
from bot.domain.votes import Tally
from bot.store import videos
from contracts.ledger.client import Ledger
from contracts.ledger.round_result import Result, result_of
from contracts.outbox.progress import recorded_tallies, refused_votes
from contracts.rpc.node import ChainUnreachableError, LedgerError

log = logging.getLogger(__name__)

PATIENCE_S = 2.0  # for a member who waits; who posts a result waits as long as it takes
MOST_KEPT = 500


class Results:
    """Of one database and its ledger. What is final is read once."""

    def __init__(self, database: AsyncEngine, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        self._known: dict[tuple[int, str], Result] = {}  # by round and the transaction that finalized it

    async def of(self, round_: Round, *, patient: bool = False) -> Outcome:
        """How a round stands or what it has come to.

        Where the ledger cannot be read, our record of it stands in; `patient` raises ChainUnreachableError instead.
        """
        entries = await videos.entries(self._database, round_.id, removed=True)
        if round_.finalized_tx is None or round_.chain_id is None:
            return Outcome(entries, winner(entries))
        refused = await refused_votes(self._database, round_.id)
        try:
            async with asyncio.timeout(None if patient else PATIENCE_S):
                result = await self._read(round_, round_.finalized_tx, entries)
        except (LedgerError, TimeoutError) as error:
            if patient:
                raise ChainUnreachableError(str(error)) from error  # also what a person must see to: nothing is lost
            log.info("The result of round %s cannot be read just now (%s).", round_.id, type(error).__name__)
            counts = await recorded_tallies(self._database, round_.id)
            held = {e.video.id: Tally(*counts.get(e.video.id, (0, 0))) for e in entries if e.video.chain_id is not None}
            best = winner(Entry(e.video, held[e.video.id]) for e in entries if e.video.id in held)
            return final_outcome(entries, held, best.video.id if best else None, rejected=refused, source="record")
        by_number = {e.video.chain_id: e.video.id for e in entries if e.video.chain_id is not None}
        held = {by_number[number]: Tally(*tally) for number, tally in result.tallies.items()}
        return final_outcome(entries, held, by_number.get(result.winner), rejected=refused, source="ledger")

    async def _read(self, round_: Round, finalized_tx: str, entries: Sequence[Entry]) -> Result:
        key = (round_.id, finalized_tx)
        if key not in self._known:
            numbers = [entry.video.chain_id for entry in entries if entry.video.chain_id is not None]
            found = await result_of(self._ledger, round_.chain_id or 0, numbers)
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[key] = found
        return self._known[key]
