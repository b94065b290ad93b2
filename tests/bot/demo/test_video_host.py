"""The video host is away, slow, or refuses; Discord takes no large files; webhooks. No video is lost, links follow.

One stack serves all of these tests; where they need other settings, the bot alone is started again.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from bot.demo.discord.people import Message, wait_for
from bot.domain.videos import Video
from bot.store import videos
from bot.workflows.video import NOWHERE, UNTIL_HOSTED
from generation.hosting.webhooks import PATH
from generation.jobs import ORIGINAL_WORKFLOW, UPLOAD_WORKFLOW
from tests.bot.conftest import free_port
from tests.builders.stack import SETTLED_S, Scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"FLOCK_HOST_PATIENCE_S": "1", "FLOCK_HOST_DEADLINE_S": "6"}
LINK = "Watch on Livepeer"
STARTED = "Members sign at"  # a bot logs this once
SECRET = "the-shared-secret-of-these-tests"
ALL = 1_000_000
_numbers = itertools.count(1)


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
    now = await videos.get(scenario.database, video.id)
    assert now.asset_id != stuck
    keyed = {"Authorization": f"Bearer {scenario.stack.keys.host_key}"}
    for asset_id, status in ((stuck, 404), (now.asset_id, 200)):
        answer = await scenario.community.fetch(f"{scenario.stack.host_url}/api/asset/{asset_id}", **keyed)
        assert answer.status_code == status


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
        return True if "is not hosted: The video host rejected the video" in scenario.log("bot") else None

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


# --------------------------------------------------------------------------- Discord takes no large files


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot_without_deadline(shared_scenario: Scenario) -> None:
    """A bot that leaves what is stuck at the host where it is: these tests last longer than the deadline above."""
    await shared_scenario.restart_bot(FLOCK_HOST_DEADLINE_S="3600")


@pytest_asyncio.fixture(loop_scope="module")
async def forgetful(scenario: Scenario, bot_without_deadline: None) -> Scenario:
    """The stack, whose bot knows of no size that was refused: it is killed where it has logged one since its start."""
    starts = scenario.log("bot").rpartition(STARTED)
    assert starts[1]
    if "Discord refused a file" in starts[2]:
        scenario.stack.supervisor.kill("bot")
    return scenario


async def refuse(scenario: Scenario, *, above: int = 1000, code: int = 40005) -> None:
    await scenario.switch(
        "discord", fault="too_large", bytes=above, code=code, method="POST", path="/channels/*/messages", count=ALL
    )


async def asked(scenario: Scenario) -> str:
    """A prompt of ana's; the id of its video."""
    return (await scenario.insist(scenario.ana, "prompt", text=f"a whale number {next(_numbers)}")).interaction_id


async def at_host(scenario: Scenario, video: Video, card: Message) -> None:
    """The card shows the very file that the host has, and takes votes; there is one of it."""
    assert card.attachments == ()
    assert card.media == (video.playback_url,)
    assert (await scenario.community.fetch(card.media[0])).content[4:8] == b"ftyp"
    assert LINK in card.text
    assert "is **up**" in (await scenario.ben.press(card, "Up")).text
    assert sum(video.prompt in text for text in await scenario.cards(str(video.thread_id))) == 1


async def test_a_video_that_is_small_enough_has_its_file_on_its_card(forgetful: Scenario) -> None:
    """As always: the limit is there, and this one is below it."""
    scenario = forgetful
    await refuse(scenario, above=10_000_000)
    video = await scenario.wait_for_video(await asked(scenario))
    card = await scenario.card_of(video)
    assert len(card.attachments) == 1
    assert "Discord refused a file" not in scenario.log("bot")


@pytest.mark.parametrize("code", [40005, 50045, 0], ids=["as Discord says", "by the file", "by a proxy's page"])
async def test_a_file_that_is_refused_gives_a_card_with_the_hosts_address(forgetful: Scenario, code: int) -> None:
    """Whoever refuses it, in whatever words; the next one, as large, is not even tried."""
    scenario = forgetful
    await refuse(scenario, code=code)
    logged = len(scenario.log("bot"))
    for _ in range(2):
        video = await scenario.wait_for_video(await asked(scenario))
        await at_host(scenario, video, await scenario.card_of(video))
    assert "Discord refused a file" in scenario.log("bot")[logged:]
    assert "unforeseen" not in scenario.log("bot")[logged:]


async def test_while_its_host_does_not_play_it_a_video_waits(forgetful: Scenario) -> None:
    """It is neither posted without a picture nor failed; the member reads why, and the host's address follows."""
    scenario = forgetful
    await scenario.switch("host", fault="stick", phase="processing")
    await refuse(scenario)
    video_id = await asked(scenario)

    async def waits() -> bool | None:
        video = await videos.get(scenario.database, video_id)
        assert video.status not in {"failed", "published"}, video
        return True if (video.status, video.reason) == ("posting", UNTIL_HOSTED) else None

    await wait_for("the video to wait for its host", waits, seconds=SETTLED_S)
    scenario.stack.supervisor.kill("bot")  # the wait outlives it
    await scenario.switch("host", off=True)
    video = await scenario.wait_for_video(video_id)
    await at_host(scenario, video, await scenario.card_of(video))
    assert video.reason is None


async def test_a_video_that_neither_takes_fails_with_the_cause(forgetful: Scenario) -> None:
    """Nothing plays it anywhere: that is said, and nothing else."""
    scenario = forgetful
    await scenario.switch("host", fault="fail", message="the encoder is on fire", count=3)
    await refuse(scenario)
    video_id = await asked(scenario)

    async def failed() -> Video | None:
        video = await videos.get(scenario.database, video_id)
        assert video.status != "published"
        return video if video.status == "failed" else None

    video = await wait_for("the video to fail", failed, seconds=SETTLED_S)
    assert video.reason == NOWHERE


# --------------------------------------------------------------------------- Livepeer's webhooks


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def webhook_url(shared_scenario: Scenario) -> str:
    """A bot that asks its host every ten minutes only; the address at which it takes webhooks."""
    port = free_port()
    await shared_scenario.restart_bot(
        FLOCK_HOST_POLL_S="600",
        FLOCK_HOST_PATIENCE_S="3600",
        FLOCK_WEBHOOK_PORT=str(port),
        FLOCK_WEBHOOK_SECRET=SECRET,
    )
    return f"http://127.0.0.1:{port}{PATH}"


async def test_a_webhook_has_a_video_posted_at_once(scenario: Scenario, webhook_url: str) -> None:
    """With its link: the host was asked again, long before its turn."""
    keyed = {"Authorization": f"Bearer {scenario.stack.keys.host_key}"}
    async with httpx.AsyncClient() as client:
        unsigned = await client.post(webhook_url, json={"id": "1"})
        assert unsigned.status_code == 401
        hook = {"name": "flock", "url": webhook_url, "events": ["asset.ready", "asset.failed"], "sharedSecret": SECRET}
        made = await client.post(f"{scenario.stack.host_url}/api/webhook", json=hook, headers=keyed)
        assert made.status_code == 200
    await scenario.switch("host", fault="stick", phase="processing", seconds=3.0)  # it is asked once, in vain
    asked = await scenario.insist(scenario.ana, "prompt", text="a kite in a gale")
    video = await scenario.wait_for_video(asked.interaction_id)
    assert "Watch on Livepeer" in (await scenario.card_of(video)).text
    assert SECRET not in scenario.log("bot")


async def test_a_port_that_is_taken_is_told(scenario: Scenario, webhook_url: str) -> None:
    """The bot does not start half: its last words name the setting."""
    port = webhook_url.split(":")[2].partition("/")[0]
    second = "second-bot"
    env = {**scenario.stack.bot_env, "FLOCK_WEBHOOK_PORT": port, "FLOCK_METRICS_PORT": "0"}
    await scenario.stack.supervisor.start(second, [sys.executable, "-m", "bot", "run", "--watch-stdin"], env)

    async def told() -> bool | None:
        return True if "FLOCK_WEBHOOK_PORT" in scenario.log(second) else None

    await wait_for("its last words", told, seconds=SETTLED_S)
    await scenario.stack.supervisor.forget(second)
