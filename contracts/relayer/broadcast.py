"""Brings one nonce into a block: sends its bytes again, offers more for them when they are stuck, and fills gaps.

Every attempt is stored before it is first sent (see `contracts.relayer.attempts`). Decides nothing about entries.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.relayer import attempts
from contracts.relayer.attempts import Attempt, TransactionRow
from contracts.relayer.fees import WITHOUT_MEMPOOL, Offer, first_offer, gwei, higher_offer
from contracts.relayer.settings import RelayerSettings
from contracts.rpc.node import ChainUnreachableError, LedgerError, Node, NodeRefusedError
from contracts.signers.keystore import Call, Signed, Signer
from migrations.database import now_ms
from migrations.schema import chain_transactions
from migrations.states.ledger import TransactionKind, TransactionState

log = logging.getLogger(__name__)

# Words by which nodes say that an offer is too low, and that the account has too little.
UNDERPRICED = (
    "max fee per gas less than block base fee",
    "fee cap less than block base fee",
    "max fee per gas too low",
)
UNFUNDED = ("insufficient funds", "insufficient balance")

Guard = Callable[[AsyncConnection], Awaitable[None]]


class Broadcast:
    """Sends the transactions of one account. Fees in wei, times in seconds.

    `guard` raises when this process may no longer store anything.
    """

    def __init__(
        self, database: AsyncEngine, node: Node, signer: Signer, guard: Guard, settings: RelayerSettings
    ) -> None:
        self._database = database
        self._node = node
        self._signer = signer
        self._guard = guard
        self._max_fee = settings.max_fee
        self._bumps = settings.bumps
        self._bump_s = settings.bump_s
        self.notice: str | None = None  # a sentence for the operator, while it lasts

    async def offer(self) -> Offer:
        """Return the offer of a new transaction. Raises ChainUnreachableError while the chain asks over our limit."""
        fees = await self._node.fees()
        offer = first_offer(fees, self._max_fee)
        if offer is None:
            raise ChainUnreachableError(
                f"The chain asks {gwei(fees.base)} gwei for gas, over our limit of {gwei(self._max_fee or 0)} "
                "(FLOCK_MAX_FEE_GWEI); waiting. Nothing is lost meanwhile."
            )
        return offer

    async def send(self, row: TransactionRow, chain_id: int) -> bool:
        """Send a nonce's bytes, or better paid ones in their place. False when the node has seen the nonce before."""
        await self._fill_gap(row, chain_id)
        known_attempts = list(await attempts.of(self._database, row))
        newest = known_attempts[0]
        mempool = chain_id not in WITHOUT_MEMPOOL if self._bumps is None else self._bumps
        stuck = row.state == TransactionState.SENT and now_ms() - newest.created_at_ms >= self._bump_s * 1000
        if mempool and stuck and (better := await self._raise_offer(row, newest)) is not None:
            known_attempts.insert(0, better)
        try:
            return await self._node.send(known_attempts[0].raw)
        except NodeRefusedError as refusal:
            message = refusal.message.lower()
            if any(words in message for words in UNDERPRICED):  # these bytes cannot be mined now, mempool or not
                better = await self._raise_offer(row, known_attempts[0])
                return True if better is None else await self._node.send(better.raw)
            if any(words in message for words in UNFUNDED):
                return await self._send_older(known_attempts[1:], refusal)
            raise

    async def _send_older(self, older_attempts: list[Attempt], refusal: NodeRefusedError) -> bool:
        """Send an earlier attempt, which offered less: the account may still be able to pay for it."""
        for older in older_attempts:
            try:
                return await self._node.send(older.raw)
            except NodeRefusedError:
                continue
        raise LedgerError(
            f"The relayer's account {self._signer.address} cannot pay for the transaction that is underway; "
            "send it some of the chain's coin. Nothing is lost meanwhile."
        ) from refusal

    async def _raise_offer(self, row: TransactionRow, latest: Attempt) -> Attempt | None:
        """Store the same call under the same nonce with a higher offer.

        Returns None where the fee limit or the account's balance does not allow one.
        """
        call, before = attempts.call_of(latest.raw)
        fees = await self._node.fees()
        offer = higher_offer(before, fees, self._max_fee)
        if offer is None:
            self._notify(
                f"A transaction waits at the highest fee that it may offer, {gwei(before.most)} gwei, while the chain "
                f"asks {gwei(fees.base)}; it goes on when that falls, or with a higher FLOCK_MAX_FEE_GWEI."
            )
            return None
        if (balance := await self._node.balance(self._signer.address)) < call["gas"] * offer.most:
            self._notify(
                f"The relayer's account {self._signer.address} holds {balance / 1e18:.6f} ether, too little to offer "
                "more for the transaction that is underway; send it some. Nothing is lost meanwhile."
            )
            return None
        attempt = await self._store_attempt(row, call, offer)
        log.info(
            "Transaction %d offers more for gas, %s gwei instead of %s.", row.nonce, gwei(offer.most), gwei(before.most)
        )
        return attempt

    async def _sign(self, call: Call, offer: Offer) -> Signed:
        return await self._signer.sign({**call, "maxFeePerGas": offer.most, "maxPriorityFeePerGas": offer.tip})

    async def _store_attempt(self, row: TransactionRow, call: Call, offer: Offer, **values: object) -> Attempt:
        """Sign another attempt for the nonce of a row and store it. Sends nothing."""
        signed = await self._sign(call, offer)
        async with self._database.begin() as connection:
            await self._guard(connection)
            hashes = await attempts.hashes(connection, row.id, signed.tx)
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(raw=signed.raw, hashes=hashes, **values)
            )
            await attempts.keep(connection, row.id, signed)
        return Attempt(signed.tx, signed.raw, now_ms())

    # -------------------------------------------------------------------- gaps

    async def _fill_gap(self, row: TransactionRow, chain_id: int) -> None:
        """Fill an earlier nonce that nobody uses any more: it would hold ours up for ever."""
        nonce = await self._node.nonce(self._signer.address)
        if nonce < row.nonce:
            await self.fill(nonce, chain_id)

    async def fill(self, nonce: int, chain_id: int) -> None:
        """Use up a nonce of the account that a reorganisation freed, by a transaction to itself that does nothing.

        A nonce that carries entries of ours is not given away: its transaction is sent again as it is.
        """
        query = select(chain_transactions).where(
            chain_transactions.c.sender == self._signer.address, chain_transactions.c.nonce == nonce
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is not None and row.state != TransactionState.REVERTED:
            await self._node.send(bytes(row.raw))
            return
        me = self._signer.address
        gas = await self._node.estimate(me, me, b"")
        call: Call = {"chainId": chain_id, "nonce": nonce, "to": me, "data": b"", "value": 0, "gas": gas + gas // 5}
        offer = await self.offer()
        noop = {"kind": TransactionKind.NOOP, "state": TransactionState.SIGNED}
        if row is not None:
            no_block = {"block_number": None, "block_hash": None, "gas_used": None}
            raw = (await self._store_attempt(row, call, offer, **noop, **no_block)).raw
        else:
            signed = await self._sign(call, offer)
            raw = signed.raw
            async with self._database.begin() as connection:
                await self._guard(connection)
                inserted = await connection.execute(
                    insert(chain_transactions)
                    .values(**noop, sender=me, nonce=nonce, raw=raw, hashes=[signed.tx], created_at_ms=now_ms())
                    .returning(chain_transactions.c.id)
                )
                await attempts.keep(connection, int(inserted.scalar_one()), signed)
        log.warning("Number %d of the relayer's account was freed by a reorganisation; an empty one takes it", nonce)
        await self._node.send(raw)

    def _notify(self, sentence: str) -> None:
        """Keep a sentence for the operator, and log it when it is new."""
        if sentence != self.notice:
            log.warning("%s", sentence)
        self.notice = sentence
