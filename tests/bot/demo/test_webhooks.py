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
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "the-shared-secret-of-these-tests"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Scenario, str]]:
    """A bot that asks its host every ten minutes only, and where it takes webhooks."""
    port = free_port()
    settings = {
        "FLOCK_HOST_POLL_S": "600",
        "FLOCK_HOST_PATIENCE_S": "3600",
        "FLOCK_WEBHOOK_PORT": str(port),
        "FLOCK_WEBHOOK_SECRET": SECRET,
    }
    async with open_scenario(tmp_path_factory.mktemp("webhooks") / "state", **settings) as scenario:
        await scenario.open_round()
        yield scenario, f"http://127.0.0.1:{port}{PATH}"


async def test_a_webhook_has_a_video_posted_at_once(stack: tuple[Scenario, str]) -> None:
    """With its link: the host was asked again, long before its turn."""
    scenario, url = stack
    keyed = {"Authorization": f"Bearer {scenario.stack.keys.host_key}"}
    async with httpx.AsyncClient() as client:
        unsigned = await client.post(url, json={"id": "1"})
        assert unsigned.status_code == 401
        hook = {"name": "flock", "url": url, "events": ["asset.ready", "asset.failed"], "sharedSecret": SECRET}
        made = await client.post(f"{scenario.stack.host_url}/api/webhook", json=hook, headers=keyed)
        assert made.status_code == 200
    await scenario.switch("host", fault="stick", phase="processing", seconds=3.0)  # it is asked once, in vain
    asked = await scenario.insist(scenario.ana, "prompt", text="a kite in a gale")
    video = await scenario.wait_for_video(asked.interaction_id)
    assert "Watch on Livepeer" in (await scenario.card_of(video)).text
    assert SECRET not in scenario.log("bot")


async def test_a_port_that_is_taken_is_told(stack: tuple[Scenario, str]) -> None:
    """The bot does not start half: its last words name the setting."""
    scenario, url = stack
    port = url.split(":")[2].partition("/")[0]
    second = "second-bot"
    env = {**scenario.stack.bot_env, "FLOCK_WEBHOOK_PORT": port, "FLOCK_METRICS_PORT": "0"}
    await scenario.stack.supervisor.start(second, [sys.executable, "-m", "bot", "run", "--watch-stdin"], env)

    async def told() -> bool | None:
        return True if "FLOCK_WEBHOOK_PORT" in scenario.log(second) else None

    await wait_for("its last words", told, seconds=SETTLED_S)
    await scenario.stack.supervisor.forget(second)
