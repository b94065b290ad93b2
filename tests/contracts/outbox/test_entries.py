"""What the bot writes down: once, whole, with its own transaction, and with pseudonyms only."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.outbox import entries as outbox
from contracts.outbox.progress import drained, receipts, round_progress, voter_receipts
from migrations.schema import outbox as entries

HASH = "ab" * 32
VIDEO = {
    "round_id": 1, "video_id": "v", "key": HASH, "prompt_hash": HASH, "content_hash": HASH, "model_hash": HASH,
    "playback_id": "p",
}  # fmt: skip


async def rows(engine: AsyncEngine) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(entries).order_by(entries.c.id))).all())


async def test_everything_is_entered_once_however_often_it_is_asked(database: AsyncEngine) -> None:
    """A workflow that is run again after a crash enters nothing twice; votes are entered each time they are cast."""
    vote = outbox.vote_row(round_id=1, video_id="v", voter_id=HASH, choice=1, created_at_ms=5)
    for _ in range(2):
        async with database.begin() as connection:
            await outbox.record_round(
                connection, round_id=1, key="0x" + HASH.upper(), opens_ms=1_500, closes_ms=9_100, meta_hash=HASH
            )
            await outbox.record_video(connection, **VIDEO)  # type: ignore[arg-type]  # spelled out above
            await outbox.record_votes(connection, [vote])
            await outbox.record_close(connection, round_id=1)
    found = await rows(database)
    assert [row.kind for row in found] == ["round", "video", "vote", "close", "vote"]
    assert found[0].payload == {"key": HASH, "opens": 1, "closes": 10, "grace": 0, "meta_hash": HASH}
    assert {row.state for row in found} == {"pending"}
    assert not await drained(database, 1)
    assert await drained(database, 2)
    assert await receipts(database, "v") == []
    waiting = await voter_receipts(database, 1, HASH)
    assert [(video, receipt.state, receipt.tx) for video, receipt in waiting.items()] == [("v", "pending", None)]
    assert await voter_receipts(database, 1, "cd" * 32) == await voter_receipts(database, 2, HASH) == {}
    with pytest.raises(LookupError):
        await round_progress(database, 1)


async def test_what_the_bot_takes_back_was_never_entered(store: AsyncEngine) -> None:
    """The entries live and die with the bot's own transaction."""
    with pytest.raises(RuntimeError):
        async with store.begin() as connection:
            await outbox.record_close(connection, round_id=1)
            raise RuntimeError
    assert await rows(store) == []


@pytest.mark.parametrize(
    "change",
    [{"key": "ab"}, {"prompt_hash": "x" * 64}, {"content_hash": HASH + "00"}, {"playback_id": "é" * 65}],
)
async def test_what_the_ledger_could_not_take_is_refused_at_once(store: AsyncEngine, change: dict[str, Any]) -> None:
    """The bot hears of it in its own transaction, not the relayer later."""
    with pytest.raises(ValueError, match=r"64 hex digits|128 bytes"):
        async with store.begin() as connection:
            await outbox.record_video(connection, **{**VIDEO, **change})  # type: ignore[arg-type]  # spelled out above
    assert await rows(store) == []


async def test_a_round_without_time_and_a_choice_that_is_none_are_refused(store: AsyncEngine) -> None:
    """Neither reaches the outbox."""
    with pytest.raises(ValueError, match="close after it opens"):
        async with store.begin() as connection:
            await outbox.record_round(connection, round_id=1, key=HASH, opens_ms=5_000, closes_ms=5_900, meta_hash=HASH)
    with pytest.raises(ValueError, match="0, 1 or 2"):
        outbox.vote_rows([(1, "v", HASH, 3)])


def test_a_voter_id_hides_the_member_and_differs_by_guild_and_pepper() -> None:
    """It is HMAC-SHA256: stable under one pepper, unrelated across guilds and peppers."""
    pepper = b"p" * 32
    made = outbox.voter_id(pepper, 1, 2)
    message = b"flock voter 1" + bytes(7) + b"\x01" + bytes(7) + b"\x02"
    assert made == hmac.new(pepper, message, hashlib.sha256).hexdigest() == outbox.voter_id(pepper, 1, 2)
    others = {outbox.voter_id(pepper, 2, 2), outbox.voter_id(pepper, 1, 3), outbox.voter_id(b"q" * 32, 1, 2)}
    assert made not in others
    assert len(others) == 3
    with pytest.raises(ValueError, match="at least 16 bytes"):
        outbox.voter_id(b"short", 1, 2)


@pytest.mark.parametrize("text", ["", "a cat", "🐦 مرحبا \u200b", "\ud800"])
def test_any_text_has_a_hash(text: str) -> None:
    """Emoji, right-to-left, zero-width and broken surrogates included."""
    assert len(outbox.text_hash(text)) == 64
    assert outbox.text_hash("a cat") == hashlib.sha256(b"a cat").hexdigest()
