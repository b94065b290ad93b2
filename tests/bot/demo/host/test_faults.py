"""Faults of the embedded host, switched on and off while it runs, and the real client and uploader in front of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.host import EmbeddedHost, HostConfig
from generation.hosting import tus
from generation.hosting.host import AssetFailed, HostBusy, HostUnreachable, NotReady, Polling
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import Patience

TOKEN = "who may break the host"


@pytest.fixture
async def host(tmp_path: Path, key: str) -> AsyncIterator[EmbeddedHost]:
    """A host with a control route."""
    config = HostConfig(haste=200.0)
    async with EmbeddedHost(tmp_path / "host", key, config=config, control_token=TOKEN) as opened:
        yield opened


@pytest.fixture
def control(host: EmbeddedHost, http: httpx.AsyncClient) -> Callable[..., Awaitable[tuple[int, Any]]]:
    """One request to the control route: GET, or POST where something is wanted."""

    async def ask(token: str = TOKEN, **wanted: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        method = "POST" if wanted else "GET"
        answer = await http.request(method, f"{host.public_url}/control/faults", headers=headers, json=wanted or None)
        return answer.status_code, answer.json()

    return ask


Control = Callable[..., Awaitable[tuple[int, Any]]]


async def publish(livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, **more: Any) -> str:
    """Uploads a video as the worker does; gives the asset's id."""

    async def ignore(_: str) -> None:
        return None

    ticket = await livepeer.request_upload(video.name, creator="discord:1")
    await tus.upload(ticket.tus_endpoint, video, client=http, on_url=ignore, **more)
    return ticket.asset_id


# ------------------------------------------------------------------ the switch


async def test_who_may_switch(host: EmbeddedHost, control: Control, key: str) -> None:
    """The control route wants its own token: not the host's key, and not nothing."""
    for token in ("?", "guessed", key):
        assert await control(token, fault="cut") == (401, {"error": "Wrong or missing token."})
    assert await control() == (200, {"faults": [], "done": {}})


async def test_no_route_without_a_token(tmp_path: Path, key: str, http: httpx.AsyncClient) -> None:
    """A host that was given no token has no such route, as Livepeer has none."""
    async with EmbeddedHost(tmp_path / "plain", key) as plain:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert (await http.get(f"{plain.public_url}/control/faults", headers=headers)).status_code == 404
        assert (await http.post(f"{plain.public_url}/control/faults", json={"fault": "cut"})).status_code == 404


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"fault": "flood"}, "does not match any of the expected tags"),
        ({"fault": "stick", "phase": "ready"}, "phase: Input should be 'uploading', 'waiting' or 'processing'"),
        ({"fault": "stick", "seconds": 0}, "seconds: Input should be greater than 0"),
        ({"fault": "fail", "message": 5}, "message: Input should be a valid string"),
        ({"fault": "error", "status": 404}, "status: Input should be 429, 500, 502 or 503"),
        ({"fault": "cut_upload", "bytes": 0}, "bytes: Input should be greater than or equal to 1"),
        ({"off": 7}, "There is no fault with that id"),
    ],
)
async def test_what_cannot_be_read_is_a_sentence(control: Control, wanted: dict[str, Any], words: str) -> None:
    """A fault that there is not is refused with a sentence, and changes nothing."""
    status, told = await control(**wanted)
    assert (status, words in told["error"]) == (400, True), told
    assert (await control())[1]["faults"] == []


def test_the_process_takes_its_token_from_the_environment(tmp_path: Path) -> None:
    """`python -m bot.demo.host` has the route where FLOCK_DEMO_CONTROL_TOKEN is set, else not."""
    for token, expected in ((TOKEN, 200), ("", 404)):
        env = {**os.environ, "FLOCK_DEMO_LIVEPEER_KEY": "a-key", "FLOCK_DEMO_CONTROL_TOKEN": token}
        command = [sys.executable, "-m", "bot.demo.host", "--state", str(tmp_path / f"host{expected}")]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            headers = {"Authorization": f"Bearer {TOKEN}"}
            answer = httpx.get(f"http://127.0.0.1:{port}/control/faults", headers=headers, verify=False)  # noqa: S501
            assert answer.status_code == expected
            process.terminate()


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"fault": "error", "status": 503}, HostUnreachable),
        ({"fault": "error", "status": 429}, HostBusy),
        ({"fault": "cut"}, HostUnreachable),
    ],
)
async def test_the_client_reads_again(
    livepeer: LivepeerHost, control: Control, wanted: dict[str, Any], error: type[Exception]
) -> None:
    """Reads are repeated through a few faults; through too many, the error says that it passes."""
    asset = (await livepeer.request_upload("a.mp4", creator="discord:1")).asset_id
    await control(**wanted, method="GET", path="/api/asset/*", count=2 if error is HostUnreachable else 1)
    assert (await livepeer.asset(asset)).phase == "uploading"
    await control(off=True)
    await control(**wanted, method="GET", path="/api/asset/*", count=50)
    with pytest.raises(error):
        await livepeer.asset(asset)
    await control(off=True)
    assert (await livepeer.asset(asset)).phase == "uploading"


@pytest.mark.parametrize("fault", ["error", "cut"])
async def test_an_asset_that_was_made_and_not_told_of_is_found(
    livepeer: LivepeerHost, control: Control, fault: str
) -> None:
    """An answer that is lost after the effect leaves an asset, found by its name; lost before, there is none."""
    path = "/api/asset/request-upload"
    await control(fault=fault, path=path)
    with pytest.raises(HostUnreachable):
        await livepeer.request_upload("before.mp4", creator="discord:1")
    assert await livepeer.find_asset("before.mp4") is None
    await control(fault=fault, path=path, after=True)
    with pytest.raises(HostUnreachable):
        await livepeer.request_upload("after.mp4", creator="discord:1")
    found = await livepeer.find_asset("after.mp4")
    assert found is not None
    assert found.phase == "uploading"


async def test_a_slow_answer_is_waited_for(livepeer: LivepeerHost, control: Control) -> None:
    """Slow is not wrong: the answer comes, and the fault is counted."""
    for after in (False, True):
        await control(fault="slow", path="/api/asset", seconds=0.2, after=after)
        assert await livepeer.find_asset("nothing.mp4") is None
    assert (await control())[1]["done"] == {"slow": 2}


# ------------------------------------------------------------------ uploads and phases


async def test_an_upload_cut_in_the_middle_goes_on(
    livepeer: LivepeerHost, http: httpx.AsyncClient, control: Control, big_video: Path, quick: Patience
) -> None:
    """Cut twice, the upload is resumed where it was, and the host has the very file."""
    await control(fault="cut_upload", bytes=400_000, count=2)
    asset = await publish(livepeer, http, big_video, patience=quick)
    assert (await livepeer.wait_until_playable(asset)).mp4_url
    assert (await livepeer.asset(asset)).size_bytes == big_video.stat().st_size
    assert (await control())[1]["done"] == {"cut_upload": 2}


@pytest.mark.parametrize("phase", ["uploading", "waiting", "processing"])
async def test_a_phase_that_sticks(
    livepeer: LivepeerHost,
    http: httpx.AsyncClient,
    control: Control,
    video: Path,
    until: Callable[..., Awaitable[Any]],
    phase: str,
) -> None:
    """The asset stays where it is until it is released, and then becomes playable; another one passes by."""
    _, told = await control(fault="stick", phase=phase)
    asset = await publish(livepeer, http, video)

    async def held() -> bool:
        return bool((await control())[1]["faults"][0]["holding"])

    await until(held)
    short = Polling(first_s=0.02, longest_s=0.05, deadline_s=0.3, mp4_every_s=0.05, mp4_grace_s=3, missing_grace_s=3)
    with pytest.raises(NotReady, match=f"still {phase}"):
        await livepeer.wait_until_playable(asset, polling=short)
    other = await publish(livepeer, http, video)
    await livepeer.wait_until_playable(other)
    await control(off=told["id"])
    await livepeer.wait_until_playable(asset)


async def test_a_phase_that_sticks_for_a_while(
    livepeer: LivepeerHost, http: httpx.AsyncClient, control: Control, video: Path
) -> None:
    """After its seconds the asset goes on by itself."""
    await control(fault="stick", phase="waiting", seconds=0.3)
    await livepeer.wait_until_playable(await publish(livepeer, http, video))
    assert (await control())[1]["done"] == {"stick": 1}


async def test_a_video_that_fails(
    livepeer: LivepeerHost, http: httpx.AsyncClient, control: Control, video: Path
) -> None:
    """Processing fails with the message, once; the next video is made."""
    await control(fault="fail", message="the encoder is on fire")
    with pytest.raises(AssetFailed, match="the encoder is on fire"):
        await livepeer.wait_until_playable(await publish(livepeer, http, video))
    await livepeer.wait_until_playable(await publish(livepeer, http, video))


async def test_a_host_that_ends_while_assets_stick(tmp_path: Path, key: str, video: Path, tls: Any) -> None:
    """Closing does not wait for what sticks, and what waited is taken up by the next start."""
    config = HostConfig(haste=200.0)
    async with httpx.AsyncClient(verify=tls) as http:
        async with EmbeddedHost(tmp_path / "host", key, config=config, control_token=TOKEN) as host:
            host.faults.on_demand.rules.add({"fault": "stick", "phase": "waiting"})
            first = LivepeerHost(host.api_base, key, host.watch_page, http, retry_s=0.01)
            asset = await publish(first, http, video)
            while not host.faults.on_demand.rules.look()["faults"][0]["holding"]:
                await asyncio.sleep(0.02)
        async with EmbeddedHost(tmp_path / "host", key, config=config) as host:
            second = LivepeerHost(host.api_base, key, host.watch_page, http, retry_s=0.01)
            assert (await second.wait_until_playable(asset)).mp4_url
