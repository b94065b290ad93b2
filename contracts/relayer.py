"""The relayer: outbox -> one signed transaction at a time -> chain -> final. The only owner of the account's nonce.

Signed bytes are on disk before they are first sent; after a crash the same bytes are sent again. One relayer at a
time holds the `relayer` lease, and whoever lost it can no longer store a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts import adoption, attempts, reorgs
from contracts.deadlines import Pace, outlook
from contracts.drafting import Draft, DraftSettings, mark
from contracts.drafts import Drafts
from contracts.finality import Finality
from contracts.ledger import Ledger
from contracts.node import ChainUnreachableError, LedgerError, Receipt, WrongLedgerError
from contracts.outcomes import Outcomes, receipt_of
from contracts.sending import Sending
from contracts.signer import Signer, SignerError
from migrations.database import database_now_ms, now_ms
from migrations.leases import release_lease, take_lease
from migrations.schema import chain_transactions, leases, outbox

log = logging.getLogger(__name__)

LEASE = "relayer"
SURE = 3  # how often in a row a nonce must look taken before we believe that our transaction is dead


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

    `needs_s` is how long all that waits will take at the pace of late, and `left_s` how long the ledger still takes it,
    None where nothing can be late.
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
        self._outcomes = Outcomes(engine, ledger, self._drafts)
        self._finality = Finality(self._node, self._settings.final_tag, self._settings.confirmations)
        self._sending = Sending(
            engine,
            self._node,
            signer,
            self._must_hold_lease,
            max_fee=self._settings.max_fee,
            bumps=self._settings.bumps,
            bump_s=self._settings.bump_s,
        )
        self._owner = secrets.token_hex(8)
        self._new = asyncio.Event()
        self._checked = False
        self._active = False
        self._renewed = 0.0
        self._chain_id = 0
        self._trouble: str | None = None
        self._waits = False  # for a block; what is only not final yet is in no hurry
        self._moved = False  # something was achieved since the last trouble
        self._balance: int | None = None
        self._pace = Pace()
        self._sent_at: dict[int, float] = {}
        self._taken: dict[int, int] = {}
        self._rechecked = -1e9
        self._shaken = True  # something left the chain, perhaps before we were started

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
        self._rechecked = -1e9
        if self._moved:  # a node that fails now and then is no node that is away
            self._moved, pause = False, self._settings.poll_s
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
                self._pace.idle()
                return False
            if not self._checked:
                await self._check()
                self._balance = await self._node.balance(self._signer.address)
                self._checked = True
            self._waits = await self._settle()
            if self._waits:
                return True
            if await self._taken_back():
                continue
            try:
                draft = await self._drafts.next()
            except WrongLedgerError:
                if await adoption.adopt(self._engine, self._ledger, self._signer.address):
                    continue
                raise
            if draft is None:
                self._pace.idle()
                return await self._unfinal() > 0
            await self._store(draft)

    async def _check(self) -> None:
        """Makes sure that the chain is the one on which we began, whatever node answers, and after any restart."""
        began = await attempts.chain_of(self._engine)
        if (expected := self._settings.chain_id or began or self._chain_id or None) is not None:
            self._node.expect(expected)
        found = await self._node.chain_id()
        if began is not None and found != began:
            raise WrongLedgerError(
                f"The node at {self._node.host} serves chain {found}, but this database's transactions are on chain "
                f"{began}. Nothing is sent; let FLOCK_RPC_URL name a node of chain {began}, or begin on the other "
                "chain with an empty database."
            )
        self._chain_id = await self._ledger.check(expected)
        self._node.expect(self._chain_id)
        await self._finality.look(self._chain_id)

    async def _taken_back(self, *, at_once: bool = False) -> bool:
        """Whether a reorganisation took back what was final; asks the chain now and then, or at once."""
        now = asyncio.get_running_loop().time()
        if now - self._rechecked < self._settings.recheck_s and not (self._shaken or at_once):
            return False
        self._rechecked = now
        gone = await reorgs.reopen(self._engine, self._finality, self._signer.address, thorough=self._shaken)
        self._shaken = gone > 0
        return self._shaken

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
            refused = await connection.scalar(select(func.count()).where(outbox.c.state == "rejected"))
        ahead = await outlook(self._engine, self._pace.seconds, self._drafts.votes.room)
        wrong = [self._trouble or self._sending.notice, ahead.late if self._active else None]
        return RelayerStatus(
            backlog=int(backlog),
            oldest_ms=oldest,
            in_flight=await self._unfinal(),
            refused=int(refused or 0),
            trouble=" ".join(filter(None, wrong)) or None,
            balance=self._balance,
            active=self._active,
            needs_s=ahead.needs_s,
            left_s=ahead.left_s,
        )

    async def _unfinal(self) -> int:
        query = select(func.count()).where(chain_transactions.c.state.in_(("signed", "sent")))
        async with self._engine.connect() as connection:
            return int(await connection.scalar(query) or 0)

    # ------------------------------------------------------------ one transaction

    async def _store(self, draft: Draft) -> None:
        """Signs a draft and writes the bytes down with the entries they carry, in one transaction. Sends nothing."""
        offer = await self._sending.offer()
        gas = draft.gas + draft.gas // 5
        self._balance = await self._node.balance(self._signer.address)
        if self._balance < gas * offer.most:
            raise LedgerError(
                f"The relayer's account {self._signer.address} holds {self._balance / 1e18:.6f} ether, and the next "
                f"transaction may cost {gas * offer.most / 1e18:.6f}; send it some. Nothing is lost meanwhile."
            )
        nonce = await self._next_nonce()
        signed = await self._signer.sign(
            {
                "chainId": self._chain_id,
                "nonce": nonce,
                "to": self._ledger.address,
                "data": draft.data,
                "value": 0,
                "gas": gas,
                "maxFeePerGas": offer.most,
                "maxPriorityFeePerGas": offer.tip,
            }
        )
        async with self._engine.begin() as connection:
            await self._must_hold_lease(connection)
            row = await connection.execute(
                insert(chain_transactions)
                .values(
                    kind=draft.kind,
                    round_id=draft.round_id,
                    seq=draft.seq,
                    sender=self._signer.address,
                    nonce=nonce,
                    raw=signed.raw,
                    hashes=[signed.tx],
                    state="signed",
                    digest=draft.digest,
                    created_at_ms=now_ms(),
                )
                .returning(chain_transactions.c.id)
            )
            stored = int(row.scalar_one())
            await attempts.keep(connection, stored, signed)
            moved = await mark(connection, draft.entries, "batched", transaction_id=stored)
            if moved != len(draft.entries):
                raise LedgerError("The outbox changed while a transaction was drafted; trying again.")
            await mark(connection, draft.superseded, "superseded")
        self._moved = True
        log.info(
            "Transaction %d with %d entries is signed, and is sent next.",
            nonce,
            len(draft.entries),
            extra={"kind": draft.kind},
        )

    async def _next_nonce(self) -> int:
        """The chain's count is only a floor: a node that is behind must not make us use a nonce twice."""
        query = select(func.max(chain_transactions.c.nonce)).where(chain_transactions.c.sender == self._signer.address)
        async with self._engine.connect() as connection:
            last = await connection.scalar(query)
        found = await self._node.nonce(self._signer.address)
        if last is not None and found <= last:
            await self._sending.fill(found, self._chain_id)  # the chain lost it; at a node that is behind this is vain
            raise ChainUnreachableError(
                f"The chain's node does not know our transaction number {last}; waiting for it. If the chain was "
                "started anew, deploy the ledger again and begin with an empty database."
            )
        if last is not None and found > last + 1:
            log.warning(
                "Another program used the relayer's account %d times since our last transaction; nothing is lost, but "
                "give the relayer a key of its own.",
                found - last - 1,
            )
        return found

    async def _settle(self) -> bool:
        """Follows what was signed, in the order of its nonces. True while one of them is not in a block yet."""
        query = (
            select(chain_transactions)
            .where(chain_transactions.c.state.in_(("signed", "sent")))
            .order_by(chain_transactions.c.nonce)
        )
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return False
        if any(row.sender != self._signer.address for row in rows):
            raise WrongLedgerError(
                f"Transactions of account {rows[0].sender} are still underway; let its relayer finish before "
                f"{self._signer.address} takes over."
            )
        standing = await self._standing(rows)
        upto: int | None = None
        for row in rows:
            known = receipt_of(row) if standing and row.block_hash else await self._receipt(row)
            receipt = known or await self._send(row)
            if receipt is None:
                return True
            self._sent_at.pop(row.id, None)
            self._taken.pop(row.id, None)
            if not receipt.ok and await adoption.elsewhere(self._engine, self._ledger, row):
                return True
            if row.block_hash != receipt.block_hash:
                await self._outcomes.included(row, receipt)
                self._pace.moved()
            if upto is None or row.block_hash is None:  # it may be newer than our last look
                upto = await self._finality.upto()
            if receipt.block_number <= upto and (
                standing or await self._finality.stands(receipt.block_number, receipt.block_hash)
            ):
                # what is final stands upon what was final before; that may have gone, and its nonce to another program
                if await self._taken_back(at_once=True):
                    return await self._settle()
                await self._final(row, receipt)
        return False

    async def _standing(self, rows: Sequence[Row[Any]]) -> bool:
        """Whether all that was in a block is still there, by one question: the chain of the last nonce has all others.

        Not that of the highest block: after a reorganisation an earlier nonce may be mined higher than a later one was.
        """
        last = max((row for row in rows if row.block_hash), key=lambda row: int(row.nonce), default=None)
        return last is not None and await self._finality.stands(last.block_number, last.block_hash)

    async def _receipt(self, row: Row[Any]) -> Receipt | None:
        """Of whichever attempt was mined; one that did nothing counts only where none of the others did something."""
        failed: Receipt | None = None
        for tx in reversed(row.hashes):
            receipt = await self._node.receipt(tx)
            if receipt is not None and receipt.ok:
                return receipt
            failed = failed or receipt
        return failed

    async def _send(self, row: Row[Any]) -> Receipt | None:
        """Sends the stored bytes, the first time and whenever the chain seems to have lost them."""
        if row.block_number is not None:
            self._shaken = True
            log.warning("Transaction %s has left the chain (a reorganisation); it is sent again", row.hashes[-1])
            await self._outcomes.change(row.id, block_number=None, block_hash=None, gas_used=None)
        now = asyncio.get_running_loop().time()
        if now - self._sent_at.get(row.id, -1e9) < self._settings.rebroadcast_s:
            return None
        if not await self._sending.broadcast(row, self._chain_id) and await self._nonce_taken(row):
            return None
        self._sent_at[row.id] = now
        receipt = await self._receipt(row)
        if receipt is None and row.state == "signed":
            await self._outcomes.change(row.id, state="sent")
        return receipt

    async def _nonce_taken(self, row: Row[Any]) -> bool:
        """Whether another transaction has our nonce for good; then ours is dead and its entries wait again."""
        tag = self._finality.tag or "latest"
        if await self._node.nonce(self._signer.address, tag) <= row.nonce or await self._receipt(row) is not None:
            self._taken.pop(row.id, None)
            return False
        self._taken[row.id] = self._taken.get(row.id, 0) + 1
        if self._taken[row.id] >= SURE:
            await self._check()  # of another chain's numbers nothing follows
            if await adoption.elsewhere(self._engine, self._ledger, row):
                return False
            log.warning("Another program used the relayer's account: nonce %d is not ours", row.nonce)
            await self._outcomes.abandon(row)
        return True

    async def _final(self, row: Row[Any], receipt: Receipt) -> None:
        await self._outcomes.final(row, receipt)
        self._moved = True
        self._sending.notice = None
