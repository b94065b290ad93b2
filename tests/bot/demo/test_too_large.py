"""Discord takes no file as large as a video: its card is posted with the host's address, and nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.demo.discord.people import Message, wait_for
from bot.domain.videos import Video
from bot.store import videos
from bot.workflows.video import NOWHERE, UNTIL_HOSTED
from tests.builders.stack import SETTLED_S, Trouble, open_trouble

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = "Watch on Livepeer"
ALL = 1_000_000
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trouble]:
    """One house for all of these tests, whose bot waits a second for the host, with an open round."""
    async with open_trouble(tmp_path_factory.mktemp("large") / "state", FLOCK_HOST_PATIENCE_S="1") as trouble:
        await trouble.open_round()
        yield trouble


@pytest_asyncio.fixture(loop_scope="module")
async def trouble(house: Trouble) -> AsyncIterator[Trouble]:
    """In order before a test and after it; the bot has forgotten which sizes were refused."""
    await house.put_in_order()
    yield house
    await house.put_in_order()
    house.house.supervisor.kill("bot")


async def refuse(trouble: Trouble, *, above: int = 1000, code: int = 40005) -> None:
    await trouble.switch(
        "discord", fault="too_large", bytes=above, code=code, method="POST", path="/channels/*/messages", count=ALL
    )


async def asked(trouble: Trouble) -> str:
    """A prompt of ana's; the id of its video."""
    return (await trouble.insist(trouble.ana, "prompt", text=f"a whale number {next(_numbers)}")).interaction_id


async def at_host(trouble: Trouble, video: Video, card: Message) -> None:
    """The card shows the very file that the host has, and takes votes; there is one of it."""
    assert card.attachments == ()
    assert card.media == (video.playback_url,)
    assert (await trouble.community.fetch(card.media[0])).content[4:8] == b"ftyp"
    assert LINK in card.text
    assert "is **up**" in (await trouble.ben.press(card, "Up")).text
    assert sum(video.prompt in text for text in await trouble.cards(str(video.thread_id))) == 1


async def test_a_video_that_is_small_enough_has_its_file_on_its_card(trouble: Trouble) -> None:
    """As always: the limit is there, and this one is below it."""
    await refuse(trouble, above=10_000_000)
    video = await trouble.published(await asked(trouble))
    card = await trouble.card_of(video)
    assert len(card.attachments) == 1
    assert "Discord refused a file" not in trouble.log("bot")


@pytest.mark.parametrize("code", [40005, 50045, 0], ids=["as Discord says", "by the file", "by a proxy's page"])
async def test_a_file_that_is_refused_gives_a_card_with_the_hosts_address(trouble: Trouble, code: int) -> None:
    """Whoever refuses it, in whatever words; the next one, as large, is not even tried."""
    await refuse(trouble, code=code)
    before = trouble.log("bot").count("Discord refused a file")
    for _ in range(2):
        video = await trouble.published(await asked(trouble))
        await at_host(trouble, video, await trouble.card_of(video))
    assert trouble.log("bot").count("Discord refused a file") > before
    assert "unforeseen" not in trouble.log("bot")


async def test_while_its_host_does_not_play_it_a_video_waits(trouble: Trouble) -> None:
    """It is neither posted without a picture nor failed; the member reads why, and the host's address follows."""
    await trouble.switch("host", fault="stick", phase="processing")
    await refuse(trouble)
    video_id = await asked(trouble)

    async def waits() -> bool | None:
        video = await videos.get(trouble.database, video_id)
        assert video.status not in {"failed", "published"}, video
        return True if (video.status, video.reason) == ("posting", UNTIL_HOSTED) else None

    await wait_for("the video to wait for its host", waits, seconds=SETTLED_S)
    trouble.house.supervisor.kill("bot")  # the wait outlives it
    await trouble.switch("host", off=True)
    video = await trouble.published(video_id)
    await at_host(trouble, video, await trouble.card_of(video))
    assert video.reason is None


async def test_a_video_that_neither_takes_fails_with_the_cause(trouble: Trouble) -> None:
    """Nothing plays it anywhere: that is said, and nothing else."""
    await trouble.switch("host", fault="fail", message="the encoder is on fire", count=3)
    await refuse(trouble)
    video_id = await asked(trouble)

    async def failed() -> Video | None:
        video = await videos.get(trouble.database, video_id)
        assert video.status != "published"
        return video if video.status == "failed" else None

    video = await wait_for("the video to fail", failed, seconds=SETTLED_S)
    assert video.reason == NOWHERE
