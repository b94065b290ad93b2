"""The account's transactions from signature to finality, in the order of their nonces: the only owner of its nonce.

Signed bytes are on disk before they are first sent; after a crash the same bytes are sent again. What is worth sending
is decided in `contracts.relayer.planning.planner`, and when to act in `contracts.relayer.relayer`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger.client import Ledger
from contracts.relayer import attempts, batch_recovery, reorgs
from contracts.relayer.attempts import TransactionRow
from contracts.relayer.backlog import Pace
from contracts.relayer.broadcast import Broadcast, Guard
from contracts.relayer.finality import Finality
from contracts.relayer.planning.draft import Draft, forget, mark
from contracts.relayer.planning.planner import Planner
from contracts.relayer.settings import RelayerSettings
from contracts.relayer.settlement import NOT_MINED, Settlement, receipt_of
from contracts.rpc.node import ChainUnreachableError, LedgerError, Receipt, WrongLedgerError
from contracts.signers.keystore import Signer
from migrations.database import now_ms
from migrations.schema import chain_transactions, reverts
from migrations.states.ledger import UNDERWAY_TRANSACTIONS, OutboxState, TransactionState

log = logging.getLogger(__name__)

PROOFS = 3  # how often in a row a nonce must look taken before our transaction counts as dead


class Transactions:
    """The transactions of one account. Times in seconds, fees in wei; see `RelayerSettings`."""

    def __init__(
        self,
        database: AsyncEngine,
        ledger: Ledger,
        signer: Signer,
        planner: Planner,
        finality: Finality,
        *,
        guard: Guard,
        check: Callable[[], Awaitable[None]],
        settings: RelayerSettings,
        pace: Pace,
    ) -> None:
        """`guard` raises when this process may no longer store anything, `check` when the chain is not ours."""
        self._database = database
        self._ledger = ledger
        self._node = ledger.node
        self._signer = signer
        self._finality = finality
        self._guard = guard
        self._check = check
        self._rebroadcast_s = settings.rebroadcast_s
        self._recheck_s = settings.recheck_s
        self.settlement = Settlement(database, ledger, planner)
        self.broadcast = Broadcast(database, self._node, signer, guard, settings)
        self._pace = pace
        self.chain_id = 0  # the chain for which we sign; known once `check` has passed
        self.balance: int | None = None  # of the account when it was last asked for
        self.reverted = 0  # reverted transactions in a row
        self._progressed = False  # something was achieved since the last trouble
        self._sent_at: dict[int, float] = {}
        self._taken_count: dict[int, int] = {}  # how often in a row a transaction's nonce looked taken
        self._rechecked_at = -1e9
        self._reorg_suspected = True  # something left the chain, perhaps before this process started

    @property
    def notice(self) -> str | None:
        """A sentence for the operator about the fees offered, while it lasts."""
        return self.broadcast.notice

    def note_trouble(self) -> bool:
        """Note trouble: the chain is checked anew next time. Return True if something was achieved since the last."""
        self._rechecked_at = -1e9
        progressed, self._progressed = self._progressed, False
        return progressed

    async def count(self) -> int:
        """Return the number of transactions that are not final yet."""
        query = select(func.count()).where(chain_transactions.c.state.in_(UNDERWAY_TRANSACTIONS))
        async with self._database.connect() as connection:
            return int(await connection.scalar(query) or 0)

    async def check_reorg(self, *, at_once: bool = False) -> bool:
        """Return True if a reorganisation took back final transactions. The chain is asked now and then, or at once."""
        now = asyncio.get_running_loop().time()
        if now - self._rechecked_at < self._recheck_s and not (self._reorg_suspected or at_once):
            return False
        self._rechecked_at = now
        reopened = await reorgs.reopen(
            self._database, self._finality, self._signer.address, thorough=self._reorg_suspected
        )
        self._reorg_suspected = reopened > 0
        return self._reorg_suspected

    async def store(self, draft: Draft) -> None:
        """Sign a draft and store the bytes with the entries they carry, in one transaction. Sends nothing."""
        offer = await self.broadcast.offer()
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
        async with self._database.begin() as connection:
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
                    state=TransactionState.SIGNED,
                    digest=draft.digest,
                    created_at_ms=now_ms(),
                )
                .returning(chain_transactions.c.id)
            )
            transaction = int(row.scalar_one())
            await attempts.keep(connection, transaction, signed)
            changed = await mark(connection, draft.entries, OutboxState.BATCHED, transaction_id=transaction)
            if changed != len(draft.entries):
                raise LedgerError("The outbox changed while a transaction was drafted; trying again.")
            await mark(connection, draft.superseded, OutboxState.SUPERSEDED)
            await forget(connection, draft.superseded)
        self._progressed = True
        log.info(
            "Transaction %d with %d entries is signed, and is sent next.",
            nonce,
            len(draft.entries),
            extra={"kind": draft.kind},
        )

    async def _next_nonce(self) -> int:
        """Return the next nonce. The chain's count is only a floor: a node that is behind must not make us reuse it."""
        query = select(func.max(chain_transactions.c.nonce)).where(chain_transactions.c.sender == self._signer.address)
        async with self._database.connect() as connection:
            last = await connection.scalar(query)
        nonce = await self._node.nonce(self._signer.address)
        if last is not None and nonce <= last:
            await self.broadcast.fill(nonce, self.chain_id)  # the chain lost it, or the node is behind
            raise ChainUnreachableError(
                f"The chain's node does not know our transaction number {last}; waiting for it. If the chain was "
                "started anew, deploy the ledger again and begin with an empty database."
            )
        if last is not None and nonce > last + 1:
            log.warning(
                "Another program used the relayer's account %d times since our last transaction; nothing is lost, but "
                "give the relayer a key of its own.",
                nonce - last - 1,
            )
        return nonce

    async def follow(self) -> bool:
        """Follow what was signed, in the order of its nonces. Return True while one of them is not in a block yet."""
        query = (
            select(chain_transactions)
            .where(chain_transactions.c.state.in_(UNDERWAY_TRANSACTIONS))
            .order_by(chain_transactions.c.nonce)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return False
        if any(row.sender != self._signer.address for row in rows):
            raise WrongLedgerError(
                f"Transactions of account {rows[0].sender} are still underway; let its relayer finish before "
                f"{self._signer.address} takes over."
            )
        standing = await self._all_stand(rows)
        upto: int | None = None
        for row in rows:
            stored = receipt_of(row) if standing and row.block_hash else await self._receipt(row)
            receipt = stored or await self._send(row)
            if receipt is None:
                return True
            self._sent_at.pop(row.id, None)
            self._taken_count.pop(row.id, None)
            if not receipt.ok and await batch_recovery.recover_by_digest(self._database, self._ledger, row):
                return True
            if row.block_hash != receipt.block_hash:
                if not receipt.ok:  # gas was burnt, and nothing achieved
                    self._progressed, self.reverted = False, self.reverted + 1
                await self.settlement.record_inclusion(row, receipt)
                self._pace.included()
                self.reverted = 0
            if upto is None or row.block_hash is None:  # its block may be newer than our last look
                upto = await self._finality.upto()
            if receipt.block_number <= upto and (
                standing or await self._finality.stands(receipt.block_number, receipt.block_hash)
            ):
                # Final blocks build on earlier final blocks; one of those may be gone, and its nonce another program's.
                if await self.check_reorg(at_once=True):
                    return await self.follow()
                await self._finish(row, receipt)
        return False

    async def count_reverts(self) -> bool:
        """Count the reverts whose blocks are final by now; return True while some are not.

        Each receipt is asked for anew: one that a reorganisation took back, or a node made up, counts against nobody.
        """
        noted = select(reverts.c.transaction_id)
        query = (
            select(chain_transactions)
            .where(chain_transactions.c.state == TransactionState.REVERTED, chain_transactions.c.id.in_(noted))
            .where(chain_transactions.c.block_hash.is_not(None), chain_transactions.c.final_at_ms.is_(None))
            .order_by(chain_transactions.c.nonce)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return False
        upto, waits = await self._finality.upto(), False
        for row in rows:
            receipt = await self._receipt(row)
            block_hash = await self._finality.block_hash(row.block_number)
            if receipt is not None and not receipt.ok and receipt.block_hash == row.block_hash == block_hash:
                if row.block_number <= upto:
                    await self.settlement.update(row.id, final_at_ms=now_ms())
                else:
                    waits = True
            elif receipt is not None and not receipt.ok and receipt.block_hash != row.block_hash:
                place = {"block_number": receipt.block_number, "block_hash": receipt.block_hash}
                await self.settlement.update(row.id, **place)
                waits = True
            elif (receipt is not None and receipt.ok) or block_hash not in (None, row.block_hash):
                log.warning("Transaction %s was not reverted after all (a reorganisation)", row.hashes[-1])
                await self.settlement.update(row.id, **NOT_MINED)
            elif receipt is None and block_hash == row.block_hash and row.block_number <= upto:
                # The node no longer serves the receipt. We have read it, and its block stands for good.
                await self.settlement.update(row.id, final_at_ms=now_ms())
            else:  # the node is behind
                waits = True
        return waits

    async def _all_stand(self, rows: Sequence[TransactionRow]) -> bool:
        """Return True if all that was in a block still is, by one question: the last nonce's chain has all others.

        The highest block will not do: after a reorganisation an earlier nonce may be mined higher than a later one was.
        """
        last = max((row for row in rows if row.block_hash), key=lambda row: int(row.nonce), default=None)
        return last is not None and await self._finality.stands(last.block_number, last.block_hash)

    async def _receipt(self, row: TransactionRow) -> Receipt | None:
        """Return the receipt of whichever attempt was mined; a reverted one only where no other attempt succeeded."""
        reverted: Receipt | None = None
        for tx in reversed(row.hashes):
            receipt = await self._node.receipt(tx)
            if receipt is not None and receipt.ok:
                return receipt
            reverted = reverted or receipt
        return reverted

    async def _send(self, row: TransactionRow) -> Receipt | None:
        """Send the stored bytes, the first time and whenever the chain seems to have lost them."""
        if row.block_number is not None:
            self._reorg_suspected = True
            log.warning("Transaction %s has left the chain (a reorganisation); it is sent again", row.hashes[-1])
            await self.settlement.update(row.id, **NOT_MINED)
        now = asyncio.get_running_loop().time()
        if now - self._sent_at.get(row.id, -1e9) < self._rebroadcast_s:
            return None
        if not await self.broadcast.send(row, self.chain_id) and await self._nonce_taken(row):
            return None
        self._sent_at[row.id] = now
        receipt = await self._receipt(row)
        if receipt is None and row.state == TransactionState.SIGNED:
            await self.settlement.update(row.id, state=TransactionState.SENT)
        return receipt

    async def _nonce_taken(self, row: TransactionRow) -> bool:
        """Return True if another transaction has our nonce for good; ours is then dead and its entries wait again."""
        tag = self._finality.tag or "latest"
        if await self._node.nonce(self._signer.address, tag) <= row.nonce or await self._receipt(row) is not None:
            self._taken_count.pop(row.id, None)
            return False
        self._taken_count[row.id] = self._taken_count.get(row.id, 0) + 1
        if self._taken_count[row.id] >= PROOFS:
            await self._check()  # another chain's numbers prove nothing
            if await batch_recovery.recover_by_digest(self._database, self._ledger, row):
                return False
            log.warning("Another program used the relayer's account: nonce %d is not ours", row.nonce)
            await self.settlement.abandon(row)
        return True

    async def _finish(self, row: TransactionRow, receipt: Receipt) -> None:
        await self.settlement.record_finality(row, receipt)
        self._progressed = True
        self.broadcast.notice = None
