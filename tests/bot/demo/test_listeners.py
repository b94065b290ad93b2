"""The listeners of a bot in a container: with the addresses of compose.yaml they are reached from outside of it."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest
import yaml

from bot.demo.discord.people import wait_for
from generation.hosting.webhooks import PATH
from tests.bot.conftest import free_port
from tests.builders.stack import open_scenario

ROOT = Path(__file__).parents[3]
HOSTS = ("FLOCK_METRICS_HOST", "FLOCK_PAGE_HOST", "FLOCK_WEBHOOK_HOST")
PATHS = {"FLOCK_METRICS_PORT": "/metrics", "FLOCK_PAGE_PORT": "/sign", "FLOCK_WEBHOOK_PORT": PATH}


@pytest.fixture
def outside() -> str:
    """An address of this machine that is not its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            address = str(probe.getsockname()[0])
        except OSError:
            address = socket.gethostbyname(socket.gethostname())
    if address.startswith("127."):
        pytest.skip("This machine has no address but its loopback.")
    return address


@pytest.mark.parametrize("in_container", [True, False])
async def test_metrics_page_and_webhook_are_reached_from_outside(
    tmp_path: Path, outside: str, in_container: bool
) -> None:
    """By compose's settings; by default, on loopback alone."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["bot"]["environment"]
    hosts = {name: str(compose[name]) for name in HOSTS} if in_container else {}
    ports = {name: str(free_port()) for name in PATHS}
    secret = {"FLOCK_WEBHOOK_SECRET": "5ca1ab1e0ddba11f"}
    async with (
        open_scenario(tmp_path / "state", **hosts, **ports, **secret) as scenario,
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
    ):
        await scenario.wait_for_bot()

        async def answers(address: str) -> dict[str, int] | None:
            try:
                urls = {name: f"http://{address}:{ports[name]}{path}" for name, path in PATHS.items()}
                return {name: (await client.get(url)).status_code for name, url in urls.items()}
            except httpx.ConnectError:
                return None

        found = await wait_for("the listeners", lambda: answers("127.0.0.1"), seconds=60)
        assert set(found) == set(PATHS)
        assert found["FLOCK_PAGE_PORT"] == 200
        assert found["FLOCK_WEBHOOK_PORT"] == 405  # it takes deliveries alone
        assert (await answers(outside) is not None) is in_container
        if in_container:
            unsigned = await client.post(f"http://{outside}:{ports['FLOCK_WEBHOOK_PORT']}{PATH}", json={"id": "1"})
            assert unsigned.status_code == 401
            assert "http://0.0.0.0" not in scenario.log("bot").split("Members sign at")[1].splitlines()[0]
