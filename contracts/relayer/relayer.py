"""The relayer: outbox -> one signed transaction at a time -> chain -> final. Its loop, its lease, and what it tells.

One relayer at a time holds the `relayer` lease, and whoever lost it can no longer store a transaction. What becomes of
a draft from its signature on is in `contracts.relayer.transactions`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger.client import Ledger
from contracts.relayer import attempts, reorgs
from contracts.relayer import batch_recovery as adoption
from contracts.relayer.backlog import outlook
from contracts.relayer.finality import Finality
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.planning.planner import Drafts
from contracts.relayer.transactions import Underway
from contracts.rpc.node import ChainUnreachableError, LedgerError, WrongLedgerError
from contracts.signers.keystore import Signer, SignerError
from migrations.database import database_now_ms
from migrations.leases import release_lease, take_lease
from migrations.schema import leases, outbox

log = logging.getLogger(__name__)

LEASE = "relayer"
SLOWEST = 4  # after so many further reverts in a row the pauses grow no more: what others wait for need not wait long
MOST_COUNTED = 1_000  # of the entries that were ever refused


@dataclass(frozen=True)
class RelayerSettings:
    """How the relayer works. Times in seconds, fees in wei for a unit of gas.

    A transaction is final `confirmations` blocks deep, its own included, or at or below the block of `final_tag`
    (safe, finalized) where the chain offers one. One that is in no block after `bump_s` offers more for gas, up to
    `max_fee`; `bumps` None leaves it to the chain's id whether that helps there. What is final is looked at again
    every `recheck_s`.
    """

    drafts: DraftSettings = field(default_factory=DraftSettings)
    chain_id: int | None = None
    confirmations: int = 1
    final_tag: str | None = None
    poll_s: float = 1.0
    rebroadcast_s: float = 15.0
    longest_pause_s: float = 60.0
    lease_s: float = 60.0
    max_fee: int | None = None
    bumps: bool | None = None
    bump_s: float = 45.0
    recheck_s: float = 10.0


@dataclass(frozen=True)
class RelayerStatus:
    """What an operator wants to know. `trouble` is a sentence, or None while all is well; the balance is in wei.

    `refused` counts no further than a thousand. `needs_s` is how long all that waits will take at the pace of late, and
    `left_s` how long the ledger still takes it, None where nothing can be late.
    """

    backlog: int
    oldest_ms: int | None  # when the oldest entry that is not yet final was written
    in_flight: int
    refused: int
    trouble: str | None
    balance: int | None
    active: bool
    needs_s: float
    left_s: float | None


class Relayer:
    """Carries the outbox of a database to a ledger. `run` until cancelled; `nudge` when there is something new."""

    def __init__(
        self, engine: AsyncEngine, ledger: Ledger, signer: Signer, settings: RelayerSettings | None = None
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._node = ledger.node
        self._signer = signer
        self._settings = settings or RelayerSettings()
        self._drafts = Drafts(engine, ledger, signer.address, self._settings.drafts, sure=self._must_be_all_there)
        self._finality = Finality(self._node, self._settings.final_tag, self._settings.confirmations)
        self._underway = Underway(
            engine,
            ledger,
            signer,
            self._drafts,
            self._finality,
            guard=self._must_hold_lease,
            check=self._check,
            rebroadcast_s=self._settings.rebroadcast_s,
            recheck_s=self._settings.recheck_s,
            max_fee=self._settings.max_fee,
            bumps=self._settings.bumps,
            bump_s=self._settings.bump_s,
        )
        self._owner = secrets.token_hex(8)
        self._new = asyncio.Event()
        self._checked = False
        self._active = False
        self._renewed = 0.0
        self._trouble: str | None = None
        self._waits = False  # for a block; what is only not final yet is in no hurry

    # --------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Works until it is cancelled. Trouble is logged as a sentence and tried again, ever more slowly."""
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
                        await self._new.wait()
                if self._trouble is None:
                    self._new.clear()
                else:  # news does not mend trouble: keep the pause
                    await asyncio.sleep(wait if self._new.is_set() else 0)
                    self._new.clear()
        finally:
            self._active = False
            with contextlib.suppress(SQLAlchemyError):
                await asyncio.shield(release_lease(self._engine, LEASE, self._owner))

    def _in_trouble(self, sentence: str, pause: float) -> float:
        if sentence != self._trouble:
            log.warning("%s", sentence)
        self._trouble = sentence
        self._checked = False
        if self._underway.interrupted():  # a node that fails now and then is no node that is away
            pause = self._settings.poll_s
        if (reverted := self._underway.reverted) > 0:  # each costs gas: a longer pause after each further one
            pause = max(pause, self._settings.poll_s * 2 ** min(reverted - 1, SLOWEST))
        return min(self._settings.longest_pause_s, pause * 2) * random.uniform(0.8, 1.2)  # noqa: S311  # spreads retries

    def nudge(self) -> None:
        """Says that there is something new, so that it need not wait for the next look."""
        self._new.set()

    async def tick(self) -> bool:
        """Does all that can be done now; True while something waits for the chain.

        Does nothing while another relayer holds the lease. Raises LedgerError with a sentence.
        """
        while True:
            if not await self._hold_lease():
                self._underway.pace.idle()
                return False
            if not self._checked:
                await self._check()
                self._underway.balance = await self._node.balance(self._signer.address)
                self._checked = True
            self._waits = await self._underway.settle()
            if self._waits:
                return True
            if await self._underway.taken_back():
                continue
            looking = await self._underway.count_reverts()
            try:
                draft = await self._drafts.next()
            except WrongLedgerError:
                if await adoption.adopt(self._engine, self._ledger, self._signer.address):
                    continue
                if (draft := await self._drafts.next(batches=False)) is None:  # what wallets signed still goes
                    raise
            if draft is None:
                self._underway.pace.idle()
                return looking or await self._underway.count() > 0
            await self._underway.store(draft)

    async def _check(self) -> None:
        """Makes sure that the chain is the one on which we began, whatever node answers, and after any restart."""
        began = await attempts.chain_of(self._engine)
        if (expected := self._settings.chain_id or began or self._underway.chain_id or None) is not None:
            self._node.expect(expected)
        found = await self._node.chain_id()
        if began is not None and found != began:
            raise WrongLedgerError(
                f"The node at {self._node.host} serves chain {found}, but this database's transactions are on chain "
                f"{began}. Nothing is sent; let FLOCK_RPC_URL name a node of chain {began}, or begin on the other "
                "chain with an empty database."
            )
        self._underway.chain_id = await self._ledger.check(expected)
        self._node.expect(self._underway.chain_id)
        await self._finality.look(self._underway.chain_id)

    async def _must_be_all_there(self) -> None:
        """Raises ChainUnreachableError where the chain lacks what we built upon: a refusal then says nothing."""
        if not await reorgs.all_there(self._engine, self._finality, self._signer.address):
            raise ChainUnreachableError(
                "The ledger refused something on a chain that lacks our latest transactions; looking again."
            )

    async def _must_hold_lease(self, connection: AsyncConnection) -> None:
        """Within the transaction that stores something: raises LedgerError when another relayer may be at work."""
        ours = select(leases.c.owner).where(
            leases.c.name == LEASE, leases.c.owner == self._owner, leases.c.until_ms > database_now_ms(self._engine)
        )
        if (await connection.execute(ours)).first() is None:
            self._active = False
            raise LedgerError("The relayer lost its lease while it drafted; another one may be at work.")

    async def _hold_lease(self) -> bool:
        """Takes or renews the lease; asks the database only when a third of it has passed."""
        now = asyncio.get_running_loop().time()
        if not self._active or now - self._renewed > self._settings.lease_s / 3:
            self._active = await take_lease(self._engine, LEASE, self._owner, self._settings.lease_s)
            self._renewed = now
        return self._active

    async def status(self) -> RelayerStatus:
        """How things stand, from the database and from the last look at the chain."""
        underway = outbox.c.state.in_(("pending", "batched"))
        async with self._engine.connect() as connection:
            backlog, oldest = (
                await connection.execute(select(func.count(), func.min(outbox.c.created_at_ms)).where(underway))
            ).one()
            rejected = select(outbox.c.id).where(outbox.c.state == "rejected").limit(MOST_COUNTED).subquery()
            refused = await connection.scalar(select(func.count()).select_from(rejected))
        ahead = await outlook(self._engine, self._underway.pace.seconds, self._drafts.votes.room)
        wrong = [self._trouble or self._underway.notice, ahead.late if self._active else None]
        return RelayerStatus(
            backlog=int(backlog),
            oldest_ms=oldest,
            in_flight=await self._underway.count(),
            refused=int(refused or 0),
            trouble=" ".join(filter(None, wrong)) or None,
            balance=self._underway.balance,
            active=self._active,
            needs_s=ahead.needs_s,
            left_s=ahead.left_s,
        )
