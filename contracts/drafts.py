"""What the relayer sends next: reads the outbox, asks the contract what it holds already, and drafts one transaction.

Order: rounds, videos, what wallets signed, voters, votes, close, finalize. The contract is the truth: what it has needs
no sending, and what it refuses for good is marked `rejected` with a sentence, so that it holds up nothing else. Signs
nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts import ledger as calls
from contracts.drafting import Desk, Draft, DraftSettings, mark, opened_in
from contracts.ledger import Ledger, from_hex
from contracts.node import LedgerRefusedError
from contracts.vote_drafts import VoteDrafts
from contracts.wallet_drafts import WalletDrafts
from migrations.schema import outbox, rounds, videos


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

    async def next(self) -> Draft | None:
        """The next transaction worth sending, or None when there is nothing (yet).

        Raises LedgerError with a sentence for what no entry is to blame for; it is a WrongLedgerError when somebody
        else writes to the ledger.
        """
        return (
            await self._round()
            or await self._video()
            or await self.wallets.next()
            or await self.votes.voters()
            or await self.votes.votes()
            or await self._end()
        )

    # --------------------------------------------------------- rounds and videos

    async def _round(self) -> Draft | None:
        for row in await self._desk.pending("round"):
            held = row.payload
            number = await self._ledger.round_of(from_hex(held["key"]))
            if number:
                await self.settle_round(row.round_id, number, row.id)
                continue
            times = (held["opens"], held["closes"], held.get("grace", 0))
            data = calls.open_round(from_hex(held["key"]), *times, from_hex(held["meta_hash"]))
            try:
                return Draft("round", data, await self._desk.estimate(data), row.round_id, [row.id])
            except LedgerRefusedError as refusal:
                await self._desk.reject([row.id], refusal.reason)
                await self._desk.close_the_books()
        return None

    async def settle_round(self, round_id: int, number: int, entry: int | None = None) -> None:
        """Writes down a round's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(chain_id=number))
            if entry is not None:
                await mark(connection, [entry], "final")

    async def _video(self) -> Draft | None:
        for row in await self._desk.pending("video"):
            if row.round_number is None:
                continue
            held = row.payload
            number = await self._ledger.video_of(from_hex(held["key"]))
            if number:
                await self.settle_video(row.video_id, number, row.id)
                continue
            data = calls.add_video(
                from_hex(held["key"]),
                row.round_number,
                from_hex(held["prompt_hash"]),
                from_hex(held["content_hash"]),
                from_hex(held["model_hash"]),
                held["playback_id"],
            )
            try:
                return Draft("video", data, await self._desk.estimate(data), row.round_id, [row.id])
            except LedgerRefusedError as refusal:
                await self._desk.reject([row.id], refusal.reason)
                await self._desk.close_the_books()
        return None

    async def settle_video(self, video_id: str, number: int, entry: int | None = None) -> None:
        """Writes down a video's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._engine.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == video_id).values(chain_id=number))
            if entry is not None:
                await mark(connection, [entry], "final")

    # ------------------------------------------------------------------ the end

    async def _end(self) -> Draft | None:
        for row in await self._desk.pending("close"):
            if row.round_number is None or not await self._emptied(row.round_id):
                continue
            info = await self._ledger.round_info(row.round_number)
            if info.final:
                await self._settle_end(row.round_id, row.round_number, row.id)
                continue
            try:
                data = calls.finalize(row.round_number)
                return Draft("finalize", data, await self._desk.estimate(data), row.round_id, [row.id])
            except LedgerRefusedError as refusal:
                if refusal.reason != "ledger: round open":
                    await self._desk.reject([row.id], refusal.reason)
                    continue
            data = calls.close_round(row.round_number)
            try:
                return Draft("close", data, await self._desk.estimate(data), row.round_id)
            except LedgerRefusedError as refusal:
                if refusal.reason != "ledger: round closed":  # it closed by itself just now: next time then
                    raise
        return None

    async def _emptied(self, round_id: int) -> bool:
        """Whether nothing of the round waits; votes for a video that was never entered are refused here."""
        entered = select(outbox.c.video_id).where(outbox.c.kind == "video", outbox.c.round_id == round_id)
        waits = (outbox.c.round_id == round_id, outbox.c.state == "pending", outbox.c.kind != "close")
        async with self._engine.begin() as connection:
            await connection.execute(
                update(outbox)
                .where(*waits, outbox.c.kind == "vote", outbox.c.video_id.not_in(entered))
                .values(state="rejected", reason="The video was never entered into the ledger.")
            )
            return (await connection.execute(select(outbox.c.id).where(*waits).limit(1))).first() is None

    async def _settle_end(self, round_id: int, number: int, entry: int) -> None:
        tx = await self._ledger.finalized_tx(number, await opened_in(self._engine, round_id))
        async with self._engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(finalized_tx=tx))
            await mark(connection, [entry], "final")
