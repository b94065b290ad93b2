"""A hostile video host: it names addresses inside our network, for files, pictures, uploads and redirects.

The host has a public name, as far as the settings say. Whatever it names, the service on loopback beside the bot is
never asked.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.files.attachments import fetch_mp4, plays
from generation.hosting import tus
from generation.hosting.guarded import guarded_client
from generation.hosting.host import HostRejected
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.reach import PUBLIC, Reach

NAME, REBOUND = "host.example", "rebound.example"
MP4 = b"\0\0\0\x18ftypisom" + b"\0" * 100


class Hostile:
    """The host's API and the service inside, in one server; `asked` is what the service inside was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0
        self.named = ""  # the address that the host names

    @property
    def base(self) -> str:
        return f"http://{NAME}:{self.port}"

    @property
    def inside(self) -> list[str]:
        """The service inside, in the ways in which an attacker may write it."""
        names = ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1", REBOUND)
        return [f"http://{name}:{self.port}/inside.mp4" for name in names]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith("/inside"):
            self.asked.append(f"{request.method} {request.host}")
            return web.Response(body=MP4)
        if path == "/api/asset/request-upload":
            body = {"asset": {"id": "a1", "playbackId": "p1", "name": "x"}, "tusEndpoint": self.named}
            return web.json_response(body)
        if path == "/api/playback/p1":
            sources = [("html5/video/mp4", self.named), ("text/vtt", self.named)]
            return web.Response(
                text=json.dumps({"meta": {"source": [{"type": kind, "url": url} for kind, url in sources]}}),
                content_type="application/json",
            )
        if path == "/tus":
            return web.Response(status=201, headers={"Location": self.named, "Tus-Resumable": "1.0.0"})
        status = 307 if path == "/tus-elsewhere" else 302
        return web.Response(status=status, headers={"Location": self.named})


@pytest.fixture
async def hostile(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hostile]:
    """A hostile host whose public name leads to this machine, as in a test it must."""
    host = Hostile()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", host.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host.port = runner.addresses[0][1]
    loop = asyncio.get_running_loop()
    original = loop.getaddrinfo

    async def getaddrinfo(name: Any, port: Any, **options: Any) -> Any:
        if name in {NAME, REBOUND, NAME.encode(), REBOUND.encode()}:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        return await original(name, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    yield host
    await runner.cleanup()


async def test_no_file_inside_is_fetched(hostile: Hostile) -> None:
    """Neither for a card nor for a result: an internal mp4 would have been posted."""
    for url in hostile.inside:
        assert await fetch_mp4(url, 1 << 20, PUBLIC) is None
        assert not await plays(url, PUBLIC)
    assert hostile.asked == []


async def test_the_embedded_hosts_files_are_fetched(hostile: Hostile) -> None:
    """The attack works where the operator's own host is on this machine: then nothing of it is foreign."""
    own = Reach.of(f"http://127.0.0.1:{hostile.port}/api")
    inside = [url for url in hostile.inside if "//2130706433:" not in url]  # nobody writes their own host so
    for url in inside:
        assert await fetch_mp4(url, 1 << 20, own) == MP4
    assert len(hostile.asked) == len(inside)


async def test_no_redirect_leads_inside(hostile: Hostile) -> None:
    """The host's own address is asked, and what it sends us to is not."""
    own = Reach(hosts=frozenset({NAME}))
    for url in hostile.inside:
        hostile.named = url
        assert await fetch_mp4(f"{hostile.base}/moved", 1 << 20, own) is None
    assert hostile.asked == []


async def test_no_upload_is_begun_inside(hostile: Hostile) -> None:
    """An endpoint that is written as an address inside is refused before any worker learns of it."""
    async with LivepeerHost(f"{hostile.base}/api", "a-key") as host:
        for url in hostile.inside[:4]:
            hostile.named = url
            with pytest.raises(HostRejected, match="not its own"):
                await host.request_upload("x", creator="c")


async def test_no_playback_or_picture_is_taken_from_inside(hostile: Hostile) -> None:
    """The poster's index is fetched by the bot: it too is held to the host's own reach."""
    async with LivepeerHost(f"{hostile.base}/api", "a-key") as host:
        for url in hostile.inside:
            hostile.named = url
            playback = await host.playback("p1")
            assert playback.poster_url is None
            assert playback.mp4_url in (None, hostile.inside[4], hostile.inside[5])  # names: looked at when fetched
    assert hostile.asked == []


@pytest.mark.parametrize("path", ["tus", "tus-elsewhere"])
async def test_no_upload_is_led_inside(hostile: Hostile, path: str, tmp_path: Path) -> None:
    """A worker sends neither a byte nor a question where Location leads, once that is inside or another host's."""
    video = tmp_path / "a.mp4"
    video.write_bytes(MP4)
    stored: list[str] = []

    async def on_url(url: str) -> None:
        stored.append(url)

    for url in hostile.inside:
        hostile.named = url
        async with guarded_client(Reach(hosts=frozenset({NAME}))) as client:
            with pytest.raises(HostRejected):
                await tus.upload(f"{hostile.base}/{path}", video, client=client, on_url=on_url)
    assert hostile.asked == []
