"""What the relayer sends next: reads the outbox, asks the contract what it holds already, and drafts one transaction.

Kinds take turns, and within a kind servers, rounds and members do: nobody starves another. Every second transaction is
for a round that closes soon, where one does. What has to come first (a round before its videos, a link before its
ballots) is looked at entry by entry. The contract is the truth: what it has needs no sending, and what it refuses for
good is marked `rejected` with a sentence, so that it holds up nothing else. Signs nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger, from_hex
from contracts.outbox.rejections import UNEXPLAINED
from contracts.relayer import reverts
from contracts.relayer.planning.draft import Desk, Draft, DraftSettings, Look, WaitsError, opened_in
from contracts.relayer.planning.votes import VoteDrafts
from contracts.relayer.planning.wallets import WalletDrafts
from contracts.relayer.reverts import Next, Record
from contracts.relayer.turns import Turns
from contracts.rpc.node import ChainUnreachableError, LedgerError, LedgerRefusedError, NodeRefusedError
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, rounds, videos

HURRY_S = 600  # before its close on the ledger, and then until its grace is over, a round is in a hurry
MOST_GRACE_S = 86_400  # as the ledger has it
RECALLED = 64  # transactions, from which a new relayer learns whose turn it is
REGISTRATIONS = 4  # in a row, while votes wait that could go
AGAIN = "again"

# In the order of a round's life, which decides where all have waited equally long; and what they draft from.
KINDS = {
    "round": ("round",),
    "video": ("video",),
    "link": ("link",),
    "ballot": ("ballot",),
    "unlink": ("unlink",),
    "claim": (),  # follows from seats, not from entries
    "voters and votes": ("vote", "link"),
    "end": ("close",),
}
IN_A_HURRY = ("round", "video", "ballot", "claim", "voters and votes")
KIND_OF = {"voters": "voters and votes", "votes": "voters and votes", "close": "end", "finalize": "end"}


class Drafts:
    """Drafts for one ledger and one sending account, from one database."""

    def __init__(
        self,
        engine: AsyncEngine,
        ledger: Ledger,
        sender: str,
        settings: DraftSettings,
        sure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`sure` raises while a refusal is no proof: a node that is behind knows no round of ours."""
        self._desk = Desk(engine, ledger, sender, settings, sure)
        self._engine = engine
        self._ledger = ledger
        self.votes = VoteDrafts(self._desk)
        self.wallets = WalletDrafts(self._desk, self.votes)
        self._drafters: dict[str, Callable[[Look], Awaitable[Draft | None]]] = {
            "round": lambda look: self._entries("round", look, self._round),
            "video": lambda look: self._entries("video", look, self._video, rounds.c.chain_id.is_not(None)),
            "link": self.wallets.link,
            "ballot": self.wallets.ballot,
            "unlink": self.wallets.unlink,
            "claim": self.wallets.claim,
            "voters and votes": self._voters_and_votes,
            "voters": self.votes.voters,
            "votes": self.votes.votes,
            "end": self._end,
        }
        self._turns, self._turns_again, self._turns_in_a_hurry = Turns(), Turns(), Turns()
        self._recalled = False
        self._hurried = False  # the latest transaction was for a round that closes soon
        self._waits: LedgerError | None = None
        self._batches = True
        self._registered = 0  # registrations since the latest batch

    async def next(self, *, batches: bool = True) -> Draft | None:
        """The next transaction worth sending, or None when there is nothing (yet); batches of votes may be left out.

        Raises LedgerError with a sentence for what no entry is to blame for, once nothing else is left to send; but
        at once a WrongLedgerError, when somebody else writes to the ledger, and a ChainUnreachableError.
        """
        await self._recall()
        self._batches = batches
        while True:
            moved, self._waits = self._desk.moved, None
            await self._desk.reverts.read()
            waiting = await self._waiting()
            kinds = [kind for kind, of in KINDS.items() if not of or waiting & set(of)]
            draft = await self._in_a_hurry(kinds) if waiting else None
            if draft is not None or (draft := await self._calmly(kinds)) is not None:
                return draft
            if self._desk.moved == moved:  # else what was refused may have made room for what was asked before
                break
        if self._waits is not None:
            raise self._waits
        return None

    async def _in_a_hurry(self, kinds: Sequence[str]) -> Draft | None:
        """Of rounds that close soon; every second transaction at most, so that the others come to theirs."""
        self._hurried = not self._hurried and bool(soon := await self._closing_soon())
        if not self._hurried:
            return None
        some = [kind for kind in kinds if kind in IN_A_HURRY]
        draft = await self._in_turn(some, Look(rounds=soon), self._turns_in_a_hurry)
        self._hurried = draft is not None
        return draft

    async def _calmly(self, kinds: Sequence[str]) -> Draft | None:
        """Of all kinds; what was reverted before is like one more kind, however much there is of it."""

        async def again(_: Look) -> Draft | None:
            return await self._in_turn(kinds, Look(again=True), self._turns_again)

        if self._desk.reverts.none:
            self._turns.leave((AGAIN,))
            return await self._in_turn(kinds, Look(), self._turns)
        return await self._in_turn([*kinds, AGAIN], Look(), self._turns, {AGAIN: again})

    async def _voters_and_votes(self, look: Look) -> Draft | None:
        """One turn for both: voters first, so that few batches do; but not for ever, where more and more are new."""
        kinds = ["voters", "votes"] if self._registered < REGISTRATIONS else ["votes", "voters"]
        draft = await self._in_turn([kind for kind in kinds if kind != "votes" or self._batches], look, Turns())
        if draft is not None:
            self._registered = self._registered + 1 if draft.kind == "voters" else 0
        return draft

    async def _in_turn(
        self,
        kinds: Sequence[str],
        look: Look,
        turns: Turns,
        besides: dict[str, Callable[[Look], Awaitable[Draft | None]]] | None = None,
    ) -> Draft | None:
        """The first draft of the kinds in their turns. What one kind has to wait for does not hold up the others."""
        drafters = {**self._drafters, **(besides or {})}
        for kind in turns.order(kinds, lambda one: (one,)):
            try:
                draft = await drafters[kind](look)
            except (WaitsError, LedgerRefusedError, NodeRefusedError) as error:
                self._waits = self._waits or error
                continue
            except ChainUnreachableError:
                turns.serve((kind,))  # where only this kind asks for something that no node answers, the others go on
                raise
            if draft is not None:
                turns.serve((kind,))
                return draft
        return None

    async def _waiting(self) -> set[str]:
        """The kinds of which entries wait."""
        query = select(outbox.c.kind).where(outbox.c.state == "pending").distinct()
        async with self._engine.connect() as connection:
            return set(await connection.scalars(query))

    async def _closing_soon(self) -> frozenset[int]:
        """The rounds that the ledger takes things for, but not for long."""
        now = now_ms()
        window = (now - MOST_GRACE_S * 1000, now + HURRY_S * 1000)
        query = (
            select(rounds.c.id, outbox.c.payload)
            .join(outbox, (outbox.c.round_id == rounds.c.id) & (outbox.c.kind == "round"))
            .where(rounds.c.closes_at_ms.between(*window), rounds.c.finalized_tx.is_(None))
            .where(outbox.c.state != "rejected")
        )
        async with self._engine.connect() as connection:
            found = [(row.id, row.payload) for row in await connection.execute(query)]
        return frozenset(
            number
            for number, held in found
            if (held["closes"] - HURRY_S) * 1000 <= now < (held["closes"] + held.get("grace", 0)) * 1000
        )

    async def _recall(self) -> None:
        """Learns from the latest transactions whose turn it is: a relayer that is often restarted starves nobody."""
        if self._recalled:
            return
        await self._desk.reverts.tidy()
        query = select(chain_transactions.c.kind).order_by(chain_transactions.c.id.desc()).limit(RECALLED)
        async with self._engine.connect() as connection:
            latest = list(await connection.scalars(query))
        self._recalled = True
        self._turns.order(KINDS, lambda kind: (kind,))  # what is in none of them has waited for longest
        for kind in reversed(latest):
            self._turns.serve((KIND_OF.get(kind, kind),))

    def _record(self, row: Row[Any]) -> Record:
        return self._desk.reverts.of(reverts.entry(row.id))

    # --------------------------------------------------------- rounds and videos

    async def _entries(
        self,
        kind: str,
        look: Look,
        make: Callable[[Row[Any]], Awaitable[Draft | None]],
        *ready: ColumnElement[bool],
    ) -> Draft | None:
        """Of entries that take a transaction each: servers take turns, their rounds, and those who asked for videos."""
        oldest = (
            select(func.min(outbox.c.id))
            .select_from(outbox)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(videos, videos.c.id == outbox.c.video_id)
            .where(outbox.c.kind == kind, outbox.c.state == "pending", *ready, *self._desk.within(look))
            .group_by(outbox.c.round_id, videos.c.member_id)
        )
        query: Select[Any] = (
            select(outbox.c.id, outbox.c.round_id, rounds.c.guild_id, videos.c.member_id)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(videos, videos.c.id == outbox.c.video_id)
            .where(outbox.c.id.in_(oldest))
            .order_by(outbox.c.id)
        )

        async def heads() -> Sequence[Row[Any]]:
            async with self._engine.connect() as connection:
                return list(await connection.execute(query))

        return await self._desk.first(
            self._desk.turns(kind, look), heads, lambda head: (head.guild_id, head.round_id, head.member_id), make
        )

    async def _round(self, row: Row[Any]) -> Draft | None:
        if self._record(row).ours() is Next.WAIT:
            return None
        held = row.payload
        number = await self._ledger.round_of(from_hex(held["key"]))
        if number:
            await self.settle_round(row.round_id, number, row.id)
            return None
        times = (held["opens"], held["closes"], held.get("grace", 0))
        data = calls.open_round(from_hex(held["key"]), *times, from_hex(held["meta_hash"]))
        return await self._or_refused("round", data, row)

    async def settle_round(self, round_id: int, number: int, entry: int | None = None) -> None:
        """Writes down a round's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(chain_id=number))
            if entry is not None:
                await self._desk.settle_within(connection, [entry])

    async def _video(self, row: Row[Any]) -> Draft | None:
        if self._record(row).ours() is Next.WAIT:
            return None
        held = row.payload
        number = await self._ledger.video_of(from_hex(held["key"]))
        if number:
            await self.settle_video(row.video_id, number, row.id)
            return None
        data = calls.add_video(
            from_hex(held["key"]),
            row.round_number,
            from_hex(held["prompt_hash"]),
            from_hex(held["content_hash"]),
            from_hex(held["model_hash"]),
            held["playback_id"],
        )
        return await self._or_refused("video", data, row)

    async def settle_video(self, video_id: str, number: int, entry: int | None = None) -> None:
        """Writes down a video's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._engine.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == video_id).values(chain_id=number))
            if entry is not None:
                await self._desk.settle_within(connection, [entry])

    async def _or_refused(self, kind: str, data: bytes, row: Row[Any]) -> Draft | None:
        """A draft; or None where the ledger refuses it, and with it all that belongs to it."""
        try:
            return await self._desk.draft(kind, data, self._record(row), row.round_id, [row.id])
        except LedgerRefusedError as refusal:
            await self._desk.reject([row.id], refusal.reason)
            await self._desk.close_the_books()
            return None

    # ------------------------------------------------------------------ the end

    async def _end(self, look: Look) -> Draft | None:
        """Of rounds whose end was asked for, and of which nothing waits any more."""
        await self._refuse_ghosts()
        waits = outbox.alias()
        emptied = ~(
            select(waits.c.id)
            .where(waits.c.round_id == outbox.c.round_id, waits.c.state == "pending", waits.c.kind != "close")
            .exists()
        )
        return await self._entries("close", look, self._closing, rounds.c.chain_id.is_not(None), emptied)

    async def _closing(self, row: Row[Any]) -> Draft | None:
        record = self._record(row)
        if record.ours() is Next.WAIT:
            return None
        info = await self._ledger.round_info(row.round_number)
        if info.final:
            await self._settle_end(row.round_id, row.round_number, row.id)
            return None
        try:
            return await self._desk.draft("finalize", calls.finalize(row.round_number), record, row.round_id, [row.id])
        except LedgerRefusedError as refusal:
            if refusal.reason != "ledger: round open":
                await self._desk.reject([row.id], refusal.reason)
                return None
        try:
            return await self._desk.draft("close", calls.close_round(row.round_number), record, row.round_id)
        except LedgerRefusedError as refusal:
            if refusal.reason == UNEXPLAINED:
                await self._desk.reject([row.id], refusal.reason)
            elif refusal.reason != "ledger: round closed":  # it closed by itself just now: next time then
                raise
        return None

    async def _refuse_ghosts(self) -> None:
        """Refuses votes on videos that were never entered, of rounds that are to end: they would hold up the end."""
        closing = select(outbox.c.round_id).where(outbox.c.kind == "close", outbox.c.state == "pending")
        entered = select(outbox.c.video_id).where(outbox.c.kind == "video", outbox.c.round_id.in_(closing))
        async with self._engine.begin() as connection:
            refused = await connection.execute(
                update(outbox)
                .where(outbox.c.kind == "vote", outbox.c.state == "pending", outbox.c.round_id.in_(closing))
                .where(outbox.c.video_id.not_in(entered))
                .values(state="rejected", reason="The video was never entered into the ledger.")
            )
        self._desk.moved += refused.rowcount

    async def _settle_end(self, round_id: int, number: int, entry: int) -> None:
        tx = await self._ledger.finalized_tx(number, await opened_in(self._engine, round_id))
        async with self._engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(finalized_tx=tx))
            await self._desk.settle_within(connection, [entry])
