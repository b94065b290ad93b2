"""Everything that a member, a moderator or the relayer waits for and that asks the database, on a generated past.

Each can be repeated: what it changes it changes back, or a repetition finds it done. None of them reaches a chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from eth_account import Account
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.domain.policy import Quota
from bot.domain.votes import Choice, Reaction, Vote
from bot.domain.wallets import SignedChoice, SigningRequest
from bot.monitoring.metrics import Metrics
from bot.store import feedback as words
from bot.store import rejections as refused
from bot.store import reviews, rounds, signed_ballots, signing_requests, videos, wallets
from bot.store import wallet_events as heard
from bot.store.vote_writer import VoteWriter, known_reactions, votes_of_member
from contracts.ledger.client import Ledger
from contracts.ledger.wallet_events import Cast, Unlinked
from contracts.outbox import progress as receipts
from contracts.outbox.entries import voter_id
from contracts.relayer import attempts, batch_recovery, reorgs
from contracts.relayer.backlog import outlook
from contracts.relayer.finality import Finality
from contracts.relayer.planning.draft import Scope, opened_in
from contracts.relayer.planning.planner import KINDS
from contracts.relayer.relayer import Relayer
from contracts.rpc.node import ChainUnreachableError, Receipt
from contracts.signers.keystore import KeySigner
from migrations.database import now_ms
from migrations.schema import chain_transactions, outbox, seats
from tests.growth.history import A_ROUND, GUILD, MODEL, PEPPER, SENDER, Past, address_of, member_of, message_of
from tests.growth.learning import LearningOperations
from tests.growth.transactions import tried

ROOMY = Quota(prompts_a_round=1_000_000, waiting=1_000_000)
_numbers = itertools.count(1)


class AsItWas(Finality):
    """The chain of a generated past: each block is where the past has it."""

    async def block_hash(self, block_number: int) -> str | None:
        return f"0x{block_number:064x}"

    async def stands(self, block_number: int, block_hash: str) -> bool:
        return await self.block_hash(block_number) == block_hash


class Operations:
    """What is asked of one database, by name. Between `warm` and `close`."""

    def __init__(self, database: AsyncEngine, past: Past) -> None:
        self.database = database
        self.past = past
        self.round = past.open_round
        self.video = past.of_the_open_round[3]
        self.member = member_of(past, self.round, 3)
        self.voter = voter_id(PEPPER, GUILD, self.member)
        self.linked = past.members + 1  # who has a wallet
        signer = KeySigner(Account.from_key("0x" + "11" * 32))
        self.ledger = Ledger("http://127.0.0.1:9", signer.address, timeout_s=0.1)  # where nobody is
        self.relayer = Relayer(database, self.ledger, signer)
        self.drafts: Any = self.relayer.planner
        self.transactions: Any = self.relayer.transactions
        self.metrics = Metrics(database, "bot")
        self.writer = VoteWriter(database, PEPPER)

    async def warm(self) -> None:
        """What is done once after a start, and remembered."""
        self.writer.start()
        await self.metrics.text()

    async def close(self) -> None:
        await self.writer.close()
        await self.ledger.close()

    def all(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """Each by its name, those that change votes last."""
        learning = LearningOperations(self.database, self.past).all()
        return {**self.of_members(), **self.of_moderators(), **learning, **self.of_the_relayer(), **self.of_voters()}

    # ------------------------------------------------------------------ members

    def of_members(self) -> dict[str, Callable[[], Awaitable[object]]]:
        database, here = self.database, self.round
        return {
            "standings": lambda: videos.entries(database, here),
            "standings with removed": lambda: videos.entries(database, here, removed=True),
            "recorded tallies": lambda: receipts.recorded_tallies(database, here),
            "refused votes": lambda: receipts.count_rejected_votes(database, here),
            "round progress": lambda: receipts.round_progress(database, here),
            "drained": lambda: receipts.drained(database, here),
            "receipt of a voter": lambda: receipts.voter_receipts(database, here, self.voter),
            "receipts of a video": lambda: receipts.receipts(database, self.video),
            "votes of a member": lambda: votes_of_member(database, here, self.member),
            "refused, untold": lambda: refused.list_untold(database, GUILD, self.voter),
            "current round": lambda: rounds.open_in(database, GUILD),
            "latest round": lambda: rounds.latest_or_none(database, GUILD),
            "an earlier round": lambda: rounds.by_number_or_none(database, GUILD, 2),
            "prompt": self.prompt,
            "place in the queue": self.place,
            "videos of a member": lambda: videos.of_member(database, GUILD, 2, 5),  # there may be no more
            "videos of a member without any": lambda: videos.of_member(database, GUILD, 9_999, 25),
            "prompts that wait": lambda: reviews.prompts_of_member(database, GUILD, 2, 5),
            "prompt held": self.hold,
            "feedback": lambda: words.save_feedback(database, self.video, self.member, "fine"),
            "report": lambda: words.save_report(database, self.video, self.member, "odd"),
            "words": lambda: words.count_in_round(database, here),
            "provenance": lambda: videos.latest(database, GUILD, "", 25, posted_only=True),
            "provenance by a word": lambda: videos.latest(database, GUILD, "of 7 words", 25, posted_only=True),
            "provenance by a word that nobody wrote": lambda: videos.latest(
                database, GUILD, "nobody", 25, posted_only=True
            ),
            "wallet of a member": lambda: wallets.of_member_or_none(database, GUILD, self.linked),
            "address taken": lambda: wallets.is_taken(database, address_of(self.linked)),
            "unsigned choices": lambda: signed_ballots.list_unsigned(database, here, self.linked),
            "quotas of a voter": self.quotas,
            "request to sign": self.ask,
            "link": self.link,
            "unlink": self.unlink,
            "signed ballot": self.sign,
        }

    async def prompt(self) -> None:
        async with tried(self.database) as connection:
            await videos.add(
                connection, video_id=f"9{next(_numbers):018}", guild_id=GUILD, round_id=self.round, member_id=3,
                member_name="m", prompt="p", model_id=MODEL, quota=ROOMY,
            )  # fmt: skip

    async def place(self) -> None:
        [*_, last] = await videos.under_way(self.database)
        await videos.queue_place(self.database, last, "quick")

    async def hold(self) -> None:
        async with tried(self.database) as connection:
            await reviews.count_waiting_prompts(connection, GUILD, 2)
            review = await reviews.hold(
                connection, "prompt", f"held {next(_numbers)}", "blocked", guild_id=GUILD, round_id=self.round,
                member_id=2, member_name="m", prompt="p", finding="f", channel_id=1,
            )  # fmt: skip
            await reviews.delete_old_blocked(connection, GUILD, 2, keep=20)
            await reviews.get_or_none_within(connection, review.id)
            await reviews.change_state(connection, review.id, "blocked", "waiting")

    async def ask(self) -> None:
        wallet = await wallets.of_member_or_none(self.database, GUILD, self.linked)
        assert wallet is not None
        asked = await signing_requests.add(self.database, wallet, "unlink", nonce=2, deadline=1)
        await signing_requests.get(self.database, asked.token)
        async with self.database.begin() as connection:
            await signing_requests.take(connection, asked.token)

    def _request(self, kind: Any, member: int, choices: Iterable[SignedChoice] = ()) -> SigningRequest:
        voter = voter_id(PEPPER, GUILD, member)
        return SigningRequest(
            "token", GUILD, member, voter, kind, address_of(member), 3, 4, 5, self.round, self.round, tuple(choices)
        )

    async def quotas(self) -> None:
        lately = now_ms() - 24 * 3_600_000
        async with self.database.connect() as connection:
            await signed_ballots.count_cast(connection, self.round, self.voter)
            await wallets.change_times(connection, self.voter, lately)
            await wallets.count_changed_answers(connection, self.voter, address_of(self.linked), lately)

    async def link(self) -> None:
        async with tried(self.database) as connection:
            await wallets.link(connection, self._request("link", self.past.members), b"s")

    async def unlink(self) -> None:
        async with tried(self.database) as connection:
            await wallets.unlink(connection, self._request("unlink", self.linked), b"s")

    async def sign(self) -> None:
        async with tried(self.database) as connection:
            chosen = [SignedChoice(self.video, 1, Choice.UP)]
            await signed_ballots.cast(connection, self._request("ballot", self.linked, chosen), b"s")

    # ------------------------------------------------------------------ moderators, and the bot by itself

    def of_moderators(self) -> dict[str, Callable[[], Awaitable[object]]]:
        database, here = self.database, self.round
        return {
            "videos to remove": lambda: videos.latest(database, GUILD, "", 25),
            "videos to remove by a word": lambda: videos.latest(database, GUILD, "of 7 words", 25),
            "videos to remove by a word that nobody wrote": lambda: videos.latest(database, GUILD, "nobody", 25),
            "video by its message": lambda: videos.by_message_or_none(database, message_of(self.video)),
            "remove": self.remove,
            "reviews that wait": lambda: reviews.list_waiting(database, GUILD, 25),
            "open a round": self.open_round,
            "rounds that are not closed": lambda: rounds.all_open(database),
            "rounds with something left to do": lambda: rounds.closed_with_work_left(
                database, now_ms() - 30 * 86_400_000
            ),
            "under way": lambda: videos.under_way(database),
            "under way in a round": lambda: videos.under_way(database, here),
            "progress": lambda: videos.progress_of(database, [self.video]),
            "videos of a ballot": lambda: videos.by_ids(database, [self.video]),
            "publish": self.publish,
            "open for votes": lambda: videos.open_for_votes(database),
            "known reactions": lambda: known_reactions(database, self.video),
            "anybody with a wallet": lambda: wallets.any_exist(database),
            "choices of refused links": lambda: signed_ballots.unsigned_of_rejected_links(database),
            "refused ballots": self.take_back,
            "first block to hear of": lambda: heard.first_block_to_read(database, 1),
            "ballot sent past us": self.hear_ballot,
            "unlink sent past us": self.hear_unlink,
            "metrics": self.metrics.text,
        }

    async def remove(self) -> None:
        async with tried(self.database) as connection:
            await videos.remove(connection, self.video, "r")

    async def open_round(self) -> None:
        async with tried(self.database) as connection:
            await rounds.open_round(
                connection, guild_id=GUILD + 1, channel_id=1, task="t", opened_by=1, seconds=60, grace_s=0
            )

    async def publish(self) -> None:
        await videos.change(self.database, self.video, status="posting", playback_id="p", model_revision="r")
        await videos.publish(self.database, self.video, thread_id=self.round, message_id=message_of(self.video))

    async def take_back(self) -> None:
        await signed_ballots.any_rejected(self.database)
        async with tried(self.database) as connection:
            await signed_ballots.take_back_rejected(connection)

    async def hear_ballot(self) -> None:
        async with tried(self.database) as connection:
            cast = Cast(
                self.round, self.linked, address_of(self.linked), ((self.round * A_ROUND + 1, 1),), 9, 9, b"s", "t"
            )
            assert await heard.record_ballot(connection, cast)

    async def hear_unlink(self) -> None:
        async with tried(self.database) as connection:
            assert await heard.record_unlink(connection, Unlinked(self.linked, address_of(self.linked), 9, "t"))

    # ------------------------------------------------------------------ the relayer

    def of_the_relayer(self) -> dict[str, Callable[[], Awaitable[object]]]:
        database, votes = self.database, self.drafts.votes
        context = self.drafts._context
        return {
            "final": self.final,
            "given up": self.give_up,
            "seat of a claim": self.settle_claim,
            "entry of a transaction": self.entry,
            "kinds that wait": self.drafts._waiting,
            "rounds that close soon": self.drafts._closing_soon,
            "reverts": context.reverts.read,
            **{f"draft of kind {kind}": partial(self.draft, kind) for kind in KINDS},
            "books": context.reject_orphans,
            "due": votes._due,
            "new voters": lambda: votes._new_voters(Scope()),
            "whose turn": lambda: votes._rounds(Scope()),
            "choices of a batch": lambda: votes._choices(self.round, Scope()),
            "seats known": lambda: votes._seats_known(self.round),
            "voters settled": lambda: votes.store_voter_indices({voter_id(PEPPER, GUILD, m): m for m in range(1, 200)}),
            "seats settled": lambda: votes.store_seats(self.round, {m: 5_000 + m for m in range(1, 200)}),
            "in flight": self.transactions.count,
            "opened in": lambda: opened_in(database, self.round),
            "chain": lambda: attempts.chain_of(database),
            "attempts": self.attempts,
            "reopened": self.reopen,
            "given up and standing": self.adopt,
            "outlook": lambda: outlook(database, 1.0, 150),
            "status": self.relayer.status,
        }

    async def draft(self, kind: str) -> None:
        """As far as the chain has to be asked."""
        with contextlib.suppress(ChainUnreachableError):
            await self.drafts._drafters[kind](Scope())

    async def _transaction(self, number: int) -> Any:
        """A transaction of the open round, by its place among them."""
        query = select(chain_transactions).where(chain_transactions.c.id == self.round * A_ROUND + number)
        async with self.database.connect() as connection:
            return (await connection.execute(query)).one()

    async def final(self) -> None:
        row = await self._transaction(self.past.videos + 4)
        here = (outbox.c.transaction_id == row.id, outbox.c.state == "final")
        async with self.database.begin() as connection:
            await connection.execute(update(outbox).where(*here).values(state="batched"))
        await self.transactions.settlement.record_finality(row, Receipt("0x", True, 1, "0x", 1, None))

    async def give_up(self) -> None:
        """A batch that did nothing; it is told apart from those that did, and taken up again."""
        row = await self._transaction(self.past.videos + 5)
        await self.transactions.settlement.abandon(row)
        await self.transactions.settlement.update(row.id, state="final", seq=row.seq)

    async def entry(self) -> None:
        # as `Settlement.record_inclusion` asks
        query = select(outbox).where(outbox.c.transaction_id == self.round * A_ROUND)
        async with self.database.connect() as connection:
            (await connection.execute(query)).one()

    async def settle_claim(self) -> None:
        async with self.database.begin() as connection:
            await connection.execute(select(seats).where(seats.c.round_id == self.round, seats.c.seat == 1))

    async def attempts(self) -> None:
        await attempts.of(self.database, await self._transaction(2))

    async def reopen(self) -> None:
        finality = AsItWas(self.ledger.node, None, 1)
        assert await reorgs.reopen(self.database, finality, SENDER, thorough=False) == 0
        assert await reorgs.has_latest_transaction(self.database, finality, SENDER)

    async def adopt(self) -> None:
        with contextlib.suppress(ChainUnreachableError):
            await batch_recovery.recover_abandoned(self.database, self.ledger, SENDER)

    # ------------------------------------------------------------------ votes

    def of_voters(self) -> dict[str, Callable[[], Awaitable[object]]]:
        return {
            "one vote": lambda: self.vote(1),
            "20 votes": lambda: self.vote(20),
            "500 votes": lambda: self.vote(500),
            "300 reactions put on": lambda: self.react(300, "added"),
            "300 reactions taken off": lambda: self.react(300, "removed"),
            "choice of a wallet": self.choose,
        }

    def _some(self, many: int) -> list[tuple[str, int]]:
        """Videos and members, each pair once: half of those who have voted before, and half newcomers."""
        shift = next(_numbers) * 17
        of_theirs = self.past.of_the_open_round
        return [
            (of_theirs[n % self.past.videos], member_of(self.past, self.round, n + (0 if n % 2 else shift * 40)))
            for n in range(many)
        ]

    async def vote(self, many: int) -> None:
        choice = Choice(1 + next(_numbers) % 2)
        votes = [Vote(GUILD, video, member, choice, "button") for video, member in self._some(many)]
        await asyncio.gather(*(self.writer.cast(vote) for vote in votes))

    async def react(self, many: int, change: Any) -> None:
        seen = [(video, member_of(self.past, self.round, n)) for n, (video, _) in enumerate(self._some(many))]
        await asyncio.gather(
            *(self.writer.react(Reaction(GUILD, message_of(video), m, Choice.UP, change)) for video, m in seen)
        )

    async def choose(self) -> None:
        for choice in (Choice.UP, Choice.WITHDRAWN):
            for video in self.past.of_the_open_round[:2]:
                await self.writer.cast(Vote(GUILD, video, self.linked, choice, "button"))
