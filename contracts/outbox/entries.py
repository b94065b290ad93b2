"""The entries that the bot writes down for the ledger, inside its own transactions; the relayer reads them. No web3.

Every function may be repeated: a round, a video or a close is entered once, whatever happens to its caller.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.manifests import hex_digits
from migrations.database import now_ms
from migrations.schema import battles, outbox
from migrations.states.ledger import OutboxKind, OutboxState

OutboxRow: TypeAlias = dict[str, object]  # the columns of a new row of the outbox

MIN_PEPPER = 16  # bytes
MAX_PLAYBACK_ID = 128  # bytes, as the contract has it
ABOUT_VIDEO = (0, 1, 2)  # withdrawn, up, down
ABOUT_BATTLE = (0, 1, 2, 3)  # withdrawn, A, B, a tie


def voter_id(pepper: bytes, guild_id: int, member_id: int) -> str:
    """Return a member's pseudonym in a guild, 64 hex digits: HMAC-SHA256 (RFC 2104) under a secret pepper.

    Without the pepper nobody can tell who it is; ids of one member in two guilds have nothing in common. Raises
    ValueError for a pepper under 16 bytes: a plain hash of a Discord id can be reversed.
    """
    if len(pepper) < MIN_PEPPER:
        raise ValueError(f"The pepper must have at least {MIN_PEPPER} bytes.")
    message = b"flock voter 1" + guild_id.to_bytes(8, "big") + member_id.to_bytes(8, "big")
    return hmac.new(pepper, message, hashlib.sha256).hexdigest()


def text_hash(text: str) -> str:
    """Return SHA-256 of the UTF-8 text, 64 hex digits: anyone who has the text can check it with `sha256sum`."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def salted_hash(text: str, salt: str) -> str:
    """Return HMAC-SHA-256 of the UTF-8 text, keyed by the bytes of a salt in hex.

    Whoever has the salt can check a text; without it nobody can find the text by trying words.
    """
    return hmac.new(bytes.fromhex(salt), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


async def record_round(
    connection: AsyncConnection,
    *,
    round_id: int,
    key: str,
    opens_ms: int,
    closes_ms: int,
    meta_hash: str,
    grace_s: int = 0,
) -> None:
    """Enter a round. Members vote until `closes_ms`; late batches with their votes are taken for `grace_s` longer.

    Raises ValueError for keys or hashes that are not 64 hex digits, or a round that closes before it opens.
    """
    if closes_ms // 1000 <= opens_ms // 1000:
        raise ValueError("A round must close after it opens.")
    payload: dict[str, object] = {
        "key": hex_digits(key, "round's key"),
        "opens": opens_ms // 1000,  # the ledger counts in seconds
        "closes": -(-closes_ms // 1000),
        "grace": grace_s,
        "meta_hash": hex_digits(meta_hash, "round's hash"),
    }
    await enter_once(connection, OutboxKind.ROUND, round_id, None, payload)


async def record_video(
    connection: AsyncConnection,
    *,
    round_id: int,
    video_id: str,
    key: str,
    prompt_hash: str,
    content_hash: str,
    model_hash: str,
    playback_id: str,
    prompt_salt: str | None = None,
) -> None:
    """Enter a video of a round. `content_hash` is the SHA-256 of the video file.

    `prompt_hash` is `salted_hash` under `prompt_salt`, which stays here; earlier versions entered the plain one.

    Raises ValueError for keys or hashes that are not 64 hex digits, or a playback id over 128 bytes.
    """
    if len(playback_id.encode()) > MAX_PLAYBACK_ID:
        raise ValueError(f"The playback id has more than {MAX_PLAYBACK_ID} bytes.")
    payload: dict[str, object] = {
        "key": hex_digits(key, "video's key"),
        "prompt_hash": hex_digits(prompt_hash, "prompt's hash"),
        "content_hash": hex_digits(content_hash, "video's hash"),
        "model_hash": hex_digits(model_hash, "model's hash"),
        "playback_id": playback_id,
    }
    if prompt_salt is not None:
        payload["prompt_salt"] = hex_digits(prompt_salt, "prompt's salt")
    await enter_once(connection, OutboxKind.VIDEO, round_id, video_id, payload)


def vote_row(
    *, round_id: int, video_id: str, voter_id: str, choice: int, created_at_ms: int | None = None
) -> OutboxRow:
    """Return one vote as a row for `record_votes`: choice 0 withdrawn, 1 up, 2 down. Rows count in their order."""
    if choice not in ABOUT_VIDEO:
        raise ValueError("A choice is 0, 1 or 2.")
    return choice_row(round_id, video_id, voter_id, choice, created_at_ms)


def choice_row(round_id: int, item_id: str, voter_id: str, choice: int, created_at_ms: int | None = None) -> OutboxRow:
    """Return the row of a choice about a video or battle; the caller knows which choices there are."""
    return {
        "kind": OutboxKind.VOTE,
        "round_id": round_id,
        "video_id": item_id,
        "voter_id": hex_digits(voter_id, "voter id"),
        "choice": choice,
        "payload": {},
        "state": OutboxState.PENDING,
        "created_at_ms": now_ms() if created_at_ms is None else created_at_ms,
    }


def vote_rows(votes: Iterable[tuple[int, str, str, int]], created_at_ms: int | None = None) -> list[OutboxRow]:
    """Return rows for many votes, each (round id, video id, voter id, choice)."""
    when = now_ms() if created_at_ms is None else created_at_ms
    return [
        vote_row(round_id=round_id, video_id=video_id, voter_id=voter, choice=choice, created_at_ms=when)
        for round_id, video_id, voter, choice in votes
    ]


async def record_votes(connection: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """Enter votes, all with one statement. A changed vote is entered again: the last one counts."""
    if rows:
        await connection.execute(insert(outbox), list(rows))


async def record_link(
    connection: AsyncConnection, *, voter_id: str, wallet: str, nonce: int, deadline: int, signature: bytes
) -> int:
    """Hand a voter's votes to a wallet; return the entry's id. `signature` is over `typed_data.link_message`."""
    return await _enter_signed(connection, OutboxKind.LINK, voter_id, wallet, nonce, deadline, signature)


async def record_unlink(
    connection: AsyncConnection,
    *,
    voter_id: str,
    wallet: str,
    nonce: int,
    deadline: int,
    signature: bytes,
    tx: str | None = None,
) -> int:
    """Take a link back; return the entry's id. `signature` is over `typed_data.unlink_message`.

    With `tx`, the wallet has done so itself in that transaction, and it is final.
    """
    state = OutboxState.PENDING if tx is None else OutboxState.FINAL
    return await _enter_signed(
        connection, OutboxKind.UNLINK, voter_id, wallet, nonce, deadline, signature, state=state, tx=tx
    )


async def record_ballot(
    connection: AsyncConnection,
    *,
    round_id: int,
    voter_id: str,
    wallet: str,
    choices: Sequence[tuple[str, int, int]],
    nonce: int,
    deadline: int,
    signature: bytes,
    tx: str | None = None,
) -> int:
    """Enter a ballot that a wallet signed, with its choices: video id, number on the ledger, choice 0, 1 or 2.

    Of a battle: its id, its number, and a choice of 0 to 3. Return the ballot's entry; each choice gets one of kind
    `signed`, which shares its fate. With `tx`, somebody else has sent it in that transaction already, and it is final.
    """
    query = select(battles.c.id).where(battles.c.id.in_([item for item, _, _ in choices]))
    of_battles = set(await connection.scalars(query))
    if any(choice not in (ABOUT_BATTLE if item in of_battles else ABOUT_VIDEO) for item, _, choice in choices):
        raise ValueError("A choice is 0, 1 or 2; of a battle also 3.")
    state = OutboxState.PENDING if tx is None else OutboxState.FINAL
    about: dict[str, object] = {"choices": [[number, choice] for _, number, choice in choices], "tx": tx}
    ballot = await _enter_signed(
        connection,
        OutboxKind.BALLOT,
        voter_id,
        wallet,
        nonce,
        deadline,
        signature,
        round_id=round_id,
        state=state,
        **about,
    )
    rows = [
        {
            **choice_row(round_id, item, voter_id, choice),
            "kind": OutboxKind.SIGNED,
            "state": state,
            "payload": {"ballot": ballot},
        }
        for item, _, choice in choices
    ]
    await record_votes(connection, rows)
    return ballot


async def _enter_signed(
    connection: AsyncConnection,
    kind: OutboxKind,
    voter_id: str,
    wallet: str,
    nonce: int,
    deadline: int,
    signature: bytes,
    *,
    round_id: int | None = None,
    state: OutboxState = OutboxState.PENDING,
    **about: object,
) -> int:
    signed = {"wallet": wallet, "nonce": nonce, "deadline": deadline, "signature": signature.hex()}
    row = await connection.execute(
        insert(outbox)
        .values(
            kind=kind,
            round_id=round_id,
            voter_id=hex_digits(voter_id, "voter id"),
            payload={**signed, **about},
            state=state,
            created_at_ms=now_ms(),
        )
        .returning(outbox.c.id)
    )
    return int(row.scalar_one())


async def record_close(connection: AsyncConnection, *, round_id: int) -> None:
    """Ask for the end of a round: its votes are drained, it is closed on the ledger, and finalized."""
    await enter_once(connection, OutboxKind.CLOSE, round_id, None, {})


async def enter_once(
    connection: AsyncConnection, kind: OutboxKind, round_id: int, video_id: str | None, payload: dict[str, object]
) -> None:
    """Enter a round, video, battle, reveal or close, unless it is there already."""
    # A video belongs to one round for ever. Its own entries are few; those of its round are all the votes there.
    about = outbox.c.round_id == round_id if video_id is None else outbox.c.video_id == video_id
    earlier = select(outbox.c.id).where(outbox.c.kind == kind, about)
    if (await connection.execute(earlier)).first() is None:
        await connection.execute(
            insert(outbox).values(
                kind=kind,
                round_id=round_id,
                video_id=video_id,
                payload=payload,
                state=OutboxState.PENDING,
                created_at_ms=now_ms(),
            )
        )
