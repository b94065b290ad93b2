"""Prompts guessed from the ledger: whoever has words to try and all that is public finds none, removed or not."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import select

from bot.cogs.provenance import Provenance
from bot.domain.errors import VideoUnknownError
from bot.domain.videos import Video
from bot.store import videos
from migrations.schema import outbox
from tests.builders.live_bot import Town, open_town, post_video

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = "a storm"
CARD = {"format": "flock-provenance/1", "prompt": WORDS, "seed": 1, "frames_sha256": "5f" * 32}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with open_town(tmp_path_factory.mktemp("guessed"), answer_s=60.0) as town:
        assert "is open" in (await town.open()).text
        yield town


async def entry_of(town: Town, video: Video) -> dict[str, str]:
    """What is entered for the ledger; all of it but the salt is public."""
    async with town.database.connect() as connection:
        query = select(outbox.c.payload).where(outbox.c.kind == "video", outbox.c.video_id == video.id)
        return dict(await connection.scalar(query) or {})


def guessed(entry: dict[str, str], words: str, keys: list[str]) -> bool:
    """True where these words are found, as they are or under one of the keys."""
    text = words.encode()
    tries = {hashlib.sha256(text).hexdigest()}
    tries |= {hmac.new(bytes.fromhex(key), text, hashlib.sha256).hexdigest() for key in keys}
    return entry["prompt_hash"] in tries


async def test_words_cannot_be_tried_against_the_ledger(town: Town) -> None:
    """Neither plainly nor under anything public, or what a render of the guess gives; under the salt they can."""
    round_ = await town.latest()
    first, second = [await post_video(town, round_, WORDS) for _ in range(2)]
    entries = [await entry_of(town, video) for video in (first, second)]
    assert entries[0]["prompt_hash"] != entries[1]["prompt_hash"]  # nor can two of the same prompt be told to be so
    for entry in entries:
        public = [value for name, value in entry.items() if name in ("key", "content_hash", "model_hash")]
        assert len(public) == 3
        assert not guessed(entry, WORDS, [*public, CARD["frames_sha256"]])  # type: ignore[list-item]  # a hash
        assert guessed(entry, WORDS, [entry["prompt_salt"]])
        assert not guessed(entry, "a calm", [entry["prompt_salt"]])


async def test_the_salt_is_told_while_a_video_is_posted_and_not_once_it_is_removed(town: Town) -> None:
    """A member checks the ledger's hash by the card; after the removal nobody gets the card any more."""
    video = await post_video(town, await town.latest(), WORDS)
    await videos.change(town.database, video.id, provenance=CARD)
    cards = Provenance(database=town.database)
    reply = await cards._provenance(video.guild_id, video.id)  # what the command answers with
    card = json.loads(reply.data)
    assert guessed(await entry_of(town, video), WORDS, [card["prompt_salt"]])
    async with town.database.begin() as connection:
        assert await videos.remove(connection, video.id, "no")
    with pytest.raises(VideoUnknownError):
        await cards._provenance(video.guild_id, video.id)  # as above
