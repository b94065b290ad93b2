"""The planning of votes: who has to be registered, when the votes that wait are due, and which make the next batch."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, delete, func, insert, or_, select, update

from contracts.ledger import batch_codec, calldata
from contracts.ledger.client import from_hex
from contracts.outbox.rejections import SENTENCES, UNEXPLAINED
from contracts.relayer import reverts
from contracts.relayer.planning.choices import Choice, first_that_fit, take_seats
from contracts.relayer.planning.draft import (
    DoubtedError,
    Draft,
    DraftContext,
    EntryRow,
    NotOpenError,
    Scope,
    opened_in,
    pending,
)
from contracts.relayer.planning.refusals import ROUND_CLOSED
from contracts.relayer.reverts import Record
from contracts.rpc.node import ChainUnreachableError, LedgerRefusedError, WrongLedgerError
from migrations.database import now_ms
from migrations.schema import battles, chain_transactions, outbox, rounds, seats, videos, voters, wallets
from migrations.states.ledger import OutboxKind, OutboxState, TransactionKind

READ_AT_ONCE = 8_000  # pending votes that one batch is chosen from
MOST_CHOICES = 2_000  # in one batch: each may bring an arrival
MOST_DOUBTS = 5  # votes of a round that a batch goes without, since a node's refusal of them is not believed yet
_NUMBER = func.coalesce(videos.c.chain_id, battles.c.chain_id)  # of the video or battle that a vote is about


class VotePlanner:
    """Drafts the next registration or batch.

    Votes wait until there are enough of them, or one is old, or a round closes. Servers take turns, and their rounds
    do. Votes that were reverted before are kept apart from the others, and are tried in ever smaller parts, so that in
    the end the one to blame is alone.
    """

    def __init__(self, context: DraftContext) -> None:
        self._context = context
        self._database = context.database
        self._ledger = context.ledger
        self._settings = context.settings
        self.room = MOST_CHOICES  # of the latest batch: how many choices it would have taken

    async def _due(self) -> bool:
        """Return True if the votes that wait should go now: enough of them, old enough, or a round is closing."""
        waiting = pending(OutboxKind.VOTE)
        async with self._database.connect() as connection:
            count, oldest = (
                await connection.execute(select(func.count(), func.min(outbox.c.created_at_ms)).where(*waiting))
            ).one()
            if not count:
                return False
            if count >= self._settings.flush_votes or now_ms() - oldest >= self._settings.flush_age_s * 1000:
                return True
            # A link comes after what its voter did before; it must not wait for long.
            linking = select(outbox.c.voter_id).where(pending(OutboxKind.LINK))
            query = select(outbox.c.id).where(*waiting, outbox.c.voter_id.in_(linking)).limit(1)
            if (await connection.execute(query)).first() is not None:
                return True
            closing = select(outbox.c.round_id).where(pending(OutboxKind.CLOSE))
            query = select(outbox.c.id).where(*waiting, outbox.c.round_id.in_(closing)).limit(1)
            return (await connection.execute(query)).first() is not None

    async def voters(self, scope: Scope) -> Draft | None:
        """Draft the registration of voters who are new and whose votes are due, or who link a wallet."""
        unknown = await self._new_voters(scope)
        if not unknown:
            return None
        data = calldata.register([from_hex(voter) for voter in unknown])
        times = max(self._context.reverts.of(reverts.voter(voter)).times for voter in unknown)
        try:
            return Draft(TransactionKind.VOTERS, data, await self._context.estimate(data), reverted=times)
        except LedgerRefusedError as refusal:
            if refusal.reason != "ledger: voter exists":
                raise
        # We once registered some of them and did not write it down.
        indices = await self._ledger.voter_indices([from_hex(voter) for voter in unknown])
        await self.store_voter_indices({voter: index for voter, index in zip(unknown, indices, strict=True) if index})
        return await self.voters(scope)

    async def _new_voters(self, scope: Scope) -> list[str]:
        """Return as many new voters as one registration takes, of each server as many as of any other."""
        kinds = [] if scope.rounds is not None else [outbox.c.kind == OutboxKind.LINK]
        if await self._due():
            await self._context.reject_orphans()
            of_rounds = [] if scope.rounds is None else [outbox.c.round_id.in_(scope.rounds)]
            kinds.append(and_(outbox.c.kind == OutboxKind.VOTE, _NUMBER.is_not(None), *of_rounds))
        if not kinds:
            return []
        server = func.coalesce(rounds.c.guild_id, wallets.c.guild_id)
        unknown = (
            select(outbox.c.voter_id, func.min(outbox.c.id).label("first"), func.min(server).label("server"))
            .outerjoin(videos, videos.c.id == outbox.c.video_id)
            .outerjoin(battles, battles.c.id == outbox.c.video_id)
            .outerjoin(voters, voters.c.voter_id == outbox.c.voter_id)
            .outerjoin(rounds, rounds.c.id == outbox.c.round_id)
            .outerjoin(wallets, wallets.c.voter_id == outbox.c.voter_id)
            .where(outbox.c.state == OutboxState.PENDING, or_(*kinds), voters.c.voter_index.is_(None))
            .group_by(outbox.c.voter_id)
            .subquery()
        )
        place = func.row_number().over(partition_by=unknown.c.server, order_by=unknown.c.first)
        query = select(unknown.c.voter_id).order_by(place, unknown.c.first)
        if self._context.reverts.none:
            query = query.limit(calldata.MAX_VOTERS)
        async with self._database.connect() as connection:
            new_voters = [str(row.voter_id) for row in await connection.execute(query)]
        by_subject = {reverts.voter(voter): voter for voter in new_voters}
        reverted = [subject for subject in by_subject if self._context.reverts.of(subject).times]
        if not scope.again:
            return [voter for subject, voter in by_subject.items() if subject not in set(reverted)][
                : calldata.MAX_VOTERS
            ]
        ready, over = self._context.reverts.split(reverted, Record.judge_chain)
        if over:
            await self._give_up_voters([by_subject[subject] for subject in over])
        return [by_subject[subject] for subject in ready]

    async def _give_up_voters(self, voter_ids: Sequence[str]) -> None:
        """Reject what waits for a registration that the chain reverts each time: it cannot be recorded."""
        query = select(outbox.c.id).where(
            outbox.c.voter_id.in_(voter_ids),
            outbox.c.state == OutboxState.PENDING,
            outbox.c.kind.in_((OutboxKind.VOTE, OutboxKind.LINK)),
        )
        async with self._database.connect() as connection:
            waiting = list(await connection.scalars(query))
        await self._context.reject(waiting, UNEXPLAINED)
        async with self._database.begin() as connection:  # their later entries are tried anew
            await reverts.forget(connection, [reverts.voter(voter) for voter in voter_ids])

    async def store_voter_indices(self, indices: dict[str, int]) -> None:
        """Write down voters' indices on the ledger."""
        async with self._database.begin() as connection:
            stored = set(await connection.scalars(select(voters.c.voter_id).where(voters.c.voter_id.in_(indices))))
            for voter, index in indices.items():
                if voter in stored:
                    await connection.execute(update(voters).where(voters.c.voter_id == voter).values(voter_index=index))
            new = [{"voter_id": voter, "voter_index": index} for voter, index in indices.items() if voter not in stored]
            if new:
                await connection.execute(insert(voters), new)

    async def votes(self, scope: Scope) -> Draft | None:
        """Draft the next batch, where votes are due."""
        if not await self._due():
            return None
        turns, waits = self._context.turns("votes", scope), None
        for row in turns.order(await self._rounds(scope), lambda row: (row.guild_id, row.round_id)):
            try:
                draft = await self._batch(row.round_id, row.chain_id, scope)
            except (NotOpenError, DoubtedError) as error:
                waits = error
                continue
            if draft is not None:
                turns.serve((row.guild_id, row.round_id))
                return draft
        if waits is not None:
            raise waits
        return None

    async def _batch(self, round_id: int, number: int, scope: Scope) -> Draft | None:
        """Draft the next batch of a round; None where none of its votes can be sent (yet), or all of them were
        rejected.
        """
        choices = await self._choices(round_id, scope)
        if not choices:
            return None
        seq, digest = await self._position()
        first_seat = (await self._ledger.round_info(number)).seats
        if first_seat != await self._seats_known(round_id):
            # We once seated some of them and did not write it down.
            await self.learn_seats(round_id, number)
            choices = await self._choices(round_id, scope)
        choices = await self._without_own_seats(choices)
        room, left_out = MOST_CHOICES, dict[int, DoubtedError]()  # entries whose refusal is not believed yet
        while choices:
            fitting = first_that_fit(choices, first_seat)
            if len(fitting) < len(choices):
                choices, room = fitting, len(fitting)
            newcomers, ballots = take_seats(choices, first_seat)
            battle_numbers = {choice.video for choice in choices if choice.battle}
            arrivals, words = batch_codec.encode_arrivals(newcomers), batch_codec.encode(ballots, battle_numbers)
            data = calldata.batch(seq, number, arrivals, words)
            try:
                gas = await self._context.estimate(data)
            except LedgerRefusedError as refusal:
                if len(choices) == 1:
                    try:
                        await self._reject_vote(round_id, choices[0], refusal.reason)
                    except DoubtedError as error:
                        if len(left_out) + 1 == MOST_DOUBTS or refusal.reason == ROUND_CLOSED:
                            raise
                        left_out[choices[0].entry] = error
                    choices = [each for each in await self._choices(round_id, scope) if each.entry not in left_out]
                else:  # find the entry that is to blame
                    choices = choices[: len(choices) // 2]
                continue
            if gas > self._settings.max_gas and len(choices) > 1:
                choices = choices[: len(choices) // 2]
                room = len(choices)
                continue
            if not scope.again:
                self.room = room
            return Draft(
                TransactionKind.VOTES,
                data,
                gas,
                round_id,
                [choice.entry for choice in choices],
                [entry for choice in choices for entry in choice.older],
                seq,
                "0x" + batch_codec.next_digest(digest, number, arrivals, words).hex(),
                max(self._record(choice).times for choice in choices),
            )
        if left_out:
            raise next(iter(left_out.values()))
        return None

    async def _rounds(self, scope: Scope) -> Sequence[EntryRow]:
        """Return the rounds with votes that can be sent, that of the oldest vote first: a batch is about one round."""
        query = (
            select(outbox.c.round_id, rounds.c.chain_id, rounds.c.guild_id)
            .join(rounds, rounds.c.id == outbox.c.round_id)
            .where(pending(OutboxKind.VOTE), rounds.c.chain_id.is_not(None))
            .group_by(outbox.c.round_id, rounds.c.chain_id, rounds.c.guild_id)
            .order_by(func.min(outbox.c.id))
        )
        if scope.rounds is not None:
            query = query.where(outbox.c.round_id.in_(scope.rounds))
        async with self._database.connect() as connection:
            return list(await connection.execute(query))

    async def _seats_known(self, round_id: int) -> int:
        query = select(func.count()).where(seats.c.round_id == round_id, seats.c.seat < batch_codec.OWN_SEATS)
        async with self._database.connect() as connection:
            return int(await connection.scalar(query) or 0)

    async def learn_seats(self, round_id: int, number: int) -> None:
        """Write down all seats that batches have given in a round, as the log has them."""
        seat_of = await self._ledger.seats_of(number, await opened_in(self._database, round_id))
        await self.store_seats(round_id, seat_of, whole=True)

    async def store_seats(
        self, round_id: int, seat_of: dict[int, int], *, transaction_id: int | None = None, whole: bool = False
    ) -> None:
        """Write down the seats of voters' indices in a round; with `whole`, those are all that there are."""
        if whole:
            async with self._database.begin() as connection:
                given_by_batches = (seats.c.round_id == round_id, seats.c.seat < batch_codec.OWN_SEATS)
                await connection.execute(delete(seats).where(*given_by_batches))
        indices = list(seat_of)
        for start in range(0, len(indices), 500):  # a statement takes a limited number of values
            some = indices[start : start + 500]
            query = select(voters.c.voter_id, voters.c.voter_index).where(voters.c.voter_index.in_(some))
            async with self._database.begin() as connection:
                seats_by_id = {row.voter_id: seat_of[row.voter_index] for row in await connection.execute(query)}
                here = (seats.c.round_id == round_id, seats.c.voter_id.in_(seats_by_id))
                stored = set(await connection.scalars(select(seats.c.voter_id).where(*here)))
                new = [
                    {"round_id": round_id, "voter_id": voter, "seat": seat, "transaction_id": transaction_id}
                    for voter, seat in seats_by_id.items()
                    if voter not in stored
                ]
                if new:
                    await connection.execute(insert(seats), new)

    async def _without_own_seats(self, choices: Sequence[Choice]) -> Sequence[Choice]:
        """Reject choices for seats in which only wallets vote: no batch can hold them. Return the others."""
        of_wallets = [choice for choice in choices if choice.seat is not None and choice.seat >= batch_codec.OWN_SEATS]
        if of_wallets:
            entries = [entry for choice in of_wallets for entry in (*choice.older, choice.entry)]
            await self._context.reject_with_sentence(entries, SENTENCES["ledger: seat claimed"])
        return [choice for choice in choices if choice.seat is None or choice.seat < batch_codec.OWN_SEATS]

    def _record(self, choice: Choice) -> Record:
        return self._context.reverts.of(reverts.vote(choice.entry))

    async def _choices(self, round_id: int, scope: Scope) -> Sequence[Choice]:
        """Return the last choice of each voter about each item among a round's votes that wait, as many as fit a batch.

        They are those that were reverted before, or the others.
        """
        waiting = await self._all_choices(round_id)
        if not scope.again:
            return [choice for choice in waiting if not self._record(choice).times][:MOST_CHOICES]
        by_subject = {reverts.vote(choice.entry): choice for choice in waiting if self._record(choice).times}
        ready, over = self._context.reverts.split(list(by_subject), Record.judge_account)
        if over:
            hopeless = [by_subject[subject] for subject in over]
            entries = [entry for choice in hopeless for entry in (*choice.older, choice.entry)]
            await self._context.reject(entries, UNEXPLAINED)
        return [by_subject[subject] for subject in ready]

    async def _all_choices(self, round_id: int) -> Sequence[Choice]:
        query = (
            select(
                outbox.c.id,
                outbox.c.choice,
                _NUMBER.label("number"),
                battles.c.id.is_not(None).label("battle"),
                voters.c.voter_index,
                seats.c.seat,
            )
            .outerjoin(videos, videos.c.id == outbox.c.video_id)
            .outerjoin(battles, battles.c.id == outbox.c.video_id)
            .join(voters, voters.c.voter_id == outbox.c.voter_id)
            .outerjoin(seats, (seats.c.round_id == outbox.c.round_id) & (seats.c.voter_id == outbox.c.voter_id))
            .where(pending(OutboxKind.VOTE), outbox.c.round_id == round_id)
            .where(_NUMBER.is_not(None), voters.c.voter_index.is_not(None))
            .order_by(outbox.c.id)
            .limit(READ_AT_ONCE)
        )
        last: dict[tuple[int, int], Choice] = {}
        async with self._database.connect() as connection:
            for row in await connection.execute(query):
                pair = (row.number, row.voter_index)
                before = last.get(pair)  # a voter's later choice replaces the earlier one, also one that was reverted
                older = [] if before is None else [*before.older, before.entry]
                last[pair] = Choice(*pair, row.seat, row.choice, row.id, bool(row.battle), older)
        return list(last.values())

    async def _position(self) -> tuple[int, bytes]:
        """Return the sequence number and digest at which the ledger's batches stand, after a check that all of them are
        ours.
        """
        query = (
            select(chain_transactions.c.seq, chain_transactions.c.digest)
            .where(chain_transactions.c.seq.is_not(None))  # of batches alone
            .order_by(chain_transactions.c.seq.desc())
            .limit(1)
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        seq, digest = (row.seq + 1, from_hex(row.digest)) if row else (0, batch_codec.EMPTY_DIGEST)
        ledger_seq, ledger_digest = await self._ledger.seq(), await self._ledger.digest()
        if ledger_seq < seq:
            raise ChainUnreachableError(
                f"The chain's node is behind: it knows {ledger_seq} batches of {seq}; waiting for it."
            )
        if ledger_seq > seq or ledger_digest != digest:
            raise WrongLedgerError(
                f"Somebody else writes to the ledger: it holds {ledger_seq} batches where {seq} are ours. "
                "No votes are sent any more; check who has the relayer's key, and that this database belongs to this "
                "ledger."
            )
        return seq, digest

    async def _reject_vote(self, round_id: int, choice: Choice, reason: str) -> None:
        """Reject a vote; where the round has closed, all of the round's votes that wait are rejected at once."""
        if reason != "ledger: round closed":
            await self._context.reject([*choice.older, choice.entry], reason)
            return
        query = select(outbox.c.id).where(pending(OutboxKind.VOTE), outbox.c.round_id == round_id)
        async with self._database.connect() as connection:
            late = list(await connection.scalars(query))
        await self._context.reject(late, reason)  # all of the round's, at once
