"""Members' wallets and what they are asked to sign. How far a wallet is follows from its entries in the outbox."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import SigningOverError, WalletLinkedError
from bot.domain.votes import Choice
from bot.domain.wallets import SignedChoice, SigningRequest, Wallet, wallet_state
from contracts.outbox import entries
from contracts.outbox.rejections import CHANGED_ITS_MIND, SENTENCES
from migrations.database import now_ms, one_of, upsert_into
from migrations.schema import outbox, seats, signing_requests, unsigned_choices, videos, votes, wallets
from migrations.states_community import SigningKind, VoteSource

REQUEST_S = 15 * 60  # for which a request can be signed
_LINK, _UNLINK = outbox.alias("link"), outbox.alias("unlink")


def _selected() -> Select[Any]:
    return (
        select(
            wallets,
            _LINK.c.state.label("link"),
            func.coalesce(_LINK.c.reason, _UNLINK.c.reason).label("reason"),
            _UNLINK.c.state.label("unlink"),
        )
        .join(_LINK, _LINK.c.id == wallets.c.link_entry)
        .outerjoin(_UNLINK, _UNLINK.c.id == wallets.c.unlink_entry)
    )


def _wallet(row: Row[Any]) -> Wallet:
    state = wallet_state(row.link, row.unlink)
    return Wallet(row.guild_id, row.member_id, row.voter_id, row.address, state, row.reason)


async def of_members(
    connection: AsyncConnection, members: Collection[tuple[int, int]]
) -> dict[tuple[int, int], Wallet]:
    """The wallets of those among (guild, member) who ever linked one."""
    if not members:
        return {}
    rows = await connection.execute(_selected().where(one_of(members, wallets.c.guild_id, wallets.c.member_id)))
    return {(row.guild_id, row.member_id): _wallet(row) for row in rows}


async def of_member(database: AsyncEngine, guild_id: int, member_id: int) -> Wallet | None:
    """A member's wallet, also one that was refused or unlinked."""
    async with database.connect() as connection:
        return (await of_members(connection, {(guild_id, member_id)})).get((guild_id, member_id))


async def seated(connection: AsyncConnection, pairs: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those among (round, voter id) whose seat only a wallet may write, also after it was unlinked."""
    if not pairs:
        return set()
    claimed = select(seats.c.round_id, seats.c.voter_id).where(
        seats.c.claimed, one_of(pairs, seats.c.round_id, seats.c.voter_id)
    )
    signed = select(outbox.c.round_id, outbox.c.voter_id).where(
        outbox.c.kind == "ballot",
        outbox.c.video_id.is_(None),  # as all ballots are; by it and the voter there is an index
        outbox.c.state != "rejected",
        outbox.c.round_id.in_({round_id for round_id, _ in pairs}),
        outbox.c.voter_id.in_({voter_id for _, voter_id in pairs}),
    )
    rows = (await connection.execute(claimed.union(signed))).all()
    return {(row.round_id, row.voter_id) for row in rows} & set(pairs)


async def taken(database: AsyncEngine, address: str) -> bool:
    """Whether an address votes for somebody by what we wrote down, on the chain yet or not."""
    async with database.connect() as connection:
        rows = await connection.execute(_selected().where(wallets.c.address == address))
        return any(_wallet(row).state in ("linking", "linked", "unlinking") for row in rows)


# --------------------------------------------------------------------------- requests


async def ask(
    database: AsyncEngine,
    wallet: Wallet,
    kind: SigningKind,
    *,
    nonce: int,
    deadline: int,
    round_id: int | None = None,
    round_number: int = 0,
    choices: Sequence[SignedChoice] = (),
) -> SigningRequest:
    """Keeps a new request to sign; requests of this member that are over are forgotten."""
    now = now_ms()
    token, expires = secrets.token_urlsafe(16), now + REQUEST_S * 1000
    content = {
        "voter_id": wallet.voter_id,
        "nonce": nonce,
        "deadline": deadline,
        "round": round_number,
        "choices": [[one.video_id, one.number, int(one.choice)] for one in choices],
    }
    mine = (signing_requests.c.guild_id == wallet.guild_id, signing_requests.c.member_id == wallet.member_id)
    async with database.begin() as connection:
        await connection.execute(
            delete(signing_requests).where(
                *mine, signing_requests.c.expires_at_ms < now, signing_requests.c.entry.is_(None)
            )
        )
        await connection.execute(
            insert(signing_requests).values(
                token=token,
                guild_id=wallet.guild_id,
                member_id=wallet.member_id,
                kind=kind,
                wallet=wallet.address,
                round_id=round_id,
                content=content,
                created_at_ms=now,
                expires_at_ms=expires,
            )
        )
    return SigningRequest(
        token=token,
        guild_id=wallet.guild_id,
        member_id=wallet.member_id,
        voter_id=wallet.voter_id,
        kind=kind,
        wallet=wallet.address,
        nonce=nonce,
        deadline=deadline,
        expires_at_ms=expires,
        round_id=round_id,
        round_number=round_number,
        choices=tuple(choices),
    )


async def request(database: AsyncEngine, token: str) -> SigningRequest:
    """A request that can still be signed. Raises SigningOverError."""
    open_ = (
        signing_requests.c.token == token,
        signing_requests.c.entry.is_(None),
        signing_requests.c.expires_at_ms > now_ms(),
    )
    async with database.connect() as connection:
        row = (await connection.execute(select(signing_requests).where(*open_))).first()
    if row is None:
        raise SigningOverError
    return SigningRequest(
        token=row.token,
        guild_id=row.guild_id,
        member_id=row.member_id,
        voter_id=row.content["voter_id"],
        kind=row.kind,
        wallet=row.wallet,
        nonce=row.content["nonce"],
        deadline=row.content["deadline"],
        expires_at_ms=row.expires_at_ms,
        round_id=row.round_id,
        round_number=row.content["round"],
        choices=tuple(SignedChoice(video, number, Choice(choice)) for video, number, choice in row.content["choices"]),
    )


async def begin_signing(connection: AsyncConnection, token: str) -> None:
    """Takes a request for this transaction alone. Raises SigningOverError where another one has it."""
    taken_now = await connection.execute(
        update(signing_requests)
        .where(signing_requests.c.token == token, signing_requests.c.entry.is_(None))
        .values(entry=0)
    )
    if taken_now.rowcount != 1:
        raise SigningOverError


async def hold_member(connection: AsyncConnection, asked: SigningRequest) -> None:
    """Lets nobody else sign for this member until the transaction ends: what is counted in it then still holds."""
    mine = (signing_requests.c.guild_id == asked.guild_id, signing_requests.c.member_id == asked.member_id)
    query = select(signing_requests.c.token).where(*mine).order_by(signing_requests.c.token)
    await connection.execute(query.with_for_update())  # SQLite has one writer at a time anyway


async def _signed(connection: AsyncConnection, asked: SigningRequest, entry: int) -> None:
    await connection.execute(
        update(signing_requests).where(signing_requests.c.token == asked.token).values(entry=entry)
    )


async def link(connection: AsyncConnection, asked: SigningRequest, signature: bytes) -> None:
    """Links the wallet; from this commit on, its member's choices wait for signatures. Raises WalletLinkedError."""
    who = (asked.guild_id, asked.member_id)
    before = (await of_members(connection, {who})).get(who)
    if before is not None and before.state not in ("refused", "unlinked"):
        raise WalletLinkedError(address=before.address)
    entry = await entries.record_link(
        connection,
        voter_id=asked.voter_id,
        wallet=asked.wallet,
        nonce=asked.nonce,
        deadline=asked.deadline,
        signature=signature,
    )
    if before is not None:
        mine = (wallets.c.guild_id == asked.guild_id, wallets.c.member_id == asked.member_id)
        await connection.execute(delete(wallets).where(*mine))
    await connection.execute(
        insert(wallets).values(
            guild_id=asked.guild_id,
            member_id=asked.member_id,
            voter_id=asked.voter_id,
            address=asked.wallet,
            link_entry=entry,
        )
    )
    await _signed(connection, asked, entry)


async def unlink(connection: AsyncConnection, asked: SigningRequest, signature: bytes) -> None:
    """Takes the link back; choices that were not signed are dropped. Raises SigningOverError without a link."""
    who = (asked.guild_id, asked.member_id)
    before = (await of_members(connection, {who})).get(who)
    if before is None or not before.signs or before.address != asked.wallet:
        raise SigningOverError
    entry = await entries.record_unlink(
        connection,
        voter_id=asked.voter_id,
        wallet=asked.wallet,
        nonce=asked.nonce,
        deadline=asked.deadline,
        signature=signature,
    )
    mine = (wallets.c.guild_id == asked.guild_id, wallets.c.member_id == asked.member_id)
    await connection.execute(update(wallets).where(*mine).values(unlink_entry=entry))
    here = select(videos.c.id).where(
        videos.c.id == unsigned_choices.c.video_id, videos.c.guild_id == asked.guild_id
    )  # asked of each choice: the guild has many more videos than a member has choices to sign
    await connection.execute(
        delete(unsigned_choices).where(unsigned_choices.c.member_id == asked.member_id, here.exists())
    )
    await _signed(connection, asked, entry)


async def cast(connection: AsyncConnection, asked: SigningRequest, signature: bytes) -> None:
    """Records a signed ballot: its choices count from this commit on. Raises SigningOverError without a link."""
    who = (asked.guild_id, asked.member_id)
    wallet = (await of_members(connection, {who})).get(who)
    if wallet is None or not wallet.signs or wallet.address != asked.wallet or asked.round_id is None:
        raise SigningOverError
    entry = await entries.record_ballot(
        connection,
        round_id=asked.round_id,
        voter_id=asked.voter_id,
        wallet=asked.wallet,
        choices=[(one.video_id, one.number, int(one.choice)) for one in asked.choices],
        nonce=asked.nonce,
        deadline=asked.deadline,
        signature=signature,
    )
    await count(connection, asked.member_id, asked.choices)
    await _signed(connection, asked, entry)


async def count(connection: AsyncConnection, member_id: int, choices: Sequence[SignedChoice]) -> None:
    """Counts choices that a member's wallet signed; what was chosen differently since still waits for a signature."""
    upsert = upsert_into(connection, votes)
    now = now_ms()
    await connection.execute(
        upsert.on_conflict_do_update(
            index_elements=["video_id", "member_id"],
            set_={name: upsert.excluded[name] for name in ("choice", "source", "cast_at_ms")},
        ),
        [
            {
                "video_id": one.video_id,
                "member_id": member_id,
                "choice": int(one.choice),
                "source": "wallet",
                "cast_at_ms": now,
            }
            for one in choices
        ],
    )
    same = [
        and_(unsigned_choices.c.video_id == one.video_id, unsigned_choices.c.choice == int(one.choice))
        for one in choices
    ]
    await connection.execute(delete(unsigned_choices).where(unsigned_choices.c.member_id == member_id, or_(*same)))


async def unsigned(database: AsyncEngine, round_id: int, member_id: int) -> list[tuple[str, int | None, Choice]]:
    """What a member has chosen in a round and not signed: video, its number on the ledger if it has one, choice."""
    query = (
        select(unsigned_choices.c.video_id, videos.c.chain_id, unsigned_choices.c.choice)
        .join(videos, videos.c.id == unsigned_choices.c.video_id)
        .where(videos.c.round_id == round_id, videos.c.status == "published")
        .where(unsigned_choices.c.member_id == member_id)
        .order_by(unsigned_choices.c.chosen_at_ms, videos.c.id)
    )
    async with database.connect() as connection:
        return [(row.video_id, row.chain_id, Choice(row.choice)) for row in await connection.execute(query)]


async def ballots(connection: AsyncConnection, round_id: int, voter_id: str) -> int:
    """How many signed ballots of a voter we have taken in a round."""
    query = select(func.count()).where(
        outbox.c.kind == "ballot", outbox.c.round_id == round_id, outbox.c.voter_id == voter_id
    )
    return int(await connection.scalar(query) or 0)


async def changes(connection: AsyncConnection, voter_id: str, since_ms: int) -> list[int]:
    """When a voter's links and unlinks since then were entered, in order; without those that we do not send."""
    query = (
        select(outbox.c.created_at_ms, outbox.c.payload)
        .where(outbox.c.voter_id == voter_id, outbox.c.video_id.is_(None))
        .where(outbox.c.kind.in_(("link", "unlink")), outbox.c.created_at_ms > since_ms)
        .order_by(outbox.c.created_at_ms)
    )
    return [int(row.created_at_ms) for row in await connection.execute(query) if not row.payload.get("tx")]


async def turned_down(connection: AsyncConnection, voter_id: str, address: str, since_ms: int) -> int:
    """How many entries since then an account of a voter denied in the chain's blocks after it had agreed to them."""
    query = (
        select(outbox.c.payload)
        .where(outbox.c.voter_id == voter_id, outbox.c.video_id.is_(None), outbox.c.created_at_ms > since_ms)
        .where(outbox.c.state == "rejected", outbox.c.reason == SENTENCES[CHANGED_ITS_MIND])
    )
    return sum(payload.get("wallet") == address for payload in await connection.scalars(query))


# --------------------------------------------------------------------------- what the ledger said


async def anybody(database: AsyncEngine) -> bool:
    """Whether anybody ever linked a wallet."""
    async with database.connect() as connection:
        return (await connection.execute(select(wallets.c.member_id).limit(1))).first() is not None


async def left_unsigned(database: AsyncEngine) -> list[tuple[Wallet, str, Choice, VoteSource]]:
    """What members chose whose link the ledger then refused: video, choice and how it was made."""
    async with database.connect() as connection:
        # Entries of votes may have been refused by thousands; those of links are looked for by their kind.
        links = _selected().where(
            _LINK.c.state == "rejected", _LINK.c.kind == "link", _LINK.c.voter_id == wallets.c.voter_id
        )
        refused = [_wallet(row) for row in await connection.execute(links)]
        found = []
        for wallet in refused:
            query = (
                select(unsigned_choices)
                .join(videos, videos.c.id == unsigned_choices.c.video_id)
                .where(videos.c.guild_id == wallet.guild_id, unsigned_choices.c.member_id == wallet.member_id)
                .order_by(unsigned_choices.c.chosen_at_ms)
            )
            rows = (await connection.execute(query)).all()
            found += [(wallet, row.video_id, Choice(row.choice), row.source) for row in rows]
        return found


async def forget_unsigned(database: AsyncEngine, video_id: str, member_id: int) -> None:
    """An unsigned choice that was cast otherwise, or no longer can be."""
    mine = (unsigned_choices.c.video_id == video_id, unsigned_choices.c.member_id == member_id)
    async with database.begin() as connection:
        await connection.execute(delete(unsigned_choices).where(*mine))


def _refused_ballots() -> Select[Any]:
    """The requests of signed ballots that the ledger refused and that were not taken back yet."""
    return (
        select(signing_requests)
        .join(outbox, outbox.c.id == signing_requests.c.entry)
        .where(outbox.c.kind == "ballot", outbox.c.state == "rejected")
    )


async def any_refused(database: AsyncEngine) -> bool:
    """Whether the ledger refused a ballot whose votes still count here."""
    async with database.connect() as connection:
        return (await connection.execute(_refused_ballots().limit(1))).first() is not None


async def take_back_refused(connection: AsyncConnection) -> int:
    """Votes whose ballot the ledger refused are again what they were before it; gives how many ballots."""
    # In the order in which `hold_member` locks them: a member may be signing again just now.
    held = _refused_ballots().order_by(signing_requests.c.token).with_for_update(of=signing_requests)
    refused = (await connection.execute(held)).all()
    for row in refused:
        for video_id, _, choice in row.content["choices"]:
            standing = await connection.scalar(
                select(outbox.c.choice)
                .where(outbox.c.video_id == video_id, outbox.c.voter_id == row.content["voter_id"])
                .where(outbox.c.kind.in_(("vote", "signed")), outbox.c.state != "rejected")
                .order_by(outbox.c.id.desc())
                .limit(1)
            )
            mine = (votes.c.video_id == video_id, votes.c.member_id == row.member_id, votes.c.choice == choice)
            await connection.execute(
                update(votes).where(*mine, votes.c.source == "wallet").values(choice=standing or 0)
            )
        await connection.execute(delete(signing_requests).where(signing_requests.c.token == row.token))
    return len(refused)
