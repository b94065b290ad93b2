"""The whole bot with an S3-compatible store in place of Livepeer: posted, watched, looked at by the doctor, removed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from bot.demo.discord.people import wait_for
from bot.doctor.services import host as look_at_host
from bot.domain.errors import OperatorError
from bot.settings import Settings
from bot.video_hosts import open_host
from generation.hosting.host import HostRejected
from tests.builders.seaweed import ACCESS, BUCKET, SECRET, Seaweed
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")


def settings_of(store: Seaweed) -> dict[str, str]:
    return {
        "FLOCK_VIDEO_HOST": "s3",
        "FLOCK_S3_ENDPOINT": store.endpoint,
        "FLOCK_S3_BUCKET": BUCKET,
        "FLOCK_S3_ACCESS_KEY": ACCESS,
        "FLOCK_S3_SECRET_KEY": SECRET,
        "FLOCK_S3_PUBLIC_URL": f"{store.endpoint}/{BUCKET}/{{key}}",
        "FLOCK_HOST_PATIENCE_S": "3600",
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    store = Seaweed(tmp_path_factory.mktemp("seaweed"))
    store.start()
    try:
        yield store
    finally:
        store.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_scenario(store: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenario]:
    """A stack whose bot has its videos in the store, and an open round."""
    async with open_scenario(tmp_path_factory.mktemp("s3") / "state", **settings_of(store)) as scenario:
        await scenario.open_round()
        yield scenario


async def test_a_video_is_posted_watched_and_removed(scenario: Scenario, store: Seaweed) -> None:
    """Its card has a link that plays, its mp4 is the very one; after its removal there is nothing."""
    asked = await scenario.insist(scenario.ana, "prompt", text="a harbour at night")
    video = await scenario.wait_for_video(asked.interaction_id)
    card = await scenario.card_of(video)
    assert card.attachments
    mp4 = await scenario.community.fetch(video.playback_url or "")
    assert mp4.status_code == 200
    assert mp4.content == (await scenario.community.fetch(card.attachments[0])).content
    assert str(video.playback_url).startswith(f"{store.endpoint}/{BUCKET}/flock/{video.asset_id}/")
    hls = await scenario.community.fetch(str(video.playback_url).replace("video.mp4", "index.m3u8"))
    assert hls.text.startswith("#EXTM3U")
    assert re.search(r"Watch|Open the video", card.text)
    assert "Livepeer" not in card.text
    assert SECRET not in scenario.log("bot") + scenario.log("worker")

    said = await scenario.mira.command("video remove", video=video.id, reason="No.")
    assert "is being removed" in said.text

    async def gone() -> bool | None:
        return True if (await scenario.community.fetch(video.playback_url or "")).status_code == 404 else None

    await wait_for("its deletion in the store", gone, seconds=SETTLED_S)


async def test_the_doctor_asks_the_store(store: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is right is told so; a wrong secret is refused with what to check."""
    for name, value in settings_of(store).items():
        monkeypatch.setenv(name, value)
    [found] = await look_at_host(Settings())  # type: ignore[call-arg]  # every field has a default
    assert found.ok
    monkeypatch.setenv("FLOCK_S3_SECRET_KEY", "another-secret")
    with pytest.raises(HostRejected, match="SignatureDoesNotMatch"):
        await look_at_host(Settings())  # type: ignore[call-arg]  # as above
    monkeypatch.setenv("FLOCK_S3_PREFIX", "../elsewhere")
    with pytest.raises(OperatorError, match="prefix"):
        open_host(Settings())  # type: ignore[call-arg]  # as above
