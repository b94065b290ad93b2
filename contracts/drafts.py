"""What the relayer sends next: reads the outbox, asks the contract what it holds already, and drafts one transaction.

Order: rounds, videos, voters, votes, close, finalize. The contract is the truth: what it has needs no sending, and
what it refuses for good is marked `rejected` with a sentence, so that it holds up nothing else. Signs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts import ledger as calls
from contracts import stream
from contracts.ledger import Ledger, from_hex
from contracts.node import ChainUnreachableError, LedgerRefusedError, WrongLedgerError
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, rounds, seats, videos, voters

log = logging.getLogger(__name__)

READ_AT_ONCE = 8_000  # pending votes that one batch is chosen from
MOST_CHOICES = 2_000  # in one batch: each may bring an arrival
NOT_OURS_TO_JUDGE = {  # refusals that say nothing about the entry: try again later
    "ledger: not a relayer": "This account is not a relayer of the ledger; its owner must call set_relayer.",
    "ledger: paused": "The ledger is paused by its guardian; nothing is lost, and it goes on after unpause.",
    "ledger: wrong sequence": "The ledger's sequence moved while a batch was drafted.",
    "ledger: round not open": "The chain's clock has not reached the round's opening yet.",
}
SENTENCES = {
    "ledger: round closed": "The round had already closed on the ledger.",
    "ledger: bad times": "The round was already over when the ledger could be reached.",
    "ledger: round full": "The round holds as many videos as the ledger takes.",
    "ledger: voter linked": "This member votes with a wallet: only what that wallet signs is recorded.",
    "ledger: seat claimed": "This member votes with a wallet: only what that wallet signs is recorded.",
}


@dataclass(frozen=True)
class DraftSettings:
    """When votes are sent: at once from `flush_votes` on, at the latest after `flush_age_s`, or when a round closes."""

    flush_votes: int = 1000
    flush_age_s: float = 15.0
    max_gas: int = 8_000_000  # of one batch: well under every chain's limit for a transaction


@dataclass(frozen=True)
class Draft:
    """A transaction that is worth sending: calldata, its gas, and the outbox entries that it carries."""

    kind: str  # round | video | voters | votes | close | finalize
    data: bytes
    gas: int
    round_id: int | None = None
    entries: Sequence[int] = ()
    superseded: Sequence[int] = ()
    seq: int | None = None
    digest: str | None = None


@dataclass
class _Choice:
    video: int
    voter: int
    seat: int | None  # None before the round's first vote of this voter
    choice: int
    entry: int
    older: list[int] = field(default_factory=list)


def _take_seats(choices: Iterable[_Choice], taken: int) -> tuple[list[int], list[stream.Ballot]]:
    """Who takes the seats from `taken` on, and the ballots that follow.

    Newcomers sit video by video, so that the votes of one batch on one video fall into few words and slots.
    """
    listed = sorted(choices, key=lambda choice: (choice.video, choice.voter))
    arrivals = list(dict.fromkeys(choice.voter for choice in listed if choice.seat is None))
    given = {voter: taken + place for place, voter in enumerate(arrivals)}
    return arrivals, [
        stream.Ballot(choice.video, given[choice.voter] if choice.seat is None else choice.seat, choice.choice)
        for choice in listed
    ]


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
        self._engine = engine
        self._ledger = ledger
        self._sender = sender
        self._settings = settings
        self._sure = sure  # raises while a refusal is no proof: a node that is behind knows no round of ours

    async def next(self) -> Draft | None:
        """The next transaction worth sending, or None when there is nothing (yet).

        Raises LedgerError with a sentence for what no entry is to blame for; it is a WrongLedgerError when somebody
        else writes to the ledger.
        """
        return (
            await self._round()
            or await self._video()
            or await self._voters()
            or await self._votes()
            or await self._end()
        )

    async def _estimate(self, data: bytes) -> int:
        try:
            return await self._ledger.node.estimate(self._sender, self._ledger.address, data)
        except LedgerRefusedError as refusal:
            if refusal.reason in NOT_OURS_TO_JUDGE:
                raise ChainUnreachableError(NOT_OURS_TO_JUDGE[refusal.reason]) from refusal
            raise

    async def _pending(self, kind: str) -> Sequence[Row[Any]]:
        query = (
            select(outbox, rounds.c.chain_id.label("round_number"))
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .where(outbox.c.kind == kind, outbox.c.state == "pending")
            .order_by(outbox.c.id)
            .limit(200)
        )
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).all()

    async def _reject(self, entries: Sequence[int], reason: str) -> None:
        if self._sure is not None:
            await self._sure()
        sentence = SENTENCES.get(reason, f"The ledger refused it: {reason.removeprefix('ledger: ')}.")
        log.warning("%d entries were refused by the ledger (%s)", len(entries), reason)
        async with self._engine.begin() as connection:
            await mark(connection, entries, "rejected", reason=sentence)

    async def _close_the_books(self) -> None:
        """Rejects what can never be recorded, because the round or video that it belongs to was refused."""
        refused_rounds = select(outbox.c.round_id).where(outbox.c.kind == "round", outbox.c.state == "rejected")
        refused_videos = select(outbox.c.video_id).where(outbox.c.kind == "video", outbox.c.state == "rejected")
        waiting = update(outbox).where(outbox.c.state == "pending")
        async with self._engine.begin() as connection:
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

    # --------------------------------------------------------- rounds and videos

    async def _round(self) -> Draft | None:
        for row in await self._pending("round"):
            held = row.payload
            number = await self._ledger.round_of(from_hex(held["key"]))
            if number:
                await self.settle_round(row.round_id, number, row.id)
                continue
            times = (held["opens"], held["closes"], held.get("grace", 0))
            data = calls.open_round(from_hex(held["key"]), *times, from_hex(held["meta_hash"]))
            try:
                return Draft("round", data, await self._estimate(data), row.round_id, [row.id])
            except LedgerRefusedError as refusal:
                await self._reject([row.id], refusal.reason)
                await self._close_the_books()
        return None

    async def settle_round(self, round_id: int, number: int, entry: int | None = None) -> None:
        """Writes down a round's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(chain_id=number))
            if entry is not None:
                await mark(connection, [entry], "final")

    async def _video(self) -> Draft | None:
        for row in await self._pending("video"):
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
                return Draft("video", data, await self._estimate(data), row.round_id, [row.id])
            except LedgerRefusedError as refusal:
                await self._reject([row.id], refusal.reason)
                await self._close_the_books()
        return None

    async def settle_video(self, video_id: str, number: int, entry: int | None = None) -> None:
        """Writes down a video's number on the ledger; with an entry, that one needs no sending any more."""
        async with self._engine.begin() as connection:
            await connection.execute(update(videos).where(videos.c.id == video_id).values(chain_id=number))
            if entry is not None:
                await mark(connection, [entry], "final")

    # --------------------------------------------------------- voters and votes

    async def _due(self) -> bool:
        """Whether the votes that wait should go now: enough of them, old enough, or a round is closing."""
        waiting = (outbox.c.kind == "vote", outbox.c.state == "pending")
        async with self._engine.connect() as connection:
            count, oldest = (
                await connection.execute(select(func.count(), func.min(outbox.c.created_at_ms)).where(*waiting))
            ).one()
            if not count:
                return False
            if count >= self._settings.flush_votes or now_ms() - oldest >= self._settings.flush_age_s * 1000:
                return True
            closing = select(outbox.c.round_id).where(outbox.c.kind == "close", outbox.c.state == "pending")
            query = select(outbox.c.id).where(*waiting, outbox.c.round_id.in_(closing)).limit(1)
            return (await connection.execute(query)).first() is not None

    async def _voters(self) -> Draft | None:
        if not await self._due():
            return None
        await self._close_the_books()
        query = (
            select(outbox.c.voter_id)
            .join(videos, videos.c.id == outbox.c.video_id)
            .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
            .where(outbox.c.kind == "vote", outbox.c.state == "pending", videos.c.chain_id.is_not(None))
            .where(voters.c.voter_index.is_(None))
            .group_by(outbox.c.voter_id)
            .order_by(func.min(outbox.c.id))
            .limit(calls.MAX_VOTERS)
        )
        async with self._engine.connect() as connection:
            unknown = [str(row.voter_id) for row in await connection.execute(query)]
        if not unknown:
            return None
        data = calls.register([from_hex(voter) for voter in unknown])
        try:
            return Draft("voters", data, await self._estimate(data))
        except LedgerRefusedError as refusal:
            if refusal.reason != "ledger: voter exists":
                raise
        # we once registered some of them and never wrote it down
        indices = await self._ledger.voter_indices([from_hex(voter) for voter in unknown])
        await self.settle_voters({voter: index for voter, index in zip(unknown, indices, strict=True) if index})
        return await self._voters()

    async def settle_voters(self, indices: dict[str, int]) -> None:
        """Writes down voters' indices on the ledger."""
        async with self._engine.begin() as connection:
            known = set(await connection.scalars(select(voters.c.voter_id).where(voters.c.voter_id.in_(indices))))
            for voter, index in indices.items():
                if voter in known:
                    await connection.execute(update(voters).where(voters.c.voter_id == voter).values(voter_index=index))
            new = [{"voter_id": voter, "voter_index": index} for voter, index in indices.items() if voter not in known]
            if new:
                await connection.execute(insert(voters), new)

    async def _votes(self) -> Draft | None:
        if not await self._due():
            return None
        round_id, number = await self._whose_turn()
        if number is None:
            return None
        choices = await self._choices(round_id)
        seq, digest = await self._position()
        taken = (await self._ledger.round_info(number)).seats
        if taken != await self._seats_known(round_id):
            # we once seated some of them and never wrote it down
            await self.settle_seats(round_id, await self._ledger.seats_of(number), whole=True)
            choices = await self._choices(round_id)
        while choices:
            newcomers, ballots = _take_seats(choices, taken)
            arrivals, words = stream.encode_arrivals(newcomers), stream.encode(ballots)
            data = calls.batch(seq, number, arrivals, words)
            try:
                gas = await self._estimate(data)
            except LedgerRefusedError as refusal:
                if len(choices) == 1:
                    await self._refuse_vote(round_id, choices[0], refusal.reason)
                    choices = await self._choices(round_id)
                else:  # find the entry that is to blame
                    choices = choices[: len(choices) // 2]
                continue
            if gas > self._settings.max_gas and len(choices) > 1:
                choices = choices[: len(choices) // 2]
                continue
            return Draft(
                "votes",
                data,
                gas,
                round_id,
                [choice.entry for choice in choices],
                [entry for choice in choices for entry in choice.older],
                seq,
                "0x" + stream.next_digest(digest, number, arrivals, words).hex(),
            )
        return await self._votes()  # all of them were refused: perhaps another round's votes wait

    async def _whose_turn(self) -> tuple[int, int | None]:
        """The round, here and on the ledger, of the oldest vote that can be sent: a batch is about one round."""
        query = (
            select(outbox.c.round_id, rounds.c.chain_id)
            .join(rounds, rounds.c.id == outbox.c.round_id)
            .join(videos, videos.c.id == outbox.c.video_id)
            .join(voters, voters.c.voter_id == outbox.c.voter_id)
            .where(outbox.c.kind == "vote", outbox.c.state == "pending")
            .where(videos.c.chain_id.is_not(None), voters.c.voter_index.is_not(None))
            .order_by(outbox.c.id)
            .limit(1)
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return (0, None) if row is None else (row.round_id, row.chain_id)

    async def _seats_known(self, round_id: int) -> int:
        query = select(func.count()).where(seats.c.round_id == round_id)
        async with self._engine.connect() as connection:
            return int(await connection.scalar(query) or 0)

    async def settle_seats(
        self, round_id: int, given: dict[int, int], *, transaction_id: int | None = None, whole: bool = False
    ) -> None:
        """Writes down the seats of voters' indices in a round; with `whole`, those are all that there are."""
        if whole:
            async with self._engine.begin() as connection:
                await connection.execute(delete(seats).where(seats.c.round_id == round_id))
        listed = list(given)
        for start in range(0, len(listed), 500):  # a statement takes a limited number of values
            some = listed[start : start + 500]
            query = select(voters.c.voter_id, voters.c.voter_index).where(voters.c.voter_index.in_(some))
            async with self._engine.begin() as connection:
                named = {row.voter_id: given[row.voter_index] for row in await connection.execute(query)}
                here = (seats.c.round_id == round_id, seats.c.voter_id.in_(named))
                known = set(await connection.scalars(select(seats.c.voter_id).where(*here)))
                new = [
                    {"round_id": round_id, "voter_id": voter, "seat": seat, "transaction_id": transaction_id}
                    for voter, seat in named.items()
                    if voter not in known
                ]
                if new:
                    await connection.execute(insert(seats), new)

    async def _choices(self, round_id: int) -> list[_Choice]:
        """The last choice of each voter about each video among a round's votes that wait, as many as a batch takes."""
        query = (
            select(outbox.c.id, outbox.c.choice, videos.c.chain_id, voters.c.voter_index, seats.c.seat)
            .join(videos, videos.c.id == outbox.c.video_id)
            .join(voters, voters.c.voter_id == outbox.c.voter_id)
            .outerjoin(seats, (seats.c.round_id == outbox.c.round_id) & (seats.c.voter_id == outbox.c.voter_id))
            .where(outbox.c.kind == "vote", outbox.c.state == "pending", outbox.c.round_id == round_id)
            .where(videos.c.chain_id.is_not(None), voters.c.voter_index.is_not(None))
            .order_by(outbox.c.id)
            .limit(READ_AT_ONCE)
        )
        last: dict[tuple[int, int], _Choice] = {}
        async with self._engine.connect() as connection:
            for row in await connection.execute(query):
                pair = (row.chain_id, row.voter_index)
                before = last.get(pair)
                if before is None and len(last) == MOST_CHOICES:
                    continue  # full; but a later choice of somebody who is in still replaces the earlier
                older = [] if before is None else [*before.older, before.entry]
                last[pair] = _Choice(*pair, row.seat, row.choice, row.id, older)
        return list(last.values())

    async def _position(self) -> tuple[int, bytes]:
        """Where the ledger's batches stand, after making sure that all of them are ours."""
        query = (
            select(chain_transactions.c.seq, chain_transactions.c.digest)
            .where(chain_transactions.c.kind == "votes", chain_transactions.c.seq.is_not(None))
            .order_by(chain_transactions.c.seq.desc())
            .limit(1)
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).first()
        seq, digest = (row.seq + 1, from_hex(row.digest)) if row else (0, stream.EMPTY_DIGEST)
        found, found_digest = await self._ledger.seq(), await self._ledger.digest()
        if found < seq:
            raise ChainUnreachableError(
                f"The chain's node is behind: it knows {found} batches of {seq}; waiting for it."
            )
        if found > seq or found_digest != digest:
            raise WrongLedgerError(
                f"Somebody else writes to the ledger: it holds {found} batches where {seq} are ours. "
                "Nothing more is sent; check who has the relayer's key, and that this database belongs to this ledger."
            )
        return seq, digest

    async def _refuse_vote(self, round_id: int, choice: _Choice, reason: str) -> None:
        if reason != "ledger: round closed":
            await self._reject([*choice.older, choice.entry], reason)
            return
        query = select(outbox.c.id).where(
            outbox.c.kind == "vote", outbox.c.state == "pending", outbox.c.round_id == round_id
        )
        async with self._engine.connect() as connection:
            late = list(await connection.scalars(query))
        await self._reject(late, reason)  # all of the round's, at once

    # ------------------------------------------------------------------ the end

    async def _end(self) -> Draft | None:
        for row in await self._pending("close"):
            if row.round_number is None or not await self._emptied(row.round_id):
                continue
            info = await self._ledger.round_info(row.round_number)
            if info.final:
                await self._settle_end(row.round_id, row.round_number, row.id)
                continue
            try:
                data = calls.finalize(row.round_number)
                return Draft("finalize", data, await self._estimate(data), row.round_id, [row.id])
            except LedgerRefusedError as refusal:
                if refusal.reason != "ledger: round open":
                    await self._reject([row.id], refusal.reason)
                    continue
            data = calls.close_round(row.round_number)
            try:
                return Draft("close", data, await self._estimate(data), row.round_id)
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
        tx = await self._ledger.finalized_tx(number)
        async with self._engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(finalized_tx=tx))
            await mark(connection, [entry], "final")
