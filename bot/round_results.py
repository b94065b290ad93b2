"""The results of rounds: counted here while a round runs, and read from the ledger once it is final."""

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
from contracts.outbox.progress import count_rejected_votes, recorded_tallies
from contracts.rpc.node import ChainUnreachableError, LedgerError

log = logging.getLogger(__name__)

PATIENCE_S = 2.0  # for a member who waits; the post of a result waits as long as it takes
MOST_CACHED = 500


class Results:
    """The results of the rounds in one database and on its ledger. Each final result is read once."""

    def __init__(self, database: AsyncEngine, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        self._cache: dict[tuple[int, str], Result] = {}  # by round and the transaction that finalized it

    async def of(self, round_: Round, *, patient: bool = False) -> Outcome:
        """Return the present standings of a round, or its final result.

        Where the ledger cannot be read, our record of the ledger stands in; with `patient`, ChainUnreachableError is
        raised instead.
        """
        entries = await videos.entries(self._database, round_.id, removed=True)
        if round_.finalized_tx is None or round_.chain_id is None:
            return Outcome(entries, winner(entries))
        rejected = await count_rejected_votes(self._database, round_.id)
        try:
            async with asyncio.timeout(None if patient else PATIENCE_S):
                result = await self._read(round_, round_.finalized_tx, entries)
        except (LedgerError, TimeoutError) as error:
            if patient:
                # Also for an error that a person must mend: nothing is lost meanwhile.
                raise ChainUnreachableError(str(error)) from error
            log.info("The result of round %s cannot be read right now (%s).", round_.id, type(error).__name__)
            counts = await recorded_tallies(self._database, round_.id)
            on_ledger = [entry.video for entry in entries if entry.video.chain_id is not None]
            tallies = {video.id: Tally(*counts.get(video.id, (0, 0))) for video in on_ledger}
            best = winner(Entry(video, tallies[video.id]) for video in on_ledger)
            return final_outcome(entries, tallies, best.video.id if best else None, rejected=rejected, source="record")
        by_number = {entry.video.chain_id: entry.video.id for entry in entries if entry.video.chain_id is not None}
        tallies = {by_number[number]: Tally(*tally) for number, tally in result.tallies.items()}
        return final_outcome(entries, tallies, by_number.get(result.winner), rejected=rejected, source="ledger")

    async def _read(self, round_: Round, finalized_tx: str, entries: Sequence[Entry]) -> Result:
        key = (round_.id, finalized_tx)
        if key not in self._cache:
            numbers = [entry.video.chain_id for entry in entries if entry.video.chain_id is not None]
            result = await result_of(self._ledger, round_.chain_id or 0, numbers)
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            self._cache[key] = result
        return self._cache[key]
