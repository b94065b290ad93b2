"""Voters and votes: who has to be registered, when the votes that wait are due, and which make the next batch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, Select, and_, delete, func, insert, or_, select, update

from contracts.ledger import batch_codec as stream
from contracts.ledger import calldata as calls
from contracts.ledger.client import from_hex
from contracts.outbox.rejections import UNEXPLAINED
from contracts.relayer import reverts
from contracts.relayer.planning.draft import Desk, Draft, Look, NotOpenError, opened_in
from contracts.relayer.reverts import Record
from contracts.rpc.node import ChainUnreachableError, LedgerRefusedError, WrongLedgerError
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, rounds, seats, videos, voters, wallets

READ_AT_ONCE = 8_000  # pending votes that one batch is chosen from
MOST_CHOICES = 2_000  # in one batch: each may bring an arrival


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


def _first_that_fit(choices: Sequence[_Choice], taken: int) -> Sequence[_Choice]:
    """As many of the first choices as the words of one batch can hold; one always fits.

    Seats of newcomers depend on who else comes, so that each number of choices is tried as it would be written.
    """

    def words(count: int) -> int:
        return stream.words_for(_take_seats(choices[:count], taken)[1])

    if words(len(choices)) <= stream.MAX_WORDS:
        return choices
    return choices[: bisect_right(range(1, len(choices)), stream.MAX_WORDS, key=words)]


class VoteDrafts:
    """The next registration or batch. Votes wait until there are enough of them, or one is old, or a round closes.

    Servers take turns, and their rounds do. What was reverted before is kept apart from what was not, and is tried in
    ever smaller parts, so that in the end the one to blame is alone.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._engine = desk.engine
        self._ledger = desk.ledger
        self._settings = desk.settings
        self.room = MOST_CHOICES  # of the latest batch: how many choices it would have taken

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
            # A link comes after what its voter did before; it must not wait for long.
            linking = select(outbox.c.voter_id).where(outbox.c.kind == "link", outbox.c.state == "pending")
            query = select(outbox.c.id).where(*waiting, outbox.c.voter_id.in_(linking)).limit(1)
            if (await connection.execute(query)).first() is not None:
                return True
            closing = select(outbox.c.round_id).where(outbox.c.kind == "close", outbox.c.state == "pending")
            query = select(outbox.c.id).where(*waiting, outbox.c.round_id.in_(closing)).limit(1)
            return (await connection.execute(query)).first() is not None

    async def voters(self, look: Look) -> Draft | None:
        """The registration of voters who are new and whose votes are due, or who link a wallet."""
        unknown = await self._new_voters(look)
        if not unknown:
            return None
        data = calls.register([from_hex(voter) for voter in unknown])
        times = max(self._desk.reverts.of(reverts.voter(voter)).times for voter in unknown)
        try:
            return Draft("voters", data, await self._desk.estimate(data), reverted=times)
        except LedgerRefusedError as refusal:
            if refusal.reason != "ledger: voter exists":
                raise
        # we once registered some of them and never wrote it down
        indices = await self._ledger.voter_indices([from_hex(voter) for voter in unknown])
        await self.settle_voters({voter: index for voter, index in zip(unknown, indices, strict=True) if index})
        return await self.voters(look)

    async def _new_voters(self, look: Look) -> list[str]:
        """As many as one registration takes, of each server as many as of any other."""
        kinds = [] if look.rounds is not None else [outbox.c.kind == "link"]
        if await self._due():
            await self._desk.close_the_books()
            of_rounds = [] if look.rounds is None else [outbox.c.round_id.in_(look.rounds)]
            kinds.append(and_(outbox.c.kind == "vote", videos.c.chain_id.is_not(None), *of_rounds))
        if not kinds:
            return []
        server = func.coalesce(rounds.c.guild_id, wallets.c.guild_id)
        unknown = (
            select(outbox.c.voter_id, func.min(outbox.c.id).label("first"), func.min(server).label("server"))
            .outerjoin(videos, videos.c.id == outbox.c.video_id)
            .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(wallets, wallets.c.voter_id == outbox.c.voter_id)
            .where(outbox.c.state == "pending", or_(*kinds), voters.c.voter_index.is_(None))
            .group_by(outbox.c.voter_id)
            .subquery()
        )
        place = func.row_number().over(partition_by=unknown.c.server, order_by=unknown.c.first)
        query = select(unknown.c.voter_id).order_by(place, unknown.c.first)
        if self._desk.reverts.none:
            query = query.limit(calls.MAX_VOTERS)
        async with self._engine.connect() as connection:
            found = [str(row.voter_id) for row in await connection.execute(query)]
        named = {reverts.voter(voter): voter for voter in found}
        reverted = [name for name in named if self._desk.reverts.of(name).times]
        if not look.again:
            return [voter for name, voter in named.items() if name not in set(reverted)][: calls.MAX_VOTERS]
        ready, over = self._desk.reverts.part(reverted, Record.ours)
        if over:
            await self._give_up_voters([named[name] for name in over])
        return [named[name] for name in ready]

    async def _give_up_voters(self, gone: Sequence[str]) -> None:
        """Refuses what waits for a registration that the chain reverts each time: it cannot be recorded."""
        query = select(outbox.c.id).where(
            outbox.c.voter_id.in_(gone), outbox.c.state == "pending", outbox.c.kind.in_(("vote", "link"))
        )
        async with self._engine.connect() as connection:
            waiting = list(await connection.scalars(query))
        await self._desk.reject(waiting, UNEXPLAINED)
        async with self._engine.begin() as connection:  # what they do from now on is tried anew
            await reverts.forget(connection, [reverts.voter(voter) for voter in gone])

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

    async def votes(self, look: Look) -> Draft | None:
        """The next batch, where votes are due."""
        if not await self._due():
            return None
        turns, waits = self._desk.turns("votes", look), None
        for row in turns.order(await self._rounds(look), lambda one: (one.guild_id, one.round_id)):
            try:
                draft = await self._batch(row.round_id, row.chain_id, look)
            except NotOpenError as error:
                waits = error
                continue
            if draft is not None:
                turns.serve((row.guild_id, row.round_id))
                return draft
        if waits is not None:
            raise waits
        return None

    async def _batch(self, round_id: int, number: int, look: Look) -> Draft | None:
        """The next batch of a round; None where none of its votes can be sent (yet), or all of them were refused."""
        choices = await self._choices(round_id, look)
        if not choices:
            return None
        seq, digest = await self._position()
        taken = (await self._ledger.round_info(number)).seats
        if taken != await self._seats_known(round_id):
            # we once seated some of them and never wrote it down
            await self.learn_seats(round_id, number)
            choices = await self._choices(round_id, look)
        choices = await self._without_own_seats(choices)
        room = MOST_CHOICES
        while choices:
            fitting = _first_that_fit(choices, taken)
            if len(fitting) < len(choices):
                choices, room = fitting, len(fitting)
            newcomers, ballots = _take_seats(choices, taken)
            arrivals, words = stream.encode_arrivals(newcomers), stream.encode(ballots)
            data = calls.batch(seq, number, arrivals, words)
            try:
                gas = await self._desk.estimate(data)
            except LedgerRefusedError as refusal:
                if len(choices) == 1:
                    await self._refuse_vote(round_id, choices[0], refusal.reason)
                    choices = await self._choices(round_id, look)
                else:  # find the entry that is to blame
                    choices = choices[: len(choices) // 2]
                continue
            if gas > self._settings.max_gas and len(choices) > 1:
                choices = choices[: len(choices) // 2]
                room = len(choices)
                continue
            if not look.again:
                self.room = room
            return Draft(
                "votes",
                data,
                gas,
                round_id,
                [choice.entry for choice in choices],
                [entry for choice in choices for entry in choice.older],
                seq,
                "0x" + stream.next_digest(digest, number, arrivals, words).hex(),
                max(self._record(choice).times for choice in choices),
            )
        return None

    async def _rounds(self, look: Look) -> Sequence[Row[Any]]:
        """The rounds with votes that can be sent, that of the oldest vote first: a batch is about one round."""
        query: Select[Any] = (
            select(outbox.c.round_id, rounds.c.chain_id, rounds.c.guild_id)
            .join(rounds, rounds.c.id == outbox.c.round_id)
            .where(outbox.c.kind == "vote", outbox.c.state == "pending", rounds.c.chain_id.is_not(None))
            .group_by(outbox.c.round_id, rounds.c.chain_id, rounds.c.guild_id)
            .order_by(func.min(outbox.c.id))
        )
        if look.rounds is not None:
            query = query.where(outbox.c.round_id.in_(look.rounds))
        async with self._engine.connect() as connection:
            return list(await connection.execute(query))

    async def _seats_known(self, round_id: int) -> int:
        query = select(func.count()).where(seats.c.round_id == round_id, seats.c.seat < stream.OWN_SEATS)
        async with self._engine.connect() as connection:
            return int(await connection.scalar(query) or 0)

    async def learn_seats(self, round_id: int, number: int) -> None:
        """Writes down all seats that batches have given in a round, as the log has them."""
        given = await self._ledger.seats_of(number, await opened_in(self._engine, round_id))
        await self.settle_seats(round_id, given, whole=True)

    async def settle_seats(
        self, round_id: int, given: dict[int, int], *, transaction_id: int | None = None, whole: bool = False
    ) -> None:
        """Writes down the seats of voters' indices in a round; with `whole`, those are all that there are."""
        if whole:
            async with self._engine.begin() as connection:
                given_by_batches = (seats.c.round_id == round_id, seats.c.seat < stream.OWN_SEATS)
                await connection.execute(delete(seats).where(*given_by_batches))
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

    async def _without_own_seats(self, choices: Sequence[_Choice]) -> Sequence[_Choice]:
        """Refuses what is about seats in which only wallets vote: no batch can hold it."""
        theirs = [choice for choice in choices if choice.seat is not None and choice.seat >= stream.OWN_SEATS]
        if theirs:
            entries = [entry for choice in theirs for entry in (*choice.older, choice.entry)]
            await self._desk.reject(entries, "ledger: seat claimed")
        return [choice for choice in choices if choice.seat is None or choice.seat < stream.OWN_SEATS]

    def _record(self, choice: _Choice) -> Record:
        return self._desk.reverts.of(reverts.vote(choice.entry))

    async def _choices(self, round_id: int, look: Look) -> Sequence[_Choice]:
        """The last choice of each voter about each video among a round's votes that wait, as many as a batch takes.

        Of those that were reverted before, or of the others.
        """
        listed = await self._all_choices(round_id)
        if not look.again:
            return [choice for choice in listed if not self._record(choice).times][:MOST_CHOICES]
        named = {reverts.vote(choice.entry): choice for choice in listed if self._record(choice).times}
        ready, over = self._desk.reverts.part(list(named), Record.theirs)
        if over:
            gone = [named[name] for name in over]
            await self._desk.reject([entry for one in gone for entry in (*one.older, one.entry)], UNEXPLAINED)
        return [named[name] for name in ready]

    async def _all_choices(self, round_id: int) -> Sequence[_Choice]:
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
                before = last.get(pair)  # a later choice of somebody replaces the earlier, also one that was reverted
                older = [] if before is None else [*before.older, before.entry]
                last[pair] = _Choice(*pair, row.seat, row.choice, row.id, older)
        return list(last.values())

    async def _position(self) -> tuple[int, bytes]:
        """Where the ledger's batches stand, after making sure that all of them are ours."""
        query = (
            select(chain_transactions.c.seq, chain_transactions.c.digest)
            .where(chain_transactions.c.seq.is_not(None))  # of batches alone
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
                "No votes are sent any more; check who has the relayer's key, and that this database belongs to this "
                "ledger."
            )
        return seq, digest

    async def _refuse_vote(self, round_id: int, choice: _Choice, reason: str) -> None:
        if reason != "ledger: round closed":
            await self._desk.reject([*choice.older, choice.entry], reason)
            return
        query = select(outbox.c.id).where(
            outbox.c.kind == "vote", outbox.c.state == "pending", outbox.c.round_id == round_id
        )
        async with self._engine.connect() as connection:
            late = list(await connection.scalars(query))
        await self._desk.reject(late, reason)  # all of the round's, at once
