"""The video host is away, slow, or refuses: videos are posted with their own file, and their links come later."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from bot.demo.discord.people import Message, wait_for
from bot.domain.videos import Video
from bot.store import videos
from generation.jobs import ORIGINAL_WORKFLOW, UPLOAD_WORKFLOW
from tests.builders.stack import SETTLED_S, Trouble, open_trouble

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = "Watch on Livepeer"
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trouble]:
    """One house for all of these tests, whose bot waits a second for the host, with an open round."""
    async with open_trouble(
        tmp_path_factory.mktemp("away") / "state", FLOCK_HOST_PATIENCE_S="1", FLOCK_HOST_DEADLINE_S="6"
    ) as trouble:
        await trouble.open_round()
        yield trouble


@pytest_asyncio.fixture(loop_scope="module")
async def trouble(house: Trouble) -> AsyncIterator[Trouble]:
    """In order before a test and after it."""
    await house.put_in_order()
    yield house
    await house.put_in_order()


async def posted(trouble: Trouble) -> tuple[Video, Message]:
    """A video of ana's, as soon as it is posted, and its card."""
    answer = await trouble.insist(trouble.ana, "prompt", text=f"a ship number {next(_numbers)}")
    video = await trouble.published(answer.interaction_id)
    return video, await trouble.card_of(video)


async def linked(trouble: Trouble, video: Video) -> Message:
    """The card, once it has its link."""

    async def so() -> Message | None:
        card = await trouble.card_of(video)
        return card if LINK in card.text else None

    return await wait_for("the link on the card", so, seconds=SETTLED_S)


async def plays(trouble: Trouble, card: Message) -> None:
    [url] = card.attachments
    assert (await trouble.community.fetch(url)).content[4:8] == b"ftyp"


@pytest.mark.parametrize(
    "wanted",
    [
        {"fault": "error", "status": 503, "path": "/api/*", "count": 1_000_000},
        {"fault": "error", "status": 429, "path": "/api/asset/*", "count": 1_000_000},
        {"fault": "stick", "phase": "processing"},
        {"fault": "stick", "phase": "uploading"},
    ],
    ids=["away", "busy", "processing", "uploading"],
)
async def test_a_video_is_posted_while_its_host_is_away(trouble: Trouble, wanted: dict[str, Any]) -> None:
    """It plays, takes votes, and has no link; when the host is back, the link stands on the same card."""
    await trouble.switch("host", **wanted)
    video, card = await posted(trouble)
    assert LINK not in card.text
    assert "is **up**" in (await trouble.ben.press(card, "Up")).text
    await plays(trouble, card)

    await trouble.put_in_order()
    card = await linked(trouble, video)
    await plays(trouble, card)
    assert "is **down**" in (await trouble.ben.press(card, "Down")).text
    texts = await trouble.cards(str(video.thread_id))
    assert sum(video.prompt in text for text in texts) == 1


@pytest.mark.parametrize("phase", ["uploading", "waiting", "processing"])
async def test_what_is_stuck_at_the_host_is_uploaded_anew(trouble: Trouble, phase: str) -> None:
    """An asset that never moves on is deleted at its deadline; another one brings the link, without anybody's help."""
    await trouble.switch("host", fault="stick", phase=phase, count=1)
    video, card = await posted(trouble)
    assert LINK not in card.text
    stuck = video.asset_id
    await linked(trouble, video)
    now = await videos.get(trouble.database, video.id)
    assert now.asset_id != stuck
    keyed = {"Authorization": f"Bearer {trouble.house.keys.host_key}"}
    for asset_id, status in ((stuck, 404), (now.asset_id, 200)):
        answer = await trouble.community.fetch(f"{trouble.house.host_url}/api/asset/{asset_id}", **keyed)
        assert answer.status_code == status


async def test_with_the_host_in_order_the_card_has_its_link_at_once(trouble: Trouble) -> None:
    """The usual way: nothing is edited afterwards."""
    _, card = await posted(trouble)
    assert LINK in card.text
    await plays(trouble, card)


async def test_in_one_data_folder_nothing_is_sent_through_the_database(trouble: Trouble) -> None:
    """The bot finds the files that its worker has rendered; only their uploads are jobs."""
    await posted(trouble)
    query = text("SELECT name, count(*) FROM workflow_status GROUP BY name")
    async with trouble.database.connect() as connection:
        jobs = {row[0]: row[1] for row in await connection.execute(query)}
    assert jobs[UPLOAD_WORKFLOW] > 0
    assert ORIGINAL_WORKFLOW not in jobs
    assert not (trouble.house.state / "data" / "originals").exists()


async def test_a_host_that_fails_it_for_good_keeps_no_video_from_its_members(trouble: Trouble) -> None:
    """Three assets fail: the video is posted with its own file, and the operator reads why it has no link."""
    await trouble.switch("host", fault="fail", message="the encoder is on fire", count=3)
    video, card = await posted(trouble)
    assert LINK not in card.text
    await plays(trouble, card)

    async def told() -> bool | None:
        return True if "is not hosted: The video host did not take the video" in trouble.log("bot") else None

    await wait_for("word of it in the log", told, seconds=SETTLED_S)
    assert "the encoder is on fire" in trouble.log("bot")
    assert LINK not in (await trouble.card_of(video)).text


async def test_the_link_comes_after_a_restart_of_the_bot(trouble: Trouble) -> None:
    """Killed between card and link, the bot adds the link all the same."""
    await trouble.switch("host", fault="stick", phase="processing")
    video, card = await posted(trouble)
    assert LINK not in card.text
    trouble.house.supervisor.kill("bot")
    await trouble.put_in_order()
    await linked(trouble, video)
