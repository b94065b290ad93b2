"""Brings one nonce into a block: sends its bytes again, offers more for them when they are stuck, and fills gaps.

Every attempt is stored before it is first sent (see `contracts.relayer.attempts`). Decides nothing about entries.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.relayer import attempts
from contracts.relayer.attempts import Attempt
from contracts.relayer.fees import WITHOUT_MEMPOOL, Offer, first_offer, gwei, higher_offer
from contracts.rpc.node import ChainUnreachableError, LedgerError, Node, NodeRefusedError
from contracts.signers.keystore import Signer
from migrations.database import now_ms
from migrations.schema import chain_transactions

log = logging.getLogger(__name__)

CHEAP = ("max fee per gas less than block base fee", "fee cap less than block base fee", "max fee per gas too low")
POOR = ("insufficient funds", "insufficient balance")

Guard = Callable[[AsyncConnection], Awaitable[None]]


class Sending:
    """For one account. `guard` raises when this process may not store anything (any more); fees in wei, times in s."""

    def __init__(
        self,
        engine: AsyncEngine,
        node: Node,
        signer: Signer,
        guard: Guard,
        *,
        max_fee: int | None,
        bumps: bool | None,
        bump_s: float,
    ) -> None:
        self._engine = engine
        self._node = node
        self._signer = signer
        self._guard = guard
        self._max_fee = max_fee
        self._bumps = bumps
        self._bump_s = bump_s
        self.notice: str | None = None  # what an operator should know, while it lasts

    async def offer(self) -> Offer:
        """What a new transaction offers. Raises ChainUnreachableError while the chain asks more than our limit."""
        fees = await self._node.fees()
        found = first_offer(fees, self._max_fee)
        if found is None:
            raise ChainUnreachableError(
                f"The chain asks {gwei(fees.base)} gwei for gas, over our limit of {gwei(self._max_fee or 0)} "
                "(FLOCK_MAX_FEE_GWEI); waiting. Nothing is lost meanwhile."
            )
        return found

    async def broadcast(self, row: Row[Any], chain_id: int) -> bool:
        """Sends a nonce's bytes, or better paid ones in their place. False when the node has seen the nonce before."""
        await self._fill_gap(row, chain_id)
        known = list(await attempts.of(self._engine, row))
        mempool = chain_id not in WITHOUT_MEMPOOL if self._bumps is None else self._bumps
        stuck = row.state == "sent" and now_ms() - known[0].created_at_ms >= self._bump_s * 1000
        if mempool and stuck and (better := await self._raise(row, known[0])) is not None:
            known.insert(0, better)
        try:
            return await self._node.send(known[0].raw)
        except NodeRefusedError as refusal:
            said = refusal.message.lower()
            if any(words in said for words in CHEAP):  # these bytes cannot be mined now, mempool or not
                better = await self._raise(row, known[0])
                return True if better is None else await self._node.send(better.raw)
            if any(words in said for words in POOR):
                return await self._send_older(known[1:], refusal)
            raise

    async def _send_older(self, known: list[Attempt], refusal: NodeRefusedError) -> bool:
        """What was offered before may still be paid for."""
        for older in known:
            try:
                return await self._node.send(older.raw)
            except NodeRefusedError:
                continue
        raise LedgerError(
            f"The relayer's account {self._signer.address} cannot pay for the transaction that is underway; "
            "send it some of the chain's coin. Nothing is lost meanwhile."
        ) from refusal

    async def _raise(self, row: Row[Any], latest: Attempt) -> Attempt | None:
        """The same call under the same nonce with a higher offer, stored; None where our limit or purse forbids it."""
        call, before = attempts.call_of(latest.raw)
        fees = await self._node.fees()
        offer = higher_offer(before, fees, self._max_fee)
        if offer is None:
            self._tell(
                f"A transaction waits at the highest fee that it may offer, {gwei(before.most)} gwei, while the chain "
                f"asks {gwei(fees.base)}; it goes on when that falls, or with a higher FLOCK_MAX_FEE_GWEI."
            )
            return None
        if (balance := await self._node.balance(self._signer.address)) < call["gas"] * offer.most:
            self._tell(
                f"The relayer's account {self._signer.address} holds {balance / 1e18:.6f} ether, too little to offer "
                "more for the transaction that is underway; send it some. Nothing is lost meanwhile."
            )
            return None
        made = await self._keep(row, call, offer)
        log.info(
            "Transaction %d offers more for gas, %s gwei instead of %s.", row.nonce, gwei(offer.most), gwei(before.most)
        )
        return made

    async def _keep(self, row: Row[Any], call: dict[str, Any], offer: Offer, **values: Any) -> Attempt:
        """Signs another attempt for the nonce of a row and stores it. Sends nothing."""
        signed = await self._signer.sign({**call, "maxFeePerGas": offer.most, "maxPriorityFeePerGas": offer.tip})
        async with self._engine.begin() as connection:
            await self._guard(connection)
            known = await attempts.hashes(connection, row.id, signed.tx)
            await connection.execute(
                update(chain_transactions)
                .where(chain_transactions.c.id == row.id)
                .values(raw=signed.raw, hashes=known, **values)
            )
            await attempts.keep(connection, row.id, signed)
        return Attempt(signed.tx, signed.raw, now_ms())

    # -------------------------------------------------------------------- gaps

    async def _fill_gap(self, row: Row[Any], chain_id: int) -> None:
        """A nonce before ours that nobody uses any more would hold ours up for ever."""
        found = await self._node.nonce(self._signer.address)
        if found < row.nonce:
            await self.fill(found, chain_id)

    async def fill(self, nonce: int, chain_id: int) -> None:
        """Uses up a nonce of the account that a reorganisation freed, by sending nothing to ourselves.

        One that carries entries of ours is not touched: that is sent again as it is.
        """
        query = select(chain_transactions).where(
            chain_transactions.c.sender == self._signer.address, chain_transactions.c.nonce == nonce
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is not None and row.state != "reverted":
            await self._node.send(bytes(row.raw))
            return
        me = self._signer.address
        gas = await self._node.estimate(me, me, b"")
        call = {"chainId": chain_id, "nonce": nonce, "to": me, "data": b"", "value": 0, "gas": gas + gas // 5}
        offer = await self.offer()
        free = {"block_number": None, "block_hash": None, "gas_used": None}
        if row is not None:
            made = await self._keep(row, call, offer, kind="noop", state="signed", **free)
            raw = made.raw
        else:
            signed = await self._signer.sign({**call, "maxFeePerGas": offer.most, "maxPriorityFeePerGas": offer.tip})
            raw = signed.raw
            fields = {"kind": "noop", "sender": me, "nonce": nonce, "raw": raw, "hashes": [signed.tx]}
            async with self._engine.begin() as connection:
                await self._guard(connection)
                inserted = await connection.execute(
                    insert(chain_transactions)
                    .values(**fields, state="signed", created_at_ms=now_ms())
                    .returning(chain_transactions.c.id)
                )
                await attempts.keep(connection, int(inserted.scalar_one()), signed)
        log.warning("Number %d of the relayer's account was freed by a reorganisation; an empty one takes it", nonce)
        await self._node.send(raw)

    def _tell(self, sentence: str) -> None:
        if sentence != self.notice:
            log.warning("%s", sentence)
        self.notice = sentence
