"""The common parts of all planners: a draft, the entries that it carries, and what a refusal of the ledger leads to."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Row, and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.ledger.client import Ledger
from contracts.outbox.progress import UNDERWAY
from contracts.outbox.rejections import ANSWER_CHANGED, NOT_OPEN, SENTENCES, TEMPORARY_REFUSALS, UNEXPLAINED
from contracts.relayer import reverts
from contracts.relayer.planning.refusals import Refusals
from contracts.relayer.reverts import Record, Reverts, Verdict
from contracts.relayer.turns import Path, Turns
from contracts.rpc.node import ChainUnreachableError, LedgerError, LedgerRefusedError, NodeRefusedError
from migrations.schema import battles, chain_transactions, outbox, rounds, voters
from migrations.states.ledger import OutboxKind, OutboxState, TransactionKind

log = logging.getLogger(__name__)

EntryRow: TypeAlias = Row[Any]  # a row of a query of entries; SQLAlchemy Core gives its columns no types

# The kinds in which a smart account's code has a say.
ASKS_ACCOUNTS = (TransactionKind.LINK, TransactionKind.UNLINK, TransactionKind.BALLOT)
ACCOUNT_DEPENDENT = (*ASKS_ACCOUNTS, TransactionKind.CLAIM)  # the kinds that somebody else may make fail


class WaitsError(ChainUnreachableError):
    """Entries of one kind have to wait; entries of other kinds need not."""


class NotOpenError(WaitsError):
    """The chain's clock has not reached the round's opening yet; entries of other rounds need not wait for it."""

    def __init__(self) -> None:
        super().__init__("The chain's clock has not reached the round's opening yet; its votes wait for it.")


class DoubtedError(WaitsError):
    """A node's refusal is not believed yet; its entries wait, and hold up no others."""


# The items of a round, and the entries that are nothing without theirs.
BELONGING = {
    OutboxKind.VIDEO: (OutboxKind.VOTE,),
    OutboxKind.BATTLE: (OutboxKind.VOTE, OutboxKind.REVEAL),
}
MOST_GAS = 16_000_000  # of any transaction (EIP-7825 allows 16,777,216)


@dataclass(frozen=True)
class DraftSettings:
    """The moment at which votes are sent: at once from `flush_votes` on, after `flush_age_s` at the latest, or when a
    round closes.
    """

    flush_votes: int = 1000
    flush_age_s: float = 15.0
    max_gas: int = 8_000_000  # of one batch: well under every chain's limit for a transaction
    confirm_s: float = 20.0  # a refusal must be told again so much later, before anything is lost by it


@dataclass(frozen=True)
class Draft:
    """A transaction that is worth sending: calldata, its gas, and the outbox entries that it carries."""

    kind: TransactionKind
    data: bytes
    gas: int
    round_id: int | None = None
    entries: Sequence[int] = ()
    superseded: Sequence[int] = ()
    seq: int | None = None
    digest: str | None = None
    reverted: int = 0  # how often it was reverted so far

    @property
    def limit(self) -> int:
        """The gas that it may use. A transaction that was reverted gets more each time: it may have run out of gas."""
        usual = self.gas + self.gas // 5
        return max(usual, min(usual + self.gas * self.reverted, MOST_GAS))


@dataclass(frozen=True)
class Scope:
    """The entries that are looked at: those that were reverted before or the others, and of which rounds (None: of
    all).
    """

    again: bool = False
    rounds: frozenset[int] | None = None


def pending(kind: OutboxKind) -> ColumnElement[bool]:
    """Return the condition that an entry is of a kind and waits for its transaction."""
    return and_(outbox.c.kind == kind, outbox.c.state == OutboxState.PENDING)


async def mark(connection: AsyncConnection, entries: Iterable[int], state: OutboxState, **values: object) -> int:
    """Move outbox entries to a state, where they are still pending or batched; return the number that moved."""
    ids, changed = list(entries), 0
    for start in range(0, len(ids), 500):  # a statement takes a limited number of values
        result = await connection.execute(
            update(outbox)
            .where(outbox.c.id.in_(ids[start : start + 500]), outbox.c.state.in_(UNDERWAY))
            .values(state=state, **values)
        )
        changed += result.rowcount
    return changed


class DraftContext:
    """One ledger, one sending account and one database: the context in which planners draft."""

    def __init__(
        self,
        database: AsyncEngine,
        ledger: Ledger,
        sender: str,
        settings: DraftSettings,
        check_chain: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`check_chain` raises while a refusal proves nothing: a node that is behind knows no round of ours."""
        self.database = database
        self.ledger = ledger
        self.settings = settings
        self._sender = sender
        self._check_chain = check_chain
        self.reverts = Reverts(database)
        self._refusals = Refusals(database, ledger.node, settings.confirm_s)
        self.resolved = 0  # how often entries were recorded or rejected without a transaction
        self._turns: dict[tuple[str, bool], Turns] = defaultdict(Turns)

    async def estimate(self, data: bytes) -> int:
        """Return the gas that calldata for the ledger needs. Raises LedgerRefusedError, or WaitsError."""
        try:
            return await self.ledger.node.estimate(self._sender, self.ledger.address, data)
        except LedgerRefusedError as refusal:
            if refusal.reason == NOT_OPEN:
                raise NotOpenError from refusal
            if refusal.reason in TEMPORARY_REFUSALS:
                raise WaitsError(TEMPORARY_REFUSALS[refusal.reason]) from refusal
            raise

    async def draft(
        self,
        kind: TransactionKind,
        data: bytes,
        record: Record,
        round_id: int | None = None,
        entries: Sequence[int] = (),
    ) -> Draft:
        """Return a draft of what may be sent by its record of reverts.

        Raises LedgerRefusedError, also for what is reverted each time. The ledger is asked first: where it knows a
        reason now, that is the one to report.
        """
        by_account = kind in ACCOUNT_DEPENDENT
        draft = Draft(kind, data, await self.estimate(data), round_id, entries, reverted=record.times)
        if (record.judge_account() if by_account else record.judge_chain()) is Verdict.NO:
            raise LedgerRefusedError(ANSWER_CHANGED if by_account else UNEXPLAINED)
        if kind in ASKS_ACCOUNTS:
            await self._simulate(draft)
        return draft

    async def _simulate(self, draft: Draft) -> None:
        """Ask once more, with the price and the gas that will be sent: an account's code may look at both.

        Raises LedgerRefusedError. Objections of the node alone, such as a price under the base fee, come up when it is
        sent.
        """
        node = self.ledger.node
        try:
            await node.simulate(self._sender, self.ledger.address, draft.data, draft.limit, await node.fees())
        except NodeRefusedError as refusal:
            log.debug("The chain's node does not simulate a price (%s)", refusal.message)

    # -------------------------------------------------------------------- turns

    def turns(self, kind: str, scope: Scope) -> Turns:
        """Return the turns of a kind; entries that were reverted before have turns of their own."""
        return self._turns[kind, scope.again]

    def within(self, scope: Scope) -> list[ColumnElement[bool]]:
        """Return the conditions that limit a query of entries with a transaction each to a scope."""
        conditions: list[ColumnElement[bool]] = [] if scope.rounds is None else [outbox.c.round_id.in_(scope.rounds)]
        reverted = self.reverts.entries
        if scope.again:
            conditions.append(outbox.c.id.in_(reverted))
        elif reverted:
            conditions.append(outbox.c.id.not_in(reverted))
        return conditions

    async def entry(self, number: int) -> EntryRow:
        """Return an entry of the outbox, with the ledger's numbers of its round, its voter and its battle."""
        query = (
            select(
                outbox,
                rounds.c.chain_id.label("round_number"),
                voters.c.voter_index,
                battles.c.chain_id.label("battle_number"),
            )
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(battles, battles.c.id == outbox.c.video_id)
            .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
            .where(outbox.c.id == number)
        )
        async with self.database.connect() as connection:
            return (await connection.execute(query)).one()

    async def first(
        self,
        turns: Turns,
        heads: Callable[[], Awaitable[Sequence[EntryRow]]],
        path: Callable[[EntryRow], Path],
        make: Callable[[EntryRow], Awaitable[Draft | None]],
    ) -> Draft | None:
        """Return the first draft that `make` gives of the entries of `heads`, in their turns.

        Entries that are recorded or rejected on the way make room for those behind them. An entry that has to wait, or
        that a node or the ledger objects to, holds up no other: its error is raised where nothing else is left to do.
        """
        while True:
            before = self.resolved
            waits: LedgerError | None = None
            for head in turns.order(await heads(), path):
                try:
                    draft = await make(await self.entry(head.id))
                except (NotOpenError, DoubtedError, NodeRefusedError, LedgerRefusedError) as error:
                    waits = waits or error
                    continue
                if draft is not None:
                    turns.serve(path(head))
                    return draft
            if self.resolved == before:
                if waits is not None:
                    raise waits
                return None

    # -------------------------------------------------------------- what is over

    async def mark_recorded(self, entries: Sequence[int], **values: object) -> None:
        """Mark entries that are on the ledger already: they need no transaction."""
        async with self.database.begin() as connection:
            await self.mark_recorded_within(connection, entries, **values)

    async def mark_recorded_within(self, connection: AsyncConnection, entries: Sequence[int], **values: object) -> None:
        """Do the same within a transaction of the database."""
        self.resolved += 1
        await mark(connection, entries, OutboxState.FINAL, **values)
        await forget(connection, entries)

    async def reject(self, entries: Sequence[int], reason: str) -> None:
        """Mark what the ledger refuses for good, with a sentence for the member; `reason` is the ledger's own text.

        Raises DoubtedError where a node has told of it once, or it cannot be: the entries are left as they are.
        """
        if self._check_chain is not None:
            await self._check_chain()
        ours = reason in (ANSWER_CHANGED, UNEXPLAINED)  # by our own record of final blocks
        if not ours and (doubt := await self._refusals.doubt_of(entries, reason)) is not None:
            raise DoubtedError(doubt)
        sentence = SENTENCES.get(reason, f"The ledger refused it: {reason.removeprefix('ledger: ')}.")
        if ours:
            log.warning(
                "Transactions of %d entries were reverted in final blocks although the ledger had agreed to each (%s); "
                "the entries are rejected, and cost no more gas. `flock_reverts_total` counts such transactions.",
                len(entries),
                reason,
            )
        else:
            log.warning("%d entries were rejected by the ledger (%s)", len(entries), reason)
        await self.reject_with_sentence(entries, sentence)

    async def reject_with_sentence(self, entries: Sequence[int], sentence: str) -> None:
        """Mark entries that can never be recorded, by what our own record says."""
        self.resolved += 1
        async with self.database.begin() as connection:
            await mark(connection, entries, OutboxState.REJECTED, reason=sentence)
            await forget(connection, entries)

    async def reject_orphans(self) -> None:
        """Reject entries that can never be recorded: the round, video or battle that they belong to was rejected."""
        rejected = outbox.c.state == OutboxState.REJECTED
        rejected_rounds = select(outbox.c.round_id).where(outbox.c.kind == OutboxKind.ROUND, rejected)
        rejected_ends = select(outbox.c.round_id).where(outbox.c.kind == OutboxKind.CLOSE, rejected)
        waiting = update(outbox).where(outbox.c.state == OutboxState.PENDING)
        async with self.database.begin() as connection:
            await connection.execute(
                waiting.where(outbox.c.kind != OutboxKind.ROUND, outbox.c.round_id.in_(rejected_rounds)).values(
                    state=OutboxState.REJECTED, reason="The round could not be recorded on the ledger."
                )
            )
            for kind, belonging in BELONGING.items():
                items = select(outbox.c.video_id).where(outbox.c.kind == kind, rejected)
                await connection.execute(
                    waiting.where(outbox.c.kind.in_(belonging), outbox.c.video_id.in_(items)).values(
                        state=OutboxState.REJECTED, reason=f"The {kind} could not be recorded on the ledger."
                    )
                )
            await connection.execute(
                waiting.where(outbox.c.kind == OutboxKind.REVEAL, outbox.c.round_id.in_(rejected_ends)).values(
                    state=OutboxState.REJECTED, reason="The round could not be finalized on the ledger."
                )
            )


async def forget(connection: AsyncConnection, entries: Sequence[int]) -> None:
    """Forget how often entries were reverted: they are over."""
    await reverts.forget(connection, [name(number) for number in entries for name in (reverts.entry, reverts.vote)])


async def opened_in(database: AsyncEngine, round_id: int | None) -> int:
    """Return the block before which the log says nothing of a round; 0 where we do not know it."""
    query = select(chain_transactions.c.block_number).where(
        chain_transactions.c.kind == TransactionKind.ROUND,
        chain_transactions.c.round_id == round_id,
        chain_transactions.c.block_number.is_not(None),
    )
    async with database.connect() as connection:
        return int(await connection.scalar(query.limit(1)) or 0)
