"""A community whose outbox a relayer carries to a ledger: the bot's side of it, without Discord."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

from eth_account.signers.local import LocalAccount
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.audit.audit import audit
from contracts.ledger import calldata as calls
from contracts.ledger.batch_codec import number_of
from contracts.ledger.client import Ledger, from_hex
from contracts.ledger.typed_data import Domain, ballot_message, link_message, unlink_message
from contracts.outbox import entries as outbox
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.relayer import Relayer, RelayerSettings
from contracts.rpc.node import LedgerError
from migrations.database import now_ms
from migrations.schema import chain_transactions, leases, rounds, videos, votes
from migrations.schema import outbox as entries
from tests.builders.accounts import sign
from tests.builders.anvil import Anvil

FIRST = number_of(1, 1)  # the first round's first video
PEPPER = b"a pepper that nobody can guess, 32+"
QUICK = RelayerSettings(
    drafts=DraftSettings(flush_votes=500, flush_age_s=0.0, confirm_s=0.0),
    poll_s=0.05,
    rebroadcast_s=0.05,
    recheck_s=0.0,
)
# For chains whose blocks a test makes itself: nothing waits for a clock.
ANVIL_SETTINGS = RelayerSettings(
    drafts=DraftSettings(flush_votes=500, flush_age_s=0.0, confirm_s=0.0),
    poll_s=0.05,
    rebroadcast_s=0.0,
    recheck_s=0.0,
    bump_s=0.0,
    longest_pause_s=0.2,
)
PATIENT = replace(ANVIL_SETTINGS, bump_s=3600.0)
LAZY = RelayerSettings(drafts=DraftSettings(flush_votes=500, flush_age_s=3600.0), poll_s=0.05)


class Community:
    """What the bot does: each step is one transaction on the database, as in production."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def round(self, number: int = 1, seconds: int = 3600) -> int:
        key, opens = f"{number:064x}", now_ms() - 2000
        async with self.engine.begin() as connection:
            made = await connection.execute(
                insert(rounds)
                .values(
                    guild_id=7, number=number, task="t", opened_by=1, channel_id=1, status="open", opens_at_ms=opens,
                    closes_at_ms=opens + seconds * 1000, chain_key=key,
                )
                .returning(rounds.c.id)
            )  # fmt: skip
            round_id = int(made.scalar_one())
            await outbox.record_round(
                connection, round_id=round_id, key=key, opens_ms=opens, closes_ms=now_ms() + seconds * 1000,
                meta_hash=outbox.text_hash("t"),
            )  # fmt: skip
        return round_id

    async def video(self, round_id: int, video_id: str) -> None:
        key, file = outbox.text_hash("key" + video_id), outbox.text_hash("file" + video_id)
        async with self.engine.begin() as connection:
            await connection.execute(
                insert(videos).values(
                    id=video_id, guild_id=7, round_id=round_id, member_id=1, member_name="m", prompt="p",
                    status="published", created_at_ms=1, cancel_requested=False, seed=1, model_id="tiny", sha256=file,
                    chain_key=key,
                )
            )  # fmt: skip
            await outbox.record_video(
                connection, round_id=round_id, video_id=video_id, key=key, prompt_hash=outbox.text_hash("p"),
                content_hash=file, model_hash=outbox.text_hash("tiny@1"), playback_id="play" + video_id,
            )  # fmt: skip

    async def vote(self, round_id: int, video_id: str, *choices: tuple[int, int]) -> None:
        """Members' choices, in order: each updates the vote and enters it for the ledger."""
        async with self.engine.begin() as connection:
            for member, choice in choices:
                here = (votes.c.video_id == video_id, votes.c.member_id == member)
                changed = await connection.execute(update(votes).where(*here).values(choice=choice))
                if not changed.rowcount:
                    values = {"video_id": video_id, "member_id": member, "choice": choice, "source": "button"}
                    await connection.execute(insert(votes).values(**values, cast_at_ms=now_ms()))
            rows = [(round_id, video_id, outbox.voter_id(PEPPER, 7, member), choice) for member, choice in choices]
            await outbox.record_votes(connection, outbox.vote_rows(rows))

    async def link(self, ledger: Ledger, member: int, account: LocalAccount) -> None:
        """The member's wallet signs a link, and the bot enters it."""
        voter, about = outbox.voter_id(PEPPER, 7, member), nonce_and_deadline()
        message = link_message(await domain_of(ledger), account.address, from_hex(voter), *about)
        async with self.engine.begin() as connection:
            await outbox.record_link(
                connection, voter_id=voter, wallet=account.address, nonce=about[0], deadline=about[1],
                signature=sign(account, message),
            )  # fmt: skip

    async def unlink(self, ledger: Ledger, member: int, account: LocalAccount) -> None:
        voter, about = outbox.voter_id(PEPPER, 7, member), nonce_and_deadline()
        message = unlink_message(await domain_of(ledger), account.address, from_hex(voter), *about)
        async with self.engine.begin() as connection:
            await outbox.record_unlink(
                connection, voter_id=voter, wallet=account.address, nonce=about[0], deadline=about[1],
                signature=sign(account, message),
            )  # fmt: skip

    async def ballot(
        self, ledger: Ledger, round_id: int, member: int, account: LocalAccount, choices: dict[str, int],
        *, number: int = 1, deadline: int | None = None,
    ) -> bytes:  # fmt: skip
        """The member's wallet signs choices about videos, and the bot enters them; gives calldata for anybody."""
        nonce, usual = nonce_and_deadline()
        voter, until = outbox.voter_id(PEPPER, 7, member), deadline or usual
        async with self.engine.begin() as connection:
            named = select(videos.c.id, videos.c.chain_id).where(videos.c.id.in_(choices))
            places = {row.id: row.chain_id for row in await connection.execute(named)}
            listed = [(video, places[video], choice) for video, choice in choices.items()]
            plain = [(place, choice) for _, place, choice in listed]
            message = ballot_message(await domain_of(ledger), account.address, number, plain, nonce, until)
            signature = sign(account, message)
            await outbox.record_ballot(
                connection, round_id=round_id, voter_id=voter, wallet=account.address, choices=listed, nonce=nonce,
                deadline=until, signature=signature,
            )  # fmt: skip
            for video, choice in choices.items():
                here = (votes.c.video_id == video, votes.c.member_id == member)
                await connection.execute(votes.delete().where(*here))
                values = {"video_id": video, "member_id": member, "choice": choice, "source": "wallet"}
                await connection.execute(insert(votes).values(**values, cast_at_ms=now_ms()))
        return calls.cast_signed(account.address, number, plain, nonce, until, signature)

    async def close(self, round_id: int) -> None:
        async with self.engine.begin() as connection:
            await outbox.record_close(connection, round_id=round_id)

    async def states(self, kind: str | None = None) -> dict[str, int]:
        query = select(entries.c.state, func.count()).group_by(entries.c.state)
        if kind is not None:
            query = query.where(entries.c.kind == kind)
        async with self.engine.connect() as connection:
            return {state: int(count) for state, count in await connection.execute(query)}

    async def sent(self, kind: str) -> list[Any]:
        query = select(chain_transactions).where(chain_transactions.c.kind == kind).order_by(chain_transactions.c.id)
        async with self.engine.connect() as connection:
            return list((await connection.execute(query)).all())


_nonces = itertools.count(now_ms())


def nonce_and_deadline() -> tuple[int, int]:
    return next(_nonces), now_ms() // 1000 + 10**7


async def domain_of(ledger: Ledger) -> Domain:
    return Domain(await ledger.node.chain_id(), ledger.address)


async def relay_all(relayer: Relayer) -> None:
    """Ticks until nothing is left to do."""
    async with asyncio.timeout(60):
        while await relayer.tick():
            await asyncio.sleep(0.02)


async def forget_lease(engine: AsyncEngine) -> None:
    """What time does: the lease of a relayer that was killed runs out."""
    async with engine.begin() as connection:
        await connection.execute(leases.delete())


async def ballots(ledger: Ledger, place: int, members: int) -> list[int]:
    """What each member chose about an item of round 1, by the contract."""
    seats, found = await ledger.seats_of(1), []
    for member in range(1, members + 1):
        index = await ledger.voter_index(from_hex(outbox.voter_id(PEPPER, 7, member)))
        own = await ledger.own_seat(1, index)
        seat = seats.get(index) if own is None else own
        found.append(0 if seat is None else await ledger.vote_of(FIRST - 1 + place, seat))
    return found


async def send_by_hand(ledger: Ledger, chain: Any, data: bytes, to: str | None = None) -> str:
    """Somebody uses the relayer's account without the relayer."""
    node, signer = ledger.node, chain.signer
    fees = await node.fees()
    signed = await signer.sign(
        {
            "chainId": await node.chain_id(), "nonce": await node.nonce(signer.address), "to": to or ledger.address,
            "data": data, "value": 0, "gas": 3_000_000, "maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.tip,
        }
    )  # fmt: skip
    await node.send(signed.raw)
    receipt = await node.wait(signed.tx)
    assert receipt.ok
    return str(signed.tx)


async def begin_round(community: Community, relayer: Relayer) -> int:
    """A round with a video on the chain."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await relay_all(relayer)
    return round_id


async def rejection_reasons(community: Community, kind: str) -> list[str | None]:
    """Why entries of a kind were refused, in their order; None for those that were not."""
    query = select(entries.c.reason).where(entries.c.kind == kind).order_by(entries.c.id)
    async with community.engine.connect() as connection:
        return list(await connection.scalars(query))


async def relay_on_anvil(relayer: Relayer, anvil: Anvil) -> None:
    """Ticks, with a block now and then, until nothing is left to do; trouble is tried again."""
    trouble = "nothing"
    for _ in range(200):
        try:
            if not await relayer.tick():
                return
        except LedgerError as error:
            trouble = str(error)
        await anvil.mine()
    raise AssertionError(trouble)


async def persist(relayer: Relayer) -> list[str]:
    """Ticks until nothing is left to do; gives the troubles that were met."""
    met = []
    for _ in range(300):
        try:
            if not await relayer.tick():
                return met
        except LedgerError as error:
            met.append(str(error))
            relayer._in_trouble(str(error), 0.0)
        await asyncio.sleep(0.01)
    raise AssertionError(met[-3:])


async def begin_on_anvil(
    community: Community, ledger: Ledger, anvil: Anvil, settings: RelayerSettings
) -> tuple[Relayer, int]:
    """A round with a video whose first votes are on the chain for good."""
    round_id = await community.round()
    await community.video(round_id, "a")
    await community.vote(round_id, "a", (1, 1), (2, 1), (3, 2))
    relayer = Relayer(community.engine, ledger, anvil.signer, settings)
    await relay_on_anvil(relayer, anvil)
    assert await ballots(ledger, 1, 3) == [1, 1, 2]
    return relayer, round_id


async def check_on_anvil(community: Community, ledger: Ledger, anvil: Anvil, wanted: list[int]) -> None:
    """Everything is final, the ballots are as wanted, each batch stands once, and the audit agrees."""
    assert set(await community.states()) <= {"final", "superseded"}
    assert await ballots(ledger, 1, len(wanted)) == wanted
    report = await audit(anvil.url, ledger.address, database=community.engine, pepper=PEPPER)
    assert report.ok, report.problems
    final = [row.seq for row in await community.sent("votes") if row.state == "final"]
    assert final == list(range(await ledger.seq()))
