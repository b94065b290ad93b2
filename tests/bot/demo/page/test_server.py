"""The page's server as a browser meets it: its borders, and what a member may ask and hear."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from bot.demo.page.server import STATIC, Page
from tests.bot.demo.discord.town import CONTROL_TOKEN, Process, Town

TOKEN = "the-visitors'"
ANYWHERE = "0.0.0.0"  # noqa: S104  # a container's page listens there, behind a token


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("page") / "state")
    try:
        process.start_server()
        process.start_bot()
        yield process
    finally:
        process.stop()


async def nothing_behind() -> dict[str, Any]:
    return {"processes": {"bot": {"running": True, "restarts": 0}}}


@pytest.fixture
async def page(process: Process) -> AsyncIterator[Page]:
    page = Page(TOKEN, nothing_behind)
    await page.start()
    page.show_discord(process.url, CONTROL_TOKEN)
    try:
        yield page
    finally:
        await page.close()


@pytest.fixture
async def browser(page: Page) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{page.port}", headers=headers) as session:
        yield session


@pytest.fixture
async def town(process: Process) -> AsyncIterator[Town]:
    async with process.community() as community:
        town = Town(process, community)
        await town.until_online()
        yield town


async def test_the_page_and_its_files(browser: aiohttp.ClientSession) -> None:
    """All files that the page names are there, and no script but these may run in it."""
    async with browser.get("/") as answer:
        html = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "unsafe-inline" not in policy
    for name in ("/style.css", "/main.js", "/icon.svg"):
        assert name in html
        async with browser.get(name) as answer:
            assert answer.status == 200
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for address in ("/channels/1/2", "/channels/1/2/3"):  # of a channel, and of a message
        async with browser.get(address) as answer:
            assert (answer.status, await answer.text()) == (200, html)
    for wrong in ("/channels/1", "/channels/1/..", "/nothing.js", "/..%2fserver.py", "/server.py"):
        async with browser.get(wrong) as answer:
            assert answer.status == 404


async def test_only_the_link_opens_it(page: Page) -> None:
    """Without the token, under another name, or from another site's page, nothing is told or done."""
    base = f"http://127.0.0.1:{page.port}"
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert page.link == f"{base}/#{TOKEN}"
    async with aiohttp.ClientSession() as session:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Bearer {CONTROL_TOKEN}"}, 401),
            ({**right, "Host": "evil.example"}, 403),
            ({**right, "Origin": "https://evil.example"}, 403),
            ({**right, "Origin": base}, 200),
            (right, 200),
        ):
            async with session.get(f"{base}/api/world", headers=headers) as answer:
                assert answer.status == status, headers
        async with session.ws_connect(f"{base}/api/events") as ws:
            await ws.send_json({"token": "wrong", "member": "ana"})
            assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
            assert ws.close_code == 4001


async def test_what_a_members_client_cannot_do(browser: aiohttp.ClientSession, town: Town) -> None:
    """Forged clicks and the control plane's other powers are not for browsers; broken requests get a sentence.

    Nor may a browser evade the limits of a command's options, as a client with an earlier definition of it does.
    """
    world = await town.community.world()
    place = {"member": "ana", "channel_id": world["channels"][0]["id"]}
    forged = {**place, "message_id": "1", "custom_id": "v1:press:1", "forged": True}
    for path, body, status in (
        ("press", forged, 400),
        ("command", {**place, "name": "ping", "options": {"text": "x" * 101}, "outdated": True}, 400),
        ("command", {**place, "name": "ping", "options": {"text": "x" * 101}}, 422),
        ("say", ["not", "an object"], 400),
        ("gateway", {"do": "drop"}, 404),
        ("faults", {}, 404),
        ("command", {**place, "name": "nothing"}, 422),
        ("say", {**place, "member": "nobody", "content": "hello"}, 422),
        ("say", {**place, "content": ""}, 422),
        ("say", {**place, "content": "hello"}, 200),
    ):
        async with browser.post(f"/api/{path}", json=body) as answer:
            told = await answer.json()
            assert answer.status == status, (path, told)
            assert (status == 200) is ("error" not in told)
    async with browser.post("/api/say", data="x" * 70_000) as answer:
        assert answer.status == 413


async def heard(ws: aiohttp.ClientWebSocketResponse, event: str, text: str) -> bool:
    """Return True if a window gets an event before the goodbye message that ends each of these tests."""
    async with asyncio.timeout(60):
        async for message in ws:
            told = json.loads(message.data)
            if told["event"] == event and text in message.data:
                return True
            if told["event"] == "MESSAGE_CREATE" and told["data"].get("content") == "goodbye":
                return False
    raise AssertionError("The window was closed.")


async def window(browser: aiohttp.ClientSession, member: str) -> aiohttp.ClientWebSocketResponse:
    ws = await browser.ws_connect("/api/events")
    await ws.send_json({"token": TOKEN, "member": member})
    first = json.loads((await ws.receive(timeout=60)).data)
    assert first["event"] == "BEHIND"
    await asyncio.sleep(0.3)  # until its line to the embedded Discord stands
    return ws


async def test_a_window_hears_what_its_member_sees(browser: aiohttp.ClientSession, town: Town) -> None:
    """What only ana may see reaches ana's window and nobody else's; what all see reaches all."""
    windows = {name: await window(browser, name) for name in ("ana", "ben")}
    await town.ana.command("secret")
    await town.ana.say("goodbye")
    assert await heard(windows["ana"], "MESSAGE_CREATE", "for you alone")
    assert not await heard(windows["ben"], "MESSAGE_CREATE", "for you alone")
    await town.ana.command("ping")
    assert await heard(windows["ben"], "MESSAGE_CREATE", "pong")
    for ws in windows.values():
        await ws.close()


async def test_a_look_behind(browser: aiohttp.ClientSession) -> None:
    """Whoever watches is told what happens behind; a stranger to the guild is not let in."""
    ws = await window(browser, "ana")
    async with browser.get("/api/behind") as answer:
        assert (await answer.json()) in ({}, await nothing_behind())
    await ws.close()
    ws = await browser.ws_connect("/api/events")
    await ws.send_json({"token": TOKEN, "member": "nobody"})
    async with asyncio.timeout(60):
        async for message in ws:
            assert json.loads(message.data)["event"] == "BEHIND"
    assert ws.close_code == 1013


async def test_before_discord_is_there() -> None:
    """The page is up first: what it cannot show yet is said in a sentence."""
    page = Page(TOKEN, nothing_behind)
    await page.start()
    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{page.port}", headers=headers) as session:
            async with session.get("/api/world") as answer:
                assert answer.status == 503
                assert "starting" in (await answer.json())["error"]
            async with session.get("/") as answer:
                assert answer.status == 200
        other = Page(TOKEN, nothing_behind)
        await other.start(page.port)  # taken: it finds another one
        assert other.port not in {0, page.port}
        await other.close()
    finally:
        await page.close()


async def test_a_page_that_listens_alone_passes_attachments_on(process: Process, town: Town) -> None:
    """Of a machine that shows one port, browsers get the videos too, with ranges and the sandbox of their files."""
    alone, usual = Page(TOKEN, nothing_behind), Page(TOKEN, nothing_behind)
    await alone.start(0, ANYWHERE)
    await usual.start()
    try:
        for page in (alone, usual):
            page.show_discord(process.url, CONTROL_TOKEN)
        posted = json.loads((await town.community.person("ana").command("post", number=7)).text)
        query = {"member": "ana", "channel_id": posted["thread"]}
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            url = f"http://127.0.0.1:{alone.port}/api/messages"
            async with session.get(url, params=query) as answer:
                [clip] = set(re.findall(rf"http://127.0.0.1:{alone.port}(/attachments/[^\"]+)", await answer.text()))
            assert process.url not in await answer.text()
            # 127.0.0.2 stands for the container's outer address
            headers = {"Host": f"127.0.0.1:{alone.port}", "Range": "bytes=4-7"}
            async with session.get(f"http://127.0.0.2:{alone.port}{clip}", headers=headers) as answer:
                assert (answer.status, len(await answer.read())) == (206, 4)
                assert "sandbox" in answer.headers["Content-Security-Policy"]
            async with session.get(f"http://127.0.0.1:{alone.port}/") as answer:
                assert f"media-src 'self' http://127.0.0.1:{alone.port};" in answer.headers["Content-Security-Policy"]
            async with session.get(f"http://127.0.0.1:{usual.port}{clip}") as answer:
                assert answer.status == 404
            async with session.get(f"http://127.0.0.1:{alone.port}{clip}", params={"format": "jpeg"}) as answer:
                through_the_page = answer.status, answer.content_type
            async with session.get(f"{process.url}{clip}", params={"format": "jpeg"}) as answer:
                assert (answer.status, answer.content_type) == through_the_page != (200, "video/mp4")
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://127.0.0.2:{usual.port}/")
        # Whoever has no token gets out of the attachments by no name, and the control plane's token is no help there.
        up = "..%2F..%2F..%2Fcontrol%2F"
        async with aiohttp.ClientSession() as session:
            for way in ("../../control/world", f"{up}world", f"{up}messages%3Fchannel_id=5", "%2E%2E"):
                path = URL(f"http://127.0.0.1:{alone.port}/attachments/1/2/{way}", encoded=True)
                async with session.get(path) as answer:
                    assert answer.status == 404, way
                    assert "guild" not in await answer.text()
        with pytest.raises(OSError, match="in use"):
            await Page(TOKEN, nothing_behind).start(alone.port, ANYWHERE)
    finally:
        await alone.close()
        await usual.close()


def test_the_page_has_no_way_to_read_words_as_html() -> None:
    """Members' words are hostile: the page's files build nodes, never HTML from text."""
    files = list(STATIC.glob("*.js"))
    assert files
    for file in files:
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert word not in file.read_text(), (file, word)
