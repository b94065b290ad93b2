"""What was signed, until it is final: one nonce after the other, in their order. The only owner of the account's nonce.

Signed bytes are on disk before they are first sent; after a crash the same bytes are sent again. Decides neither what
is worth sending (`contracts.relayer.planning.planner`) nor when to look (`contracts.relayer.relayer`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger.client import Ledger
from contracts.relayer import attempts, reorgs
from contracts.relayer import batch_recovery as adoption
from contracts.relayer.backlog import Pace
from contracts.relayer.broadcast import Guard, Sending
from contracts.relayer.finality import Finality
from contracts.relayer.planning.draft import Draft, forget, mark
from contracts.relayer.planning.planner import Drafts
from contracts.relayer.settlement import Outcomes, receipt_of
from contracts.rpc.node import ChainUnreachableError, LedgerError, Receipt, WrongLedgerError
from contracts.signers.keystore import Signer
from migrations.database import now_ms
from migrations.schema import chain_transactions, reverts

log = logging.getLogger(__name__)

SURE = 3  # how often in a row a nonce must look taken before we believe that our transaction is dead


class Underway:
    """The transactions of one account. Times in seconds, fees in wei; see `RelayerSettings`."""

    def __init__(
        self,
        engine: AsyncEngine,
        ledger: Ledger,
        signer: Signer,
        drafts: Drafts,
        finality: Finality,
        *,
        guard: Guard,
        check: Callable[[], Awaitable[None]],
        rebroadcast_s: float,
        recheck_s: float,
        max_fee: int | None,
        bumps: bool | None,
        bump_s: float,
    ) -> None:
        """`guard` raises when this process may not store anything (any more), `check` when the chain is not ours."""
        self._engine = engine
        self._ledger = ledger
        self._node = ledger.node
        self._signer = signer
        self._finality = finality
        self._guard = guard
        self._check = check
        self._rebroadcast_s = rebroadcast_s
        self._recheck_s = recheck_s
        self.outcomes = Outcomes(engine, ledger, drafts)
        self.sending = Sending(engine, self._node, signer, guard, max_fee=max_fee, bumps=bumps, bump_s=bump_s)
        self.pace = Pace()
        self.chain_id = 0  # for which is signed; known once `check` has been content
        self.balance: int | None = None  # of the account when it was last asked for
        self._moved = False  # something was achieved since the last trouble
        self.reverted = 0  # transactions in a row that blocks had and that did nothing
        self._sent_at: dict[int, float] = {}
        self._taken: dict[int, int] = {}
        self._rechecked = -1e9
        self._shaken = True  # something left the chain, perhaps before we were started

    @property
    def notice(self) -> str | None:
        """What an operator should know of the fees offered, while it lasts."""
        return self.sending.notice

    def interrupted(self) -> bool:
        """There is trouble: the chain is looked at anew next time. Whether something was achieved since the last."""
        self._rechecked = -1e9
        moved, self._moved = self._moved, False
        return moved

    async def count(self) -> int:
        """How many are not final yet."""
        query = select(func.count()).where(chain_transactions.c.state.in_(("signed", "sent")))
        async with self._engine.connect() as connection:
            return int(await connection.scalar(query) or 0)

    async def taken_back(self, *, at_once: bool = False) -> bool:
        """Whether a reorganisation took back what was final; asks the chain now and then, or at once."""
        now = asyncio.get_running_loop().time()
        if now - self._rechecked < self._recheck_s and not (self._shaken or at_once):
            return False
        self._rechecked = now
        gone = await reorgs.reopen(self._engine, self._finality, self._signer.address, thorough=self._shaken)
        self._shaken = gone > 0
        return self._shaken

    async def store(self, draft: Draft) -> None:
        """Signs a draft and writes the bytes down with the entries they carry, in one transaction. Sends nothing."""
        offer = await self.sending.offer()
        gas = draft.limit
        self.balance = await self._node.balance(self._signer.address)
        if self.balance < gas * offer.most:
            raise LedgerError(
                f"The relayer's account {self._signer.address} holds {self.balance / 1e18:.6f} ether, and the next "
                f"transaction may cost {gas * offer.most / 1e18:.6f}; send it some. Nothing is lost meanwhile."
            )
        nonce = await self._next_nonce()
        signed = await self._signer.sign(
            {
                "chainId": self.chain_id,
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
            await self._guard(connection)
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
            await forget(connection, draft.superseded)
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
            await self.sending.fill(found, self.chain_id)  # the chain lost it; at a node that is behind this is vain
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

    async def settle(self) -> bool:
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
                if not receipt.ok:  # gas was burnt, and nothing achieved
                    self._moved, self.reverted = False, self.reverted + 1
                await self.outcomes.included(row, receipt)
                self.pace.moved()
                self.reverted = 0
            if upto is None or row.block_hash is None:  # it may be newer than our last look
                upto = await self._finality.upto()
            if receipt.block_number <= upto and (
                standing or await self._finality.stands(receipt.block_number, receipt.block_hash)
            ):
                # what is final stands upon what was final before; that may have gone, and its nonce to another program
                if await self.taken_back(at_once=True):
                    return await self.settle()
                await self._final(row, receipt)
        return False

    async def count_reverts(self) -> bool:
        """Counts the reverts whose blocks are final by now; True while some are not.

        Each receipt is asked for anew: one that a reorganisation took back, or a node made up, counts against nobody.
        """
        noted = select(reverts.c.transaction_id)
        query = (
            select(chain_transactions)
            .where(chain_transactions.c.state == "reverted", chain_transactions.c.id.in_(noted))
            .where(chain_transactions.c.block_hash.is_not(None), chain_transactions.c.final_at_ms.is_(None))
            .order_by(chain_transactions.c.nonce)
        )
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return False
        upto, waits = await self._finality.upto(), False
        for row in rows:
            receipt = await self._receipt(row)
            known = await self._finality.block_hash(row.block_number)
            if receipt is not None and not receipt.ok and receipt.block_hash == row.block_hash == known:
                if row.block_number <= upto:
                    await self.outcomes.change(row.id, final_at_ms=now_ms())
                else:
                    waits = True
            elif receipt is not None and not receipt.ok and receipt.block_hash != row.block_hash:
                place = {"block_number": receipt.block_number, "block_hash": receipt.block_hash}
                await self.outcomes.change(row.id, **place)
                waits = True
            elif (receipt is not None and receipt.ok) or known not in (None, row.block_hash):
                log.warning("Transaction %s was not reverted after all (a reorganisation)", row.hashes[-1])
                await self.outcomes.change(row.id, block_number=None, block_hash=None, gas_used=None)
            elif receipt is None and known == row.block_hash and row.block_number <= upto:
                # The node no longer tells the receipt. We have seen it, and its block stands for good.
                await self.outcomes.change(row.id, final_at_ms=now_ms())
            else:  # the node is behind
                waits = True
        return waits

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
            await self.outcomes.change(row.id, block_number=None, block_hash=None, gas_used=None)
        now = asyncio.get_running_loop().time()
        if now - self._sent_at.get(row.id, -1e9) < self._rebroadcast_s:
            return None
        if not await self.sending.broadcast(row, self.chain_id) and await self._nonce_taken(row):
            return None
        self._sent_at[row.id] = now
        receipt = await self._receipt(row)
        if receipt is None and row.state == "signed":
            await self.outcomes.change(row.id, state="sent")
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
            await self.outcomes.abandon(row)
        return True

    async def _final(self, row: Row[Any], receipt: Receipt) -> None:
        await self.outcomes.final(row, receipt)
        self._moved = True
        self.sending.notice = None
