"""The choice of the next transaction: reads the outbox, asks the contract what it holds already, and drafts one call.

Kinds take turns, and within a kind servers, rounds and members do: nobody starves another. Every second transaction is
for a round that closes soon, where there is one. What has to come first (a round before its videos, a link before its
ballots) is looked at entry by entry. The contract is the truth: what it holds needs no sending, and what it refuses for
good is marked `rejected` with a sentence, so that it holds up nothing else. Signs nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger import calldata
from contracts.ledger.client import Ledger, from_hex
from contracts.outbox.rejections import UNEXPLAINED
from contracts.relayer import reverts
from contracts.relayer.planning.battles import BattlePlanner
from contracts.relayer.planning.commitments import CommitmentPlanner
from contracts.relayer.planning.draft import (
    Draft,
    DraftContext,
    DraftSettings,
    EntryRow,
    Scope,
    WaitsError,
    opened_in,
    pending,
)
from contracts.relayer.planning.votes import VotePlanner
from contracts.relayer.planning.wallets import WalletPlanner
from contracts.relayer.reverts import Record, Verdict
from contracts.relayer.turns import Turns
from contracts.rpc.node import ChainUnreachableError, LedgerError, LedgerRefusedError, NodeRefusedError
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, rounds, videos
from migrations.states.ledger import OutboxKind, OutboxState, TransactionKind

URGENT_S = 600  # a round is urgent from so long before its close on the ledger until its grace is over
MOST_GRACE_S = 86_400  # as in the contract
RECALLED = 64  # transactions from which a new relayer learns the turns
REGISTRATIONS = 4  # in a row, while votes wait that could go
AGAIN = "again"

# What takes turns, and the kinds of entries that each drafts from. In the order of a round's workflow, which decides
# where all have waited equally long.
KINDS: dict[str, tuple[OutboxKind, ...]] = {
    "round": (OutboxKind.ROUND,),
    "video": (OutboxKind.VIDEO,),
    "battle": (OutboxKind.BATTLE,),
    "link": (OutboxKind.LINK,),
    "ballot": (OutboxKind.BALLOT,),
    "unlink": (OutboxKind.UNLINK,),
    "claim": (),  # follows from seats, not from entries
    "voters and votes": (OutboxKind.VOTE, OutboxKind.LINK),
    "end": (OutboxKind.CLOSE,),
    "reveal": (OutboxKind.REVEAL,),
    "commitment": (OutboxKind.COMMITMENT,),
}
URGENT = ("round", "video", "battle", "ballot", "claim", "voters and votes")
TURN_OF = {
    TransactionKind.VOTERS: "voters and votes",
    TransactionKind.VOTES: "voters and votes",
    TransactionKind.CLOSE: "end",
    TransactionKind.FINALIZE: "end",
}


class Planner:
    """Drafts for one ledger and one sending account, from one database."""

    def __init__(
        self,
        database: AsyncEngine,
        ledger: Ledger,
        sender: str,
        settings: DraftSettings,
        check_chain: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`check_chain` raises while a refusal proves nothing: a node that is behind knows no round of ours."""
        self._context = DraftContext(database, ledger, sender, settings, check_chain)
        self._database = database
        self._ledger = ledger
        self.votes = VotePlanner(self._context)
        self.wallets = WalletPlanner(self._context, self.votes)
        self.battles = BattlePlanner(self._context)
        self.commitments = CommitmentPlanner(self._context)
        self._drafters: dict[str, Callable[[Scope], Awaitable[Draft | None]]] = {
            "round": lambda scope: self._entries(OutboxKind.ROUND, scope, self._round),
            "video": lambda scope: self._entries(OutboxKind.VIDEO, scope, self._video, rounds.c.chain_id.is_not(None)),
            "battle": lambda scope: self._entries(
                OutboxKind.BATTLE, scope, self.battles.battle, rounds.c.chain_id.is_not(None)
            ),
            "link": self.wallets.link,
            "ballot": self.wallets.ballot,
            "unlink": self.wallets.unlink,
            "claim": self.wallets.claim,
            "voters and votes": self._voters_and_votes,
            "voters": self.votes.voters,
            "votes": self.votes.votes,
            "end": self._end,
            "reveal": self._reveal,
            "commitment": self.commitments.commitment,
        }
        self._turns, self._turns_again, self._turns_of_closing_rounds = Turns(), Turns(), Turns()
        self._recalled = False
        self._urgent_before = False  # the latest transaction was for a round that closes soon
        self._waits: LedgerError | None = None
        self._batches = True
        self._registered = 0  # registrations since the latest batch

    async def next(self, *, batches: bool = True) -> Draft | None:
        """Return the next transaction worth sending, or None when there is nothing (yet).

        Batches of votes may be left out. Raises LedgerError with a sentence for trouble that no entry is to blame for,
        once nothing else is left to send; but at once a WrongLedgerError, when somebody else writes to the ledger, and
        a ChainUnreachableError.
        """
        await self._recall()
        self._batches = batches
        while True:
            resolved, self._waits = self._context.resolved, None
            await self._context.reverts.read()
            waiting = await self._waiting()
            kinds = [kind for kind, of in KINDS.items() if not of or waiting & set(of)]
            draft = await self._next_of_closing_rounds(kinds) if waiting else None
            if draft is not None or (draft := await self._next_of_all(kinds)) is not None:
                return draft
            if self._context.resolved == resolved:  # else there may be room now for kinds that were asked before
                break
        if self._waits is not None:
            raise self._waits
        return None

    async def _next_of_closing_rounds(self, kinds: Sequence[str]) -> Draft | None:
        """Draft for rounds that close soon; every second transaction at most, so that the others get their turns."""
        self._urgent_before = not self._urgent_before and bool(soon := await self._closing_soon())
        if not self._urgent_before:
            return None
        some = [kind for kind in kinds if kind in URGENT]
        draft = await self._in_turn(some, Scope(rounds=soon), self._turns_of_closing_rounds)
        self._urgent_before = draft is not None
        return draft

    async def _next_of_all(self, kinds: Sequence[str]) -> Draft | None:
        """Draft for all kinds; what was reverted before is like one more kind, however much there is of it."""

        async def again(_: Scope) -> Draft | None:
            return await self._in_turn(kinds, Scope(again=True), self._turns_again)

        if self._context.reverts.none:
            self._turns.leave((AGAIN,))
            return await self._in_turn(kinds, Scope(), self._turns)
        return await self._in_turn([*kinds, AGAIN], Scope(), self._turns, {AGAIN: again})

    async def _voters_and_votes(self, scope: Scope) -> Draft | None:
        """Draft a registration or a batch, in one turn for both.

        Voters come first, so that there are few batches; but not for ever, where more and more voters are new.
        """
        names = ["voters", "votes"] if self._registered < REGISTRATIONS else ["votes", "voters"]
        draft = await self._in_turn([name for name in names if name != "votes" or self._batches], scope, Turns())
        if draft is not None:
            self._registered = self._registered + 1 if draft.kind == TransactionKind.VOTERS else 0
        return draft

    async def _in_turn(
        self,
        kinds: Sequence[str],
        scope: Scope,
        turns: Turns,
        besides: dict[str, Callable[[Scope], Awaitable[Draft | None]]] | None = None,
    ) -> Draft | None:
        """Return the first draft of the kinds in their turns. A kind that has to wait does not hold up the others."""
        drafters = {**self._drafters, **(besides or {})}
        for kind in turns.order(kinds, lambda kind: (kind,)):
            try:
                draft = await drafters[kind](scope)
            except (WaitsError, LedgerRefusedError, NodeRefusedError) as error:
                self._waits = self._waits or error
                continue
            except ChainUnreachableError:
                turns.serve((kind,))  # so that other kinds go on where no node answers this one's questions
                raise
            if draft is not None:
                turns.serve((kind,))
                return draft
        return None

    async def _waiting(self) -> set[str]:
        """Return the kinds of which entries wait."""
        query = select(outbox.c.kind).where(outbox.c.state == OutboxState.PENDING).distinct()
        async with self._database.connect() as connection:
            return set(await connection.scalars(query))

    async def _closing_soon(self) -> frozenset[int]:
        """Return the rounds for which the ledger takes entries, but not for long."""
        now = now_ms()
        window = (now - MOST_GRACE_S * 1000, now + URGENT_S * 1000)
        query = (
            select(rounds.c.id, outbox.c.payload)
            .join(outbox, (outbox.c.round_id == rounds.c.id) & (outbox.c.kind == OutboxKind.ROUND))
            .where(rounds.c.closes_at_ms.between(*window), rounds.c.finalized_tx.is_(None))
            .where(outbox.c.state != OutboxState.REJECTED)
        )
        async with self._database.connect() as connection:
            openings = [(row.id, row.payload) for row in await connection.execute(query)]
        return frozenset(
            number
            for number, opening in openings
            if (opening["closes"] - URGENT_S) * 1000 <= now < (opening["closes"] + opening.get("grace", 0)) * 1000
        )

    async def _recall(self) -> None:
        """Learn the turns from the latest transactions: a relayer that is often restarted starves nobody."""
        if self._recalled:
            return
        await self._context.reverts.tidy()
        query = select(chain_transactions.c.kind).order_by(chain_transactions.c.id.desc()).limit(RECALLED)
        async with self._database.connect() as connection:
            latest = list(await connection.scalars(query))
        self._recalled = True
        self._turns.order(KINDS, lambda kind: (kind,))  # a kind that is in none of them has waited for longest
        for kind in reversed(latest):
            self._turns.serve((TURN_OF.get(kind, kind),))

    def _record(self, row: EntryRow) -> Record:
        return self._context.reverts.of(reverts.entry(row.id))

    # --------------------------------------------------------- rounds and videos

    async def _entries(
        self,
        kind: OutboxKind,
        scope: Scope,
        make: Callable[[EntryRow], Awaitable[Draft | None]],
        *ready: ColumnElement[bool],
    ) -> Draft | None:
        """Draft for entries that take a transaction each: servers take turns, their rounds, and the members who asked
        for videos.
        """
        oldest = (
            select(func.min(outbox.c.id))
            .select_from(outbox)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(videos, videos.c.id == outbox.c.video_id)
            .where(pending(kind), *ready, *self._context.within(scope))
            .group_by(outbox.c.round_id, videos.c.member_id)
        )
        query = (
            select(outbox.c.id, outbox.c.round_id, rounds.c.guild_id, videos.c.member_id)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(videos, videos.c.id == outbox.c.video_id)
            .where(outbox.c.id.in_(oldest))
            .order_by(outbox.c.id)
        )

        async def heads() -> Sequence[EntryRow]:
            async with self._database.connect() as connection:
                return list(await connection.execute(query))

        return await self._context.first(
            self._context.turns(kind, scope), heads, lambda head: (head.guild_id, head.round_id, head.member_id), make
        )

    async def _round(self, row: EntryRow) -> Draft | None:
        if self._record(row).judge_chain() is Verdict.WAIT:
            return None
        payload = row.payload
        number = await self._ledger.round_of(from_hex(payload["key"]))
        if number:
            await self.store_round_number(row.round_id, number, row.id)
            return None
        times = (payload["opens"], payload["closes"], payload.get("grace", 0))
        data = calldata.open_round(from_hex(payload["key"]), *times, from_hex(payload["meta_hash"]))
        return await self._draft_or_reject(TransactionKind.ROUND, data, row)

    async def store_round_number(self, round_id: int, number: int, entry: int | None = None) -> None:
        """Write down a round's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._database.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(chain_id=number))
            if entry is not None:
                await self._context.mark_recorded_within(connection, [entry])

    async def _video(self, row: EntryRow) -> Draft | None:
        if self._record(row).judge_chain() is Verdict.WAIT:
            return None
        payload = row.payload
        number = await self._ledger.video_of(from_hex(payload["key"]))
        if number:
            await self.store_video_number(row.video_id, number, row.id)
            return None
        data = calldata.add_video(
            from_hex(payload["key"]),
            row.round_number,
            from_hex(payload["prompt_hash"]),
            from_hex(payload["content_hash"]),
            from_hex(payload["model_hash"]),
            payload["playback_id"],
        )
        return await self._draft_or_reject(TransactionKind.VIDEO, data, row)

    async def store_video_number(self, video_id: str, number: int, entry: int | None = None) -> None:
        """Write down a video's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._database.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == video_id).values(chain_id=number))
            if entry is not None:
                await self._context.mark_recorded_within(connection, [entry])

    async def _draft_or_reject(self, kind: TransactionKind, data: bytes, row: EntryRow) -> Draft | None:
        """Return a draft; or None where the ledger refuses it, and with it all that belongs to it."""
        try:
            return await self._context.draft(kind, data, self._record(row), row.round_id, [row.id])
        except LedgerRefusedError as refusal:
            await self._context.reject([row.id], refusal.reason)
            await self._context.reject_orphans()
            return None

    # ------------------------------------------------------------------ the end

    async def _end(self, scope: Scope) -> Draft | None:
        """Draft for rounds whose end was asked for, and of which nothing waits any more."""
        await self._reject_votes_on_missing_videos()
        waits = outbox.alias()
        emptied = ~(
            select(waits.c.id)
            .where(
                waits.c.round_id == outbox.c.round_id,
                waits.c.state == OutboxState.PENDING,
                waits.c.kind.not_in((OutboxKind.CLOSE, OutboxKind.REVEAL)),
            )
            .exists()
        )
        return await self._entries(OutboxKind.CLOSE, scope, self._closing, rounds.c.chain_id.is_not(None), emptied)

    async def _closing(self, row: EntryRow) -> Draft | None:
        record = self._record(row)
        if record.judge_chain() is Verdict.WAIT:
            return None
        info = await self._ledger.round_info(row.round_number)
        if info.final:
            await self._store_finalization(row.round_id, row.round_number, row.id)
            return None
        try:
            data = calldata.finalize(row.round_number)
            return await self._context.draft(TransactionKind.FINALIZE, data, record, row.round_id, [row.id])
        except LedgerRefusedError as refusal:
            if refusal.reason != "ledger: round open":
                await self._context.reject([row.id], refusal.reason)
                return None
        try:
            data = calldata.close_round(row.round_number)
            return await self._context.draft(TransactionKind.CLOSE, data, record, row.round_id)
        except LedgerRefusedError as refusal:
            if refusal.reason == UNEXPLAINED:
                await self._context.reject([row.id], refusal.reason)
            elif refusal.reason != "ledger: round closed":  # it closed by itself just now, and is finalized next time
                raise
        return None

    async def _reject_votes_on_missing_videos(self) -> None:
        """Reject votes on videos that were never entered, of rounds that are to end: they would hold up the end."""
        closing = select(outbox.c.round_id).where(pending(OutboxKind.CLOSE))
        items = outbox.c.kind.in_((OutboxKind.VIDEO, OutboxKind.BATTLE))
        entered = select(outbox.c.video_id).where(items, outbox.c.round_id.in_(closing))
        async with self._database.begin() as connection:
            rejected = await connection.execute(
                update(outbox)
                .where(
                    pending(OutboxKind.VOTE),
                    outbox.c.round_id.in_(closing),
                )
                .where(outbox.c.video_id.not_in(entered))
                .values(state=OutboxState.REJECTED, reason="The video was never entered into the ledger.")
            )
        self._context.resolved += rejected.rowcount

    async def _reveal(self, scope: Scope) -> Draft | None:
        """Draft the reveal of a battle whose round has its result for good."""
        await self.battles.reject_orphans()
        final = (rounds.c.finalized_tx.is_not(None), rounds.c.chain_id.is_not(None))
        return await self._entries(OutboxKind.REVEAL, scope, self.battles.reveal, *final)

    async def _store_finalization(self, round_id: int, number: int, entry: int) -> None:
        """Write down the transaction that finalized a round already; the entry needs no sending any more."""
        tx = await self._ledger.finalized_tx(number, await opened_in(self._database, round_id))
        async with self._database.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(finalized_tx=tx))
            await self._context.mark_recorded_within(connection, [entry])
