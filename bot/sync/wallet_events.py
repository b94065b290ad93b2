"""The comparison of wallets' entries with the ledger.

What a wallet sent to the ledger by itself counts as well, and what the ledger rejected does not count.
"""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.errors import MemberError
from bot.domain.votes import Vote
from bot.store import signed_ballots, wallet_events, wallets
from bot.store.vote_writer import VoteWriter
from contracts.ledger.client import Ledger
from contracts.ledger.wallet_events import Cast, happened
from contracts.rpc.node import ChainUnreachableError, LedgerError

log = logging.getLogger(__name__)

LOOK_S = 5.0


class WalletEvents:
    """Reads the ledger until cancelled, but only if somebody has linked a wallet."""

    def __init__(self, *, database: AsyncEngine, ledger: Ledger, votes: VoteWriter) -> None:
        self._database = database
        self._ledger = ledger
        self._votes = votes
        self._upto: int | None = None  # the block up to which all events are entered
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Look every few seconds. A look that fails is repeated."""
        while True:
            try:
                await self.look()
            except (ChainUnreachableError, SQLAlchemyError) as error:
                log.info(
                    "The entries that wallets sent to the ledger cannot be read just now (%s)", type(error).__name__
                )
            except Exception:
                log.exception("The look at the ledger failed")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Enter what is new on the ledger, and take back what it rejected.

        Raises ChainUnreachableError or SQLAlchemyError, after which it may be called again.
        """
        if not await wallets.any_exist(self._database):
            return
        async with self._looking:
            await self._take_back()
            try:
                await self._enter()
            except ChainUnreachableError:
                raise
            except LedgerError as error:  # no round depends on it
                log.warning("The entries that wallets sent to the ledger by themselves cannot be read: %s", error)

    async def _take_back(self) -> None:
        if await signed_ballots.any_rejected(
            self._database
        ):  # asked every few seconds: only then is the lock of the votes taken
            async with self._database.begin() as connection:
                rejected = await signed_ballots.take_back_rejected(connection)
            log.warning("The ledger rejected %d signed ballots; their votes are what they were before", rejected)
        for wallet, video_id, choice, source in await signed_ballots.unsigned_of_rejected_links(self._database):
            try:  # the link was rejected: what was chosen in the meantime counts by the button that was pressed
                await self._votes.cast(Vote(wallet.guild_id, video_id, wallet.member_id, choice, source))
            except MemberError as error:
                log.info("A choice could no longer be counted: %s", error.sentence)
            await signed_ballots.delete_unsigned(self._database, video_id, wallet.member_id)

    async def _enter(self) -> None:
        latest = await self._ledger.node.block_number()
        if self._upto is None:
            self._upto = await wallet_events.first_block_to_read(self._database, latest) - 1
        async for event in happened(self._ledger, self._upto + 1, latest):
            async with self._database.begin() as connection:
                if isinstance(event, Cast):
                    if await wallet_events.record_ballot(connection, event):
                        log.info("A wallet sent a ballot of %d choices itself (%s)", len(event.choices), event.tx)
                elif await wallet_events.record_unlink(connection, event):
                    log.info("A wallet unlinked itself (%s)", event.tx)
        self._upto = max(self._upto, latest)
