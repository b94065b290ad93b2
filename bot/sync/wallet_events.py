"""What the ledger says of wallets: what they sent to it past us counts too, and what it refused does not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import MemberError
from bot.domain.votes import Vote
from bot.store import signed_ballots, wallets
from bot.store import wallet_events as heard
from contracts.ledger.wallet_events import Cast, happened
from contracts.rpc.node import ChainUnreachableError, LedgerError

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

LOOK_S = 5.0


class Following:
    """`run` until cancelled. Asks the chain only where somebody has linked a wallet."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._upto: int | None = None  # the block up to which we have heard everything
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Looks every few seconds; what fails is looked at again."""
        while True:
            try:
                await self.look()
            except (ChainUnreachableError, SQLAlchemyError) as error:
                log.info("What wallets sent to the ledger is not known just now (%s)", type(error).__name__)
            except Exception:
                log.exception("Following the ledger failed")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Enters what is new on the ledger, and takes back what it refused.

        Raises ChainUnreachableError or SQLAlchemyError, after which it may be called again.
        """
        if not await wallets.any_exist(self.app.database):
            return
        async with self._looking:
            await self._take_back()
            try:
                await self._hear()
            except ChainUnreachableError:
                raise
            except LedgerError as error:  # nothing of a round's life hangs on it
                log.warning("What wallets sent to the ledger themselves cannot be read: %s", error)

    async def _take_back(self) -> None:
        # Every few seconds: only then is it worth the votes' lock.
        if await signed_ballots.any_rejected(self.app.database):
            async with self.app.database.begin() as connection:
                refused = await signed_ballots.take_back_rejected(connection)
            log.warning("The ledger refused %d signed ballots; their votes are what they were before", refused)
        for wallet, video_id, choice, source in await signed_ballots.unsigned_of_rejected_links(self.app.database):
            try:  # the link was refused: what was chosen meanwhile counts by the button that was pressed
                await self.app.votes.cast(Vote(wallet.guild_id, video_id, wallet.member_id, choice, source))
            except MemberError as error:
                log.info("A choice could no longer be counted: %s", error.sentence)
            await signed_ballots.delete_unsigned(self.app.database, video_id, wallet.member_id)

    async def _hear(self) -> None:
        latest = await self.app.ledger.node.block_number()
        if self._upto is None:
            self._upto = await heard.first_block_to_read(self.app.database, latest) - 1
        async for event in happened(self.app.ledger, self._upto + 1, latest):
            async with self.app.database.begin() as connection:
                if isinstance(event, Cast):
                    if await heard.record_ballot(connection, event):
                        log.info("A wallet sent a ballot of %d choices itself (%s)", len(event.choices), event.tx)
                elif await heard.record_unlink(connection, event):
                    log.info("A wallet unlinked itself (%s)", event.tx)
        self._upto = max(self._upto, latest)
