"""Livepeer's webhooks at the bot: a video that is hosted is posted at once, and one without them in the end."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from bot.demo.discord.people import wait_for
from generation.hosting.webhooks import PATH
from tests.bot.conftest import free_port
from tests.builders.stack import SETTLED_S, Trouble, open_trouble

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "the-shared-secret-of-these-tests"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Trouble, str]]:
    """A bot that asks its host every ten minutes only, and where it takes webhooks."""
    port = free_port()
    settings = {
        "FLOCK_HOST_POLL_S": "600",
        "FLOCK_HOST_PATIENCE_S": "3600",
        "FLOCK_WEBHOOK_PORT": str(port),
        "FLOCK_WEBHOOK_SECRET": SECRET,
    }
    async with open_trouble(tmp_path_factory.mktemp("webhooks") / "state", **settings) as trouble:
        await trouble.open_round()
        yield trouble, f"http://127.0.0.1:{port}{PATH}"


async def test_a_webhook_has_a_video_posted_at_once(house: tuple[Trouble, str]) -> None:
    """With its link: the host was asked again, long before its turn."""
    trouble, url = house
    keyed = {"Authorization": f"Bearer {trouble.house.keys.host_key}"}
    async with httpx.AsyncClient() as client:
        unsigned = await client.post(url, json={"id": "1"})
        assert unsigned.status_code == 401
        hook = {"name": "flock", "url": url, "events": ["asset.ready", "asset.failed"], "sharedSecret": SECRET}
        made = await client.post(f"{trouble.house.host_url}/api/webhook", json=hook, headers=keyed)
        assert made.status_code == 200
    await trouble.switch("host", fault="stick", phase="processing", seconds=3.0)  # it is asked once, in vain
    asked = await trouble.insist(trouble.ana, "prompt", text="a kite in a gale")
    video = await trouble.published(asked.interaction_id)
    assert "Watch on Livepeer" in (await trouble.card_of(video)).text
    assert SECRET not in trouble.log("bot")


async def test_a_port_that_is_taken_is_told(house: tuple[Trouble, str]) -> None:
    """The bot does not start half: its last words name the setting."""
    trouble, url = house
    port = url.split(":")[2].partition("/")[0]
    second = "second-bot"
    env = {**trouble.house.bot_env, "FLOCK_WEBHOOK_PORT": port, "FLOCK_METRICS_PORT": "0"}
    await trouble.house.supervisor.start(second, [sys.executable, "-m", "bot", "run", "--watch-stdin"], env)

    async def told() -> bool | None:
        return True if "FLOCK_WEBHOOK_PORT" in trouble.log(second) else None

    await wait_for("its last words", told, seconds=SETTLED_S)
    await trouble.house.supervisor.forget(second)
