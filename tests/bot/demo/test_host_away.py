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
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = "Watch on Livepeer"
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenario]:
    """One stack for all of these tests, whose bot waits a second for the host, with an open round."""
    async with open_scenario(
        tmp_path_factory.mktemp("away") / "state", FLOCK_HOST_PATIENCE_S="1", FLOCK_HOST_DEADLINE_S="6"
    ) as scenario:
        await scenario.open_round()
        yield scenario


@pytest_asyncio.fixture(loop_scope="module")
async def scenario(stack: Scenario) -> AsyncIterator[Scenario]:
    """In order before a test and after it."""
    await stack.clear_faults()
    yield stack
    await stack.clear_faults()


async def posted(scenario: Scenario) -> tuple[Video, Message]:
    """A video of ana's, as soon as it is posted, and its card."""
    answer = await scenario.insist(scenario.ana, "prompt", text=f"a ship number {next(_numbers)}")
    video = await scenario.wait_for_video(answer.interaction_id)
    return video, await scenario.card_of(video)


async def linked(scenario: Scenario, video: Video) -> Message:
    """The card, once it has its link."""

    async def so() -> Message | None:
        card = await scenario.card_of(video)
        return card if LINK in card.text else None

    return await wait_for("the link on the card", so, seconds=SETTLED_S)


async def plays(scenario: Scenario, card: Message) -> None:
    [url] = card.attachments
    assert (await scenario.community.fetch(url)).content[4:8] == b"ftyp"


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
async def test_a_video_is_posted_while_its_host_is_away(scenario: Scenario, wanted: dict[str, Any]) -> None:
    """It plays, takes votes, and has no link; when the host is back, the link stands on the same card."""
    await scenario.switch("host", **wanted)
    video, card = await posted(scenario)
    assert LINK not in card.text
    assert "is **up**" in (await scenario.ben.press(card, "Up")).text
    await plays(scenario, card)

    await scenario.clear_faults()
    card = await linked(scenario, video)
    await plays(scenario, card)
    assert "is **down**" in (await scenario.ben.press(card, "Down")).text
    texts = await scenario.cards(str(video.thread_id))
    assert sum(video.prompt in text for text in texts) == 1


@pytest.mark.parametrize("phase", ["uploading", "waiting", "processing"])
async def test_what_is_stuck_at_the_host_is_uploaded_anew(scenario: Scenario, phase: str) -> None:
    """An asset that never moves on is deleted at its deadline; another one brings the link, without anybody's help."""
    await scenario.switch("host", fault="stick", phase=phase, count=1)
    video, card = await posted(scenario)
    assert LINK not in card.text
    stuck = video.asset_id
    await linked(scenario, video)
    now = await videos.known(scenario.database, video.id)
    assert now.asset_id != stuck
    keyed = {"Authorization": f"Bearer {scenario.stack.keys.host_key}"}
    for asset_id, status in ((stuck, 404), (now.asset_id, 200)):
        answer = await scenario.community.fetch(f"{scenario.stack.host_url}/api/asset/{asset_id}", **keyed)
        assert answer.status_code == status


async def test_with_the_host_in_order_the_card_has_its_link_at_once(scenario: Scenario) -> None:
    """The usual way: nothing is edited afterwards."""
    _, card = await posted(scenario)
    assert LINK in card.text
    await plays(scenario, card)


async def test_in_one_data_folder_nothing_is_sent_through_the_database(scenario: Scenario) -> None:
    """The bot finds the files that its worker has rendered; only their uploads are jobs."""
    await posted(scenario)
    query = text("SELECT name, count(*) FROM workflow_status GROUP BY name")
    async with scenario.database.connect() as connection:
        jobs = {row[0]: row[1] for row in await connection.execute(query)}
    assert jobs[UPLOAD_WORKFLOW] > 0
    assert ORIGINAL_WORKFLOW not in jobs
    assert not (scenario.stack.state / "data" / "originals").exists()


async def test_a_host_that_fails_it_for_good_keeps_no_video_from_its_members(scenario: Scenario) -> None:
    """Three assets fail: the video is posted with its own file, and the operator reads why it has no link."""
    await scenario.switch("host", fault="fail", message="the encoder is on fire", count=3)
    video, card = await posted(scenario)
    assert LINK not in card.text
    await plays(scenario, card)

    async def told() -> bool | None:
        return True if "is not hosted: The video host did not take the video" in scenario.log("bot") else None

    await wait_for("word of it in the log", told, seconds=SETTLED_S)
    assert "the encoder is on fire" in scenario.log("bot")
    assert LINK not in (await scenario.card_of(video)).text


async def test_the_link_comes_after_a_restart_of_the_bot(scenario: Scenario) -> None:
    """Killed between card and link, the bot adds the link all the same."""
    await scenario.switch("host", fault="stick", phase="processing")
    video, card = await posted(scenario)
    assert LINK not in card.text
    scenario.stack.supervisor.kill("bot")
    await scenario.clear_faults()
    await linked(scenario, video)
