"""What all drafters share: a draft, the entries that it carries, and what a refusal of the ledger means to a member."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger.client import Ledger
from contracts.outbox.rejections import CHANGED_ITS_MIND, NOT_OPEN, NOT_OURS_TO_JUDGE, SENTENCES, UNEXPLAINED
from contracts.relayer import reverts
from contracts.relayer.reverts import Next, Record, Reverts
from contracts.relayer.turns import Path, Turns
from contracts.rpc.node import ChainUnreachableError, LedgerError, LedgerRefusedError, NodeRefusedError
from migrations.schema import chain_transactions, outbox, rounds, voters

log = logging.getLogger(__name__)

ASKS_ACCOUNTS = ("link", "unlink", "ballot")  # the kinds in which a smart account's code has a say
THEIRS = (*ASKS_ACCOUNTS, "claim")  # the kinds that somebody else may make fail


class WaitsError(ChainUnreachableError):
    """Entries of one kind have to wait; what is of other kinds need not."""


class NotOpenError(WaitsError):
    """The chain's clock has not reached the round's opening yet; what is of other rounds need not wait for it."""

    def __init__(self) -> None:
        super().__init__("The chain's clock has not reached the round's opening yet; its votes wait for it.")


MOST_GAS = 16_000_000  # that a transaction may be given at all (EIP-7825 has 16,777,216)


@dataclass(frozen=True)
class DraftSettings:
    """When votes are sent: at once from `flush_votes` on, at the latest after `flush_age_s`, or when a round closes."""

    flush_votes: int = 1000
    flush_age_s: float = 15.0
    max_gas: int = 8_000_000  # of one batch: well under every chain's limit for a transaction


@dataclass(frozen=True)
class Draft:
    """A transaction that is worth sending: calldata, its gas, and the outbox entries that it carries."""

    kind: str  # round | video | voters | votes | close | finalize | link | unlink | claim | ballot
    data: bytes
    gas: int
    round_id: int | None = None
    entries: Sequence[int] = ()
    superseded: Sequence[int] = ()
    seq: int | None = None
    digest: str | None = None
    reverted: int = 0  # how often it was, so far

    @property
    def limit(self) -> int:
        """The gas that it may use. What was reverted gets more each time: it may have run out of it."""
        usual = self.gas + self.gas // 5
        return max(usual, min(usual + self.gas * self.reverted, MOST_GAS))


@dataclass(frozen=True)
class Look:
    """Which entries are looked at: what was reverted before or the others, and of which rounds (None: of all)."""

    again: bool = False
    rounds: frozenset[int] | None = None


async def mark(connection: AsyncConnection, entries: Iterable[int], state: str, **values: Any) -> int:
    """Moves outbox entries to a state, where they are still pending or batched; gives how many moved."""
    listed, moved = list(entries), 0
    for start in range(0, len(listed), 500):  # a statement takes a limited number of values
        changed = await connection.execute(
            update(outbox)
            .where(outbox.c.id.in_(listed[start : start + 500]), outbox.c.state.in_(("pending", "batched")))
            .values(state=state, **values)
        )
        moved += changed.rowcount
    return moved


class Desk:
    """One ledger, one sending account, one database: what drafters work with."""

    def __init__(
        self,
        engine: AsyncEngine,
        ledger: Ledger,
        sender: str,
        settings: DraftSettings,
        sure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`sure` raises while a refusal is no proof: a node that is behind knows no round of ours."""
        self.engine = engine
        self.ledger = ledger
        self.settings = settings
        self._sender = sender
        self._sure = sure
        self.reverts = Reverts(engine)
        self.moved = 0  # how often something was settled or refused without a transaction
        self._turns: dict[tuple[str, bool], Turns] = defaultdict(Turns)

    async def estimate(self, data: bytes) -> int:
        """The gas that calldata for the ledger needs. Raises LedgerRefusedError, or WaitsError."""
        try:
            return await self.ledger.node.estimate(self._sender, self.ledger.address, data)
        except LedgerRefusedError as refusal:
            if refusal.reason == NOT_OPEN:
                raise NotOpenError from refusal
            if refusal.reason in NOT_OURS_TO_JUDGE:
                raise WaitsError(NOT_OURS_TO_JUDGE[refusal.reason]) from refusal
            raise

    async def draft(
        self, kind: str, data: bytes, record: Record, round_id: int | None = None, entries: Sequence[int] = ()
    ) -> Draft:
        """A draft of what may be sent by its record. Raises LedgerRefusedError: also for what is reverted each time.

        The ledger is asked first: where it knows a reason now, that is the one to tell.
        """
        theirs = kind in THEIRS
        draft = Draft(kind, data, await self.estimate(data), round_id, entries, reverted=record.times)
        if (record.theirs() if theirs else record.ours()) is Next.NO:
            raise LedgerRefusedError(CHANGED_ITS_MIND if theirs else UNEXPLAINED)
        if kind in ASKS_ACCOUNTS:
            await self._simulate(draft)
        return draft

    async def _simulate(self, draft: Draft) -> None:
        """Asks once more, with the price and the gas that will be sent: an account's code may look at both.

        Raises LedgerRefusedError. What only the node has against it, such as a price under the base fee, is told when
        it is sent.
        """
        node = self.ledger.node
        try:
            await node.simulate(self._sender, self.ledger.address, draft.data, draft.limit, await node.fees())
        except NodeRefusedError as refusal:
            log.debug("The chain's node does not simulate a price (%s)", refusal.message)

    # ---------------------------------------------------------------- whose turn

    def turns(self, kind: str, look: Look) -> Turns:
        """The turns of a kind; what was reverted before has turns of its own."""
        return self._turns[kind, look.again]

    def within(self, look: Look) -> list[ColumnElement[bool]]:
        """What makes a query of entries that take a transaction each see those that are looked at."""
        found: list[ColumnElement[bool]] = [] if look.rounds is None else [outbox.c.round_id.in_(look.rounds)]
        reverted = self.reverts.entries
        if look.again:
            found.append(outbox.c.id.in_(reverted))
        elif reverted:
            found.append(outbox.c.id.not_in(reverted))
        return found

    async def entry(self, number: int) -> Row[Any]:
        """An entry of the outbox, with the ledger's numbers of its round and of its voter."""
        query = (
            select(outbox, rounds.c.chain_id.label("round_number"), voters.c.voter_index)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
            .where(outbox.c.id == number)
        )
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).one()

    async def first(
        self,
        turns: Turns,
        heads: Callable[[], Awaitable[Sequence[Row[Any]]]],
        path: Callable[[Row[Any]], Path],
        make: Callable[[Row[Any]], Awaitable[Draft | None]],
    ) -> Draft | None:
        """The first draft that `make` gives of the entries of `heads`, in their turns.

        What is settled or refused on the way makes room for what is behind it. What one of them has to wait for, or
        what a node or the ledger says of it alone, holds up no other: it is raised where nothing else is left to do.
        """
        while True:
            before = self.moved
            waits: LedgerError | None = None
            for head in turns.order(await heads(), path):
                try:
                    draft = await make(await self.entry(head.id))
                except (NotOpenError, NodeRefusedError, LedgerRefusedError) as error:
                    waits = waits or error
                    continue
                if draft is not None:
                    turns.serve(path(head))
                    return draft
            if self.moved == before:
                if waits is not None:
                    raise waits
                return None

    # -------------------------------------------------------------- what is over

    async def settle(self, entries: Sequence[int], **values: Any) -> None:
        """Marks what is on the ledger already: it needs no transaction."""
        async with self.engine.begin() as connection:
            await self.settle_within(connection, entries, **values)

    async def settle_within(self, connection: AsyncConnection, entries: Sequence[int], **values: Any) -> None:
        """The same within a transaction of the database."""
        self.moved += 1
        await mark(connection, entries, "final", **values)
        await forget(connection, entries)

    async def reject(self, entries: Sequence[int], reason: str) -> None:
        """Marks what the ledger refuses for good, with a sentence for the member; `reason` is the ledger's own text."""
        if self._sure is not None:
            await self._sure()
        sentence = SENTENCES.get(reason, f"The ledger refused it: {reason.removeprefix('ledger: ')}.")
        if reason in (CHANGED_ITS_MIND, UNEXPLAINED):
            log.warning(
                "Transactions of %d entries were reverted in final blocks although the ledger had agreed to each (%s); "
                "they are rejected, and cost no more gas. `flock_reverts_total` counts such transactions.",
                len(entries),
                reason,
            )
        else:
            log.warning("%d entries were refused by the ledger (%s)", len(entries), reason)
        self.moved += 1
        async with self.engine.begin() as connection:
            await mark(connection, entries, "rejected", reason=sentence)
            await forget(connection, entries)

    async def close_the_books(self) -> None:
        """Rejects what can never be recorded, because the round or video that it belongs to was refused."""
        refused_rounds = select(outbox.c.round_id).where(outbox.c.kind == "round", outbox.c.state == "rejected")
        refused_videos = select(outbox.c.video_id).where(outbox.c.kind == "video", outbox.c.state == "rejected")
        waiting = update(outbox).where(outbox.c.state == "pending")
        async with self.engine.begin() as connection:
            await connection.execute(
                waiting.where(outbox.c.kind != "round", outbox.c.round_id.in_(refused_rounds)).values(
                    state="rejected", reason="The round could not be recorded on the ledger."
                )
            )
            await connection.execute(
                waiting.where(outbox.c.kind == "vote", outbox.c.video_id.in_(refused_videos)).values(
                    state="rejected", reason="The video could not be recorded on the ledger."
                )
            )


async def forget(connection: AsyncConnection, entries: Sequence[int]) -> None:
    """Forgets how often entries were reverted: they are over."""
    await reverts.forget(connection, [name(number) for number in entries for name in (reverts.entry, reverts.vote)])


async def opened_in(engine: AsyncEngine, round_id: int) -> int:
    """The block before which the log says nothing of a round; 0 where we do not know it."""
    query = select(chain_transactions.c.block_number).where(
        chain_transactions.c.kind == "round",
        chain_transactions.c.round_id == round_id,
        chain_transactions.c.block_number.is_not(None),
    )
    async with engine.connect() as connection:
        return int(await connection.scalar(query.limit(1)) or 0)
