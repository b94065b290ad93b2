"""The relayer: outbox -> one signed transaction at a time -> chain -> final. Its loop, its lease and its status.

One relayer at a time holds the `relayer` lease; a relayer that lost it can no longer store a transaction.
`contracts.relayer.transactions` takes a draft from its signature on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger.client import Ledger
from contracts.outbox.progress import UNDERWAY
from contracts.relayer import attempts, batch_recovery, reorgs
from contracts.relayer.backlog import Pace, outlook
from contracts.relayer.finality import Finality
from contracts.relayer.planning.planner import Planner
from contracts.relayer.settings import RelayerSettings
from contracts.relayer.transactions import Transactions
from contracts.rpc.node import ChainUnreachableError, LedgerError, WrongLedgerError
from contracts.signers.keystore import Signer, SignerError
from migrations.database import database_now_ms
from migrations.leases import release_lease, take_lease
from migrations.schema import leases, outbox
from migrations.states.ledger import OutboxState

__all__ = ["Relayer", "RelayerSettings", "RelayerStatus"]

log = logging.getLogger(__name__)

LEASE = "relayer"
MOST_DOUBLINGS = 4  # of the pause, by reverts in a row: others need not wait long for the one that fails
MOST_COUNTED = 1_000  # of the entries that were ever rejected


@dataclass(frozen=True)
class RelayerStatus:
    """The relayer's state for an operator. `trouble` is a sentence, or None while all is well; the balance is in wei.

    `rejected` counts rejected entries, at most a thousand. `needs_s` is how long the backlog will take at the recent
    pace. `left_s` is how long the ledger still takes it, or None where nothing can be late.
    """

    backlog: int
    oldest_ms: int | None  # when the oldest entry that is not yet final was written
    in_flight: int
    rejected: int
    trouble: str | None
    balance: int | None
    active: bool
    needs_s: float
    left_s: float | None


class Relayer:
    """Carries the outbox of a database to a ledger. `run` until cancelled; `nudge` when there is something new."""

    def __init__(
        self,
        database: AsyncEngine,
        ledger: Ledger,
        signer: Signer,
        settings: RelayerSettings | None = None,
        *,
        pace: Pace | None = None,
    ) -> None:
        """`pace` measures how long transactions take; by default with the clock of this machine."""
        self._database = database
        self._ledger = ledger
        self._node = ledger.node
        self._signer = signer
        self._settings = settings or RelayerSettings()
        self.planner = Planner(
            database, ledger, signer.address, self._settings.drafts, check_chain=self._require_latest_transaction
        )
        self._finality = Finality(self._node, self._settings.final_tag, self._settings.confirmations)
        self._pace = pace or Pace()
        self.transactions = Transactions(
            database,
            ledger,
            signer,
            self.planner,
            self._finality,
            guard=self._require_lease,
            check=self._check,
            settings=self._settings,
            pace=self._pace,
        )
        self._owner = secrets.token_hex(8)
        self._news = asyncio.Event()
        self._checked = False
        self._active = False
        self._renewed = 0.0
        self._trouble: str | None = None
        self._waits = False  # for a block; a transaction that only is not final yet is in no hurry

    # --------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Work until cancelled. Trouble is logged as a sentence and tried again, after ever longer pauses."""
        pause = self._settings.poll_s
        try:
            while True:
                try:
                    await self.tick()
                    self._trouble, pause = None, self._settings.poll_s
                    wait = min(0.25, self._settings.poll_s) if self._waits else self._settings.poll_s
                except (LedgerError, SignerError) as error:
                    wait = pause = self._in_trouble(str(error), pause)
                except SQLAlchemyError as error:
                    wait = pause = self._in_trouble(
                        f"The relayer cannot use the database ({type(error).__name__}); it keeps trying.", pause
                    )
                except Exception as error:
                    log.exception("The relayer met something unexpected")
                    wait = pause = self._in_trouble(f"The relayer failed ({type(error).__name__}); see its log.", pause)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):  # wait_for loses cancellations (Python 3.11)
                        await self._news.wait()
                if self._trouble is None:
                    self._news.clear()
                else:  # new entries do not end trouble: keep the pause
                    await asyncio.sleep(wait if self._news.is_set() else 0)
                    self._news.clear()
        finally:
            self._active = False
            with contextlib.suppress(SQLAlchemyError):
                await asyncio.shield(release_lease(self._database, LEASE, self._owner))

    def _in_trouble(self, sentence: str, pause: float) -> float:
        """Note trouble and return the pause before the next try."""
        if sentence != self._trouble:
            log.warning("%s", sentence)
        self._trouble = sentence
        self._checked = False
        if self.transactions.note_trouble():  # a node that fails now and then is not a node that is away
            pause = self._settings.poll_s
        if (reverted := self.transactions.reverted) > 0:  # each costs gas: a longer pause after each further one
            pause = max(pause, self._settings.poll_s * 2 ** min(reverted - 1, MOST_DOUBLINGS))
        return min(self._settings.longest_pause_s, pause * 2) * random.uniform(0.8, 1.2)  # noqa: S311  # spreads retries

    def nudge(self) -> None:
        """Wake the loop: there is something new, which need not wait for the next poll."""
        self._news.set()

    async def tick(self) -> bool:
        """Do all that can be done now; return True while something waits for the chain.

        Does nothing while another relayer holds the lease. Raises LedgerError with a sentence.
        """
        while True:
            if not await self._hold_lease():
                self._pace.idle()
                return False
            if not self._checked:
                await self._check()
                self.transactions.balance = await self._node.balance(self._signer.address)
                self._checked = True
            self._waits = await self.transactions.follow()
            if self._waits:
                return True
            if await self.transactions.check_reorg():
                continue
            counting = await self.transactions.count_reverts()
            try:
                draft = await self.planner.next()
            except WrongLedgerError:
                if await batch_recovery.recover_abandoned(self._database, self._ledger, self._signer.address):
                    continue
                # No batch can be sent, but ballots that wallets signed still can.
                if (draft := await self.planner.next(batches=False)) is None:
                    raise
            if draft is None:
                self._pace.idle()
                return counting or await self.transactions.count() > 0
            await self.transactions.store(draft)

    async def _check(self) -> None:
        """Require the chain on which this database began, whichever node answers, and after any restart."""
        began = await attempts.chain_of(self._database)
        if (expected := self._settings.chain_id or began or self.transactions.chain_id or None) is not None:
            self._node.expect(expected)
        chain_id = await self._node.chain_id()
        if began is not None and chain_id != began:
            raise WrongLedgerError(
                f"The node at {self._node.host} serves chain {chain_id}, but this database's transactions are on chain "
                f"{began}. Nothing is sent; let FLOCK_RPC_URL name a node of chain {began}, or begin on the other "
                "chain with an empty database."
            )
        self.transactions.chain_id = await self._ledger.check(expected)
        self._node.expect(self.transactions.chain_id)
        await self._finality.look(self.transactions.chain_id)

    async def _require_latest_transaction(self) -> None:
        """Raise ChainUnreachableError where the chain lacks our latest transactions: a refusal then proves nothing."""
        if not await reorgs.has_latest_transaction(self._database, self._finality, self._signer.address):
            raise ChainUnreachableError(
                "The ledger refused something on a chain that lacks our latest transactions; looking again."
            )

    async def _require_lease(self, connection: AsyncConnection) -> None:
        """Raise LedgerError when another relayer may be at work; asked within the transaction that stores something."""
        lease = select(leases.c.owner).where(
            leases.c.name == LEASE, leases.c.owner == self._owner, leases.c.until_ms > database_now_ms(self._database)
        )
        if (await connection.execute(lease)).first() is None:
            self._active = False
            raise LedgerError("The relayer lost its lease while it drafted; another one may be at work.")

    async def _hold_lease(self) -> bool:
        """Take or renew the lease; the database is asked only when a third of it has passed."""
        now = asyncio.get_running_loop().time()
        if not self._active or now - self._renewed > self._settings.lease_s / 3:
            self._active = await take_lease(self._database, LEASE, self._owner, self._settings.lease_s)
            self._renewed = now
        return self._active

    async def status(self) -> RelayerStatus:
        """Return the status, from the database and from the last look at the chain."""
        underway = outbox.c.state.in_(UNDERWAY)
        async with self._database.connect() as connection:
            backlog, oldest = (
                await connection.execute(select(func.count(), func.min(outbox.c.created_at_ms)).where(underway))
            ).one()
            some = select(outbox.c.id).where(outbox.c.state == OutboxState.REJECTED).limit(MOST_COUNTED).subquery()
            rejected = await connection.scalar(select(func.count()).select_from(some))
        ahead = await outlook(self._database, self._pace.seconds, self.planner.votes.room)
        sentences = [self._trouble or self.transactions.notice, ahead.late if self._active else None]
        return RelayerStatus(
            backlog=int(backlog),
            oldest_ms=oldest,
            in_flight=await self.transactions.count(),
            rejected=int(rejected or 0),
            trouble=" ".join(filter(None, sentences)) or None,
            balance=self.transactions.balance,
            active=self._active,
            needs_s=ahead.needs_s,
            left_s=ahead.left_s,
        )
