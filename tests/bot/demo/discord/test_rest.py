"""Files and limits over plain HTTP, without a bot: what a browser and a hurried client get."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import math
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.discord.limits import Limits
from bot.demo.discord.server import DiscordConfig, EmbeddedDiscord
from tests.bot.demo.discord.town import BOT_TOKEN, CONTROL_TOKEN, Process

CLIP = bytes(range(256)) * 40
_numbers = itertools.count()
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the certificates takes longer than a test


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server without a bot."""
    process = Process(tmp_path_factory.mktemp("discord") / "state")
    try:
        process.start_server()
        yield process
    finally:
        process.stop()


class Patient(httpx.AsyncClient):
    """Waits where the bot as a whole is limited: the tests before this one may have been quick."""

    async def request(self, *args: Any, **more: Any) -> httpx.Response:
        while "X-RateLimit-Global" in (answer := await super().request(*args, **more)).headers:
            await asyncio.sleep(answer.json()["retry_after"])
        return answer


@pytest.fixture
async def api(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the REST API with the bot's token."""
    headers = {"Authorization": f"Bot {BOT_TOKEN}"}
    base_url = f"{process.url}/api/v10"
    async with Patient(verify=NO_TLS, base_url=base_url, headers=headers, timeout=30) as client:
        yield client


async def new_channel(process: Process, api: httpx.AsyncClient) -> str:
    """A thread of its own: its buckets are full, whatever other tests have used up."""
    name = ("general", "videos")[next(_numbers) % 2]  # each takes ten threads in ten seconds
    async with process.community() as community:
        message = await community.person("ana").say("a thread, please", in_channel=name)
        path = f"/channels/{await community.channel(name)}/messages/{message}/threads"
    while (made := await api.post(path, json={"name": f"thread {message}"})).status_code == 429:
        await asyncio.sleep(made.json()["retry_after"])
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


async def upload(api: httpx.AsyncClient, channel: str, name: str, data: bytes = CLIP) -> str:
    answer = await api.post(f"/channels/{channel}/messages", files=[("files[0]", (name, data))])
    assert answer.status_code == 200, answer.text
    return str(answer.json()["attachments"][0]["url"])


# ---------------------------------------------------------------------- files


async def test_a_file_comes_back_as_it_was(process: Process, api: httpx.AsyncClient) -> None:
    """An uploaded file is served byte by byte, whole and in ranges, to whoever has its address."""
    url = await upload(api, await new_channel(process, api), "clip.mp4")
    async with httpx.AsyncClient(verify=NO_TLS) as anybody:
        whole = await anybody.get(url)
        assert (whole.status_code, whole.content, whole.headers["Content-Type"]) == (200, CLIP, "video/mp4")
        assert "Content-Disposition" not in whole.headers
        last = await anybody.get(url, headers={"Range": "bytes=-10"})
        assert (last.status_code, last.content) == (206, CLIP[-10:])
        assert (await anybody.get(url, headers={"Range": f"bytes={len(CLIP)}-"})).status_code == 416
        head = await anybody.head(url)
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(CLIP)))
        assert (await anybody.post(url)).status_code == 405


@pytest.mark.parametrize("name", ["page.html", "page.svg", "page.js", "page"])
async def test_a_file_never_runs(process: Process, api: httpx.AsyncClient, name: str) -> None:
    """No uploaded file becomes a page of the server's: it is not sniffed, and what it holds may run nothing."""
    url = await upload(api, await new_channel(process, api), name, b"<script>alert(1)</script>")
    async with httpx.AsyncClient(verify=NO_TLS) as anybody:
        headers = (await anybody.get(url)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "sandbox" in headers["Content-Security-Policy"]
    picture = name.endswith(".svg")
    assert (headers.get("Content-Disposition") == "attachment") is not picture


async def test_tricks_with_names(process: Process, api: httpx.AsyncClient) -> None:
    """A name that leads elsewhere is made harmless when it is uploaded, and found nowhere when it is asked for."""
    channel = await new_channel(process, api)
    url = await upload(api, channel, "../../lock")
    kept, attachment_id = url.rsplit("/", 1)[1], url.rsplit("/", 2)[1]
    assert "/" not in kept
    assert ".." not in kept[:2]
    assert {path.parent.name for path in Path(process.state).rglob(f"*{attachment_id}*")} == {"attachments"}

    def ask(path: str) -> int:  # by http.client, which sends a path as it is given
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    assert ask(url.removeprefix(process.url)) == 200
    folder = f"/attachments/{channel}/{attachment_id}"
    for name in (
        "../../lock",
        "..%2f..%2fworld.json",
        "..%5cworld.json",
        "%2e%2e",
        ".hidden",
        "clip.mp4%00",
        "other.mp4",
    ):
        assert ask(f"{folder}/{name}") in {400, 404}, name
    for number in ("..", "0", "x", f"{attachment_id}9", "%2e%2e%2flock"):
        assert ask(f"/attachments/{channel}/{number}/{kept}") in {400, 404}, number
    assert ask("/attachments/") == 404
    assert ask("/world.json") == 404


# ---------------------------------------------------------------------- what Discord refuses


async def test_posting_again_with_a_nonce(process: Process, api: httpx.AsyncClient) -> None:
    """With enforce_nonce a second post is the first message again; without it, or elsewhere, it is another message."""
    channel = await new_channel(process, api)
    body: dict[str, Any] = {"content": "once", "nonce": "n1", "enforce_nonce": True}
    first, again = [(await api.post(f"/channels/{channel}/messages", json=body)).json() for _ in range(2)]
    assert (again["id"], again["nonce"], again["content"]) == (first["id"], "n1", "once")
    loose = (await api.post(f"/channels/{channel}/messages", json={**body, "enforce_nonce": False})).json()
    other = (await api.post(f"/channels/{channel}/messages", json={**body, "nonce": "n2"})).json()
    there = await new_channel(process, api)
    elsewhere = (await api.post(f"/channels/{there}/messages", json=body)).json()
    assert len({message["id"] for message in (first, loose, other, elsewhere)}) == 4
    deleted = await api.delete(f"/channels/{channel}/messages/{first['id']}")
    assert deleted.status_code == 204
    long = await api.post(f"/channels/{there}/messages", json={**body, "nonce": "n" * 26})
    assert (long.status_code, long.json()["code"]) == (400, 50035)


@pytest.mark.parametrize(("length", "status"), [(0, 400), (1, 200), (100, 200), (101, 400)])
async def test_names_of_threads(process: Process, api: httpx.AsyncClient, length: int, status: int) -> None:
    """A thread's name has between 1 and 100 characters, at its beginning and later."""
    channel = await new_channel(process, api)
    renamed = await api.patch(f"/channels/{channel}", json={"name": "n" * length})
    assert renamed.status_code == status
    if status == 400:
        assert renamed.json()["code"] == 50035
    else:
        assert renamed.json()["name"] == "n" * length


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://example.org/a", 200),
        ("javascript:alert(1)", 400),
        ("JavaScript:alert(1)", 400),
        ("data:text/html,x", 400),
    ],
)
async def test_addresses_in_buttons(process: Process, api: httpx.AsyncClient, url: str, status: int) -> None:
    """A link leads to the web, never to a script."""
    channel = await new_channel(process, api)
    link = {"type": 1, "components": [{"type": 2, "style": 5, "label": "Watch", "url": url}]}
    answer = await api.post(f"/channels/{channel}/messages", json={"content": "x", "components": [link]})
    assert answer.status_code == status
    assert status == 200 or answer.json()["code"] == 50035


async def test_a_file_that_is_no_file(process: Process, api: httpx.AsyncClient) -> None:
    """A file at the limit passes; one byte more is refused with 413 and 40005, and nothing of it stays."""
    channel = await new_channel(process, api)
    await upload(api, channel, "full.bin", b"x" * (10 * 1024 * 1024))
    kept = set((process.state / "attachments").iterdir())
    answer = await api.post(
        f"/channels/{channel}/messages", files=[("files[0]", ("a.bin", b"x" * (10 * 1024 * 1024 + 1)))]
    )
    assert (answer.status_code, answer.json()["code"]) == (413, 40005)
    many = [(f"files[{number}]", (f"{number}.bin", b"x")) for number in range(11)]
    assert (await api.post(f"/channels/{channel}/messages", files=many)).status_code == 400
    assert set((process.state / "attachments").iterdir()) == kept


async def test_what_is_missing_is_loud(process: Process, api: httpx.AsyncClient) -> None:
    """A route that is not there is answered with 501 and named on stderr, and changes nothing."""
    for method, path in (("GET", "/guilds/1/soundboard-sounds-of-tomorrow"), ("POST", "/no/such/route")):
        answer = await api.request(method, path, json={} if method == "POST" else None)
        assert answer.status_code == 501
        assert path.split("/")[-1] in process.log.read_text()
    assert (await api.get("/users/@me")).status_code == 200


# ---------------------------------------------------------------------- limits


async def test_an_address_is_shut_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After too many invalid requests nobody at that address is answered, with or without a token, nor told why."""
    monkeypatch.setattr("bot.demo.discord.server.Limits", lambda **_: Limits(most_invalid=(3, 60.0)))
    server = EmbeddedDiscord(DiscordConfig(tmp_path / "state", BOT_TOKEN, CONTROL_TOKEN))
    await server.start()
    try:
        url = f"http://127.0.0.1:{server.port}/api/v10/users/@me"
        async with httpx.AsyncClient(verify=NO_TLS) as client:
            good: dict[str, Any] = {"headers": {"Authorization": f"Bot {BOT_TOKEN}"}}
            bad: dict[str, Any] = {"headers": [(b"Authorization", b"Bot \xff")]}
            asked = (bad, good, bad, good, bad, good, bad)
            answers = [await client.get(url, **headers) for headers in asked]
        assert [answer.status_code for answer in answers] == [401, 200, 401, 200, 401, 429, 429]
        assert all("Via" in answer.headers for answer in answers[:5])
        assert not any("Via" in answer.headers for answer in answers[5:])  # by which discord.py knows a ban
        assert BOT_TOKEN not in repr(server.config)
    finally:
        await server.close()


async def test_headers_tell_how_much_is_left(process: Process, api: httpx.AsyncClient) -> None:
    """Every answer says how much of its bucket is left; a 429 says how long to wait, and waiting so long helps."""
    channel = await new_channel(process, api)
    message = (await api.post(f"/channels/{channel}/messages", json={"content": "x"})).json()["id"]
    path = f"/channels/{channel}/messages/{message}/reactions/👍/@me"
    answers: list[httpx.Response] = []
    while not answers or answers[-1].status_code != 429:
        answers.append(await api.put(path))
        assert len(answers) < 500
    assert {answer.status_code for answer in answers[:-1]} == {204}
    for answer in answers:
        assert answer.headers["X-RateLimit-Limit"] == "4"
        assert len(answer.headers["X-RateLimit-Bucket"]) == 32
        assert float(answer.headers["X-RateLimit-Reset-After"]) <= 1.001
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers[-5:]] == ["3", "2", "1", "0", "0"]
    refused = answers[-1]
    wait = refused.json()["retry_after"]
    assert 0 < wait <= 1.001
    assert refused.headers["Retry-After"] == str(math.ceil(wait))
    assert refused.headers["X-RateLimit-Scope"] == "user"
    assert refused.json()["global"] is False
    assert refused.headers["Via"]
    await asyncio.sleep(wait)
    assert (await api.put(path)).status_code == 204


async def test_the_bot_as_a_whole_is_limited(process: Process) -> None:
    """Beyond fifty requests a second all is refused but answers to interactions, which nobody counts."""
    headers = {"Authorization": f"Bot {BOT_TOKEN}"}
    async with httpx.AsyncClient(verify=NO_TLS, base_url=f"{process.url}/api/v10", headers=headers) as api:
        answers: list[httpx.Response] = []
        while not any(answer.status_code == 429 for answer in answers):
            answers = await asyncio.gather(*(api.get(f"/users/{number}") for number in range(60)))
        callbacks = await asyncio.gather(
            *(api.post("/interactions/1/x/callback", content=json.dumps({"type": 5})) for _ in range(60))
        )
    for answer in (answer for answer in answers if answer.status_code == 429):
        assert answer.headers["X-RateLimit-Global"] == "true"
        assert answer.headers["X-RateLimit-Scope"] == "global"
        assert answer.json()["global"] is True
        assert 0 < answer.json()["retry_after"] <= 1.001
    assert {answer.status_code for answer in callbacks} == {404}
    assert not any("X-RateLimit-Limit" in answer.headers for answer in callbacks)
