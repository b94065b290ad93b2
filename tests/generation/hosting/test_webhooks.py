"""Webhooks: who may tell us something, what it does, and that nothing depends on it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from bot.demo.host import EmbeddedHost
from generation.hosting.host import Polling
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import upload
from generation.hosting.webhooks import FRESH_MS, MOST_BYTES, PATH, SIGNATURE, NoticeError, Receiver, read_notice, sign

SECRET = "a-shared-secret-of-ours"
NEVER = Polling(first_s=600, longest_s=600, deadline_s=3600, mp4_every_s=0.05, mp4_grace_s=3, missing_grace_s=3)


@asynccontextmanager
async def receiving(receiver: Receiver, host: str, port: int) -> AsyncIterator[int]:
    """Listen within this block, and yield the port. Raises OSError if it is in use."""
    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_post(PATH, receiver.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def delivery(at_ms: int, event_id: str = "e1", event: str = "asset.ready", **more: Any) -> bytes:
    told = {"id": event_id, "webhookId": "w", "createdAt": at_ms, "timestamp": at_ms, "event": event}
    return json.dumps({**told, "payload": {"asset": {"id": "a1", "snapshot": {"name": "n"}}}, **more}).encode()


def test_the_signature_is_that_of_other_programs() -> None:
    """Node's crypto and openssl made this one."""
    body = b'{"id":"e1","timestamp":1700000000000}'
    assert sign(SECRET, body, 1_700_000_000_000) == (
        "t=1700000000000,v1=53380311c1b206db427d2d93e511d67193bbeae91d477febcb48d6b2fe726aad"
    )


def test_a_signed_delivery_is_read() -> None:
    """Its id, its event, and its asset; of another kind of event there is no asset."""
    at = now_ms()
    body = delivery(at)
    notice = read_notice(SECRET, sign(SECRET, body, at), body, now_ms=at + 1000)
    assert (notice.event_id, notice.event, notice.asset_id) == ("e1", "asset.ready", "a1")
    for payload in ({}, None, [], {"asset": "a1"}, {"asset": {"id": "../x"}}, {"asset": {"id": 7}}):
        body = delivery(at, payload=payload)
        assert read_notice(SECRET, sign(SECRET, body, at), body, now_ms=at).asset_id is None


def _refusals() -> dict[str, tuple[str | None, bytes, int]]:
    at = 1_700_000_000_000
    body = delivery(at)
    signed = sign(SECRET, body, at)
    old, early = at - FRESH_MS - 1, at + FRESH_MS + 1
    bare = b'{"id":"e1"}'
    return {
        "unsigned": (None, body, 401),
        "empty": ("", body, 401),
        "no signature": ("v1=" + "0" * 64, body, 400),
        "another secret": (sign("another-secret-of-16", body, at), body, 403),
        "another body": (signed, body.replace(b"a1", b"a2"), 403),
        "another time in the header": (signed.replace(str(at), str(at + 1)), body, 403),
        "old": (sign(SECRET, delivery(old), old), delivery(old), 403),
        "of the future": (sign(SECRET, delivery(early), early), delivery(early), 403),
        "no JSON": (sign(SECRET, b"{", at), b"{", 400),
        "no time": (sign(SECRET, bare, at), bare, 400),
        "a list": (sign(SECRET, b"[]", at), b"[]", 400),
    }


@pytest.mark.parametrize("why", _refusals())
def test_what_is_not_believed(why: str) -> None:
    """Each with the status that tells Livepeer not to send it again."""
    header, body, status = _refusals()[why]
    with pytest.raises(NoticeError) as caught:
        read_notice(SECRET, header, body, now_ms=1_700_000_000_000)
    assert caught.value.status == status
    assert SECRET not in str(caught.value)


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    """At least 16 characters."""
    with pytest.raises(ValueError, match="16"):
        Receiver("short", lambda _: None)


# --------------------------------------------------------------------------- over HTTP


class Ear:
    """A receiver on a port; it fails `failing` times."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.failing = 0
        self.url = ""

    def hear(self, asset_id: str) -> None:
        if self.failing:
            self.failing -= 1
            raise RuntimeError("our own failure")
        self.heard.append(asset_id)


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    listening = Ear()
    async with receiving(Receiver(SECRET, listening.hear), "127.0.0.1", 0) as port:
        listening.url = f"http://127.0.0.1:{port}{PATH}"
        yield listening


async def test_a_delivery_is_answered_fast_and_counts_once(ear: Ear, http: httpx.AsyncClient) -> None:
    """204, again 204 for the same event, and only news that ends a wait is passed on."""
    for event_id, event in (("1", "asset.ready"), ("1", "asset.ready"), ("2", "asset.updated"), ("3", "asset.failed")):
        body = delivery(at := now_ms(), event_id, event)
        answer = await http.post(ear.url, content=body, headers={SIGNATURE: sign(SECRET, body, at)})
        assert (answer.status_code, answer.content) == (204, b"")
    assert ear.heard == ["a1", "a1"]


async def test_a_refusal_passes_nothing_on(ear: Ear, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Unsigned, wrongly signed, too large: 4xx, and a word to the operator without the body."""
    body = delivery(now_ms())
    assert (await http.post(ear.url, content=body)).status_code == 401
    assert (await http.post(ear.url, content=body, headers={SIGNATURE: "t=1,v1=" + "0" * 64})).status_code == 403
    assert (await http.post(ear.url, content=b"x" * 1_000_000)).status_code == 413
    assert (await http.get(ear.url)).status_code == 405
    assert (await http.post(ear.url.replace(PATH, "/"), content=body)).status_code == 404
    assert ear.heard == []
    assert "A webhook was refused: it is not signed." in caplog.text
    assert "a1" not in caplog.text


async def test_our_own_failure_is_a_5xx_and_the_same_event_is_taken_later(ear: Ear, http: httpx.AsyncClient) -> None:
    """Livepeer then sends it again, under the same id: it was not taken yet."""
    ear.failing = 1
    body = delivery(at := now_ms())
    headers = {SIGNATURE: sign(SECRET, body, at)}
    assert (await http.post(ear.url, content=body, headers=headers)).status_code == 500
    assert (await http.post(ear.url, content=body, headers=headers)).status_code == 204
    assert ear.heard == ["a1"]


# --------------------------------------------------------------------------- the embedded host tells


async def told(host: EmbeddedHost, http: httpx.AsyncClient, key: str, url: str, **more: Any) -> httpx.Response:
    wanted = {"name": "flock", "url": url, "events": ["asset.ready", "asset.failed", "asset.deleted"], **more}
    return await http.post(f"{host.api_base}/webhook", json=wanted, headers={"Authorization": f"Bearer {key}"})


async def test_a_webhook_ends_a_wait_that_would_take_minutes(
    host: EmbeddedHost, http: httpx.AsyncClient, key: str, video: Path, ignore_url: Any
) -> None:
    """The client asks every ten minutes; told, it asks at once and finds the video ready, with its mp4."""
    async with (
        LivepeerHost(host.api_base, key, host.watch_page, http, polling=NEVER) as livepeer,
        receiving(Receiver(SECRET, livepeer.nudge), "127.0.0.1", 0) as port,
    ):
        await told(host, http, key, f"http://127.0.0.1:{port}{PATH}", sharedSecret=SECRET)
        ticket = await livepeer.request_upload("a", creator="c")
        waiting = asyncio.create_task(livepeer.wait_until_playable(ticket.asset_id))
        await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
        async with asyncio.timeout(30):
            playback = await waiting
    assert playback.mp4_url


async def test_an_unsigned_webhook_ends_no_wait(
    host: EmbeddedHost, http: httpx.AsyncClient, key: str, video: Path, ignore_url: Any, until: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Livepeer signs nothing where there is no secret: that is refused, once, and polling finds the video."""
    short = replace(NEVER, first_s=1.0)
    async with LivepeerHost(host.api_base, key, host.watch_page, http, polling=short) as livepeer:
        nudges: list[str] = []
        async with receiving(Receiver(SECRET, nudges.append), "127.0.0.1", 0) as port:
            await told(host, http, key, f"http://127.0.0.1:{port}{PATH}")
            ticket = await livepeer.request_upload("a", creator="c")
            await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)

            async def refused() -> bool:
                return "A webhook was refused" in caplog.text

            await until(refused)
            assert (await livepeer.wait_until_playable(ticket.asset_id)).mp4_url
    assert nudges == []
    assert caplog.text.count("A webhook was refused") == 1  # a 4xx is not sent again


@pytest.fixture
async def stranger() -> AsyncIterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """A server that keeps what it is told, and answers as it is asked to: then 204."""
    heard: list[dict[str, Any]] = []
    answers: list[int] = []

    async def take(request: web.Request) -> web.Response:
        heard.append({**await request.json(), "agent": request.headers["User-Agent"]})
        return web.Response(status=answers.pop(0) if answers else 204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", heard, answers
    await runner.cleanup()


async def test_the_embedded_host_delivers_as_livepeer_does(
    host: EmbeddedHost, http: httpx.AsyncClient, key: str, livepeer: LivepeerHost, video: Path, ignore_url: Any,
    until: Any, stranger: tuple[str, list[dict[str, Any]], list[int]],
) -> None:  # fmt: skip
    """In order, with a snapshot and no secret; again under the same id after a 5xx, and not after a 4xx."""
    url, heard, answers = stranger
    answers += [503, 500, 204, 404]
    everything = [f"asset.{event}" for event in ("created", "updated", "ready", "failed", "deleted")]
    hook = (await told(host, http, key, url, sharedSecret=SECRET, events=everything)).json()
    assert SECRET not in json.dumps(hook)
    ticket = await livepeer.request_upload("a", creator="c")
    await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
    await livepeer.wait_until_playable(ticket.asset_id)
    await livepeer.delete(ticket.asset_id)

    async def deleted() -> bool:
        return any(each["event"] == "asset.deleted" for each in heard)

    await until(deleted)
    events = [each["event"] for each in heard]
    assert events[:3] == ["asset.created"] * 3
    assert len({each["id"] for each in heard[:3]}) == 1
    assert len({each["id"] for each in heard}) == len(heard) - 2
    assert events.index("asset.updated") < events.index("asset.ready") < events.index("asset.deleted")
    assert {each["webhookId"] for each in heard} == {hook["id"]}
    assert {each["agent"] for each in heard} == {"livepeer.studio"}
    ready = next(each for each in heard if each["event"] == "asset.ready")
    assert ready["payload"]["asset"]["id"] == ticket.asset_id
    assert ready["payload"]["asset"]["snapshot"]["status"]["phase"] == "ready"


async def test_webhooks_are_kept_and_forgotten(host: EmbeddedHost, http: httpx.AsyncClient, key: str) -> None:
    """Listed without their secret; an address elsewhere, an unknown event and a stranger are refused."""
    keyed = {"Authorization": f"Bearer {key}"}
    made = (await told(host, http, key, "http://127.0.0.1:1/x", sharedSecret=SECRET)).json()
    listed = (await http.get(f"{host.api_base}/webhook", headers=keyed)).json()
    assert [each["id"] for each in listed] == [made["id"]]
    assert SECRET not in json.dumps(listed)
    one = f"{host.api_base}/webhook/{made['id']}"
    assert (await http.get(one, headers=keyed)).json() == made
    assert (await http.get(one)).status_code == 401
    assert (await told(host, http, key, "https://example.org/x")).status_code == 422
    assert (await told(host, http, key, "http://127.0.0.1:1/x", events=["asset.stolen"])).status_code == 422
    assert (await http.delete(one, headers=keyed)).json() == made
    assert (await http.delete(one, headers=keyed)).status_code == 404


def test_nobody_waits_for_what_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """News of an asset that nobody waits for is no error, and leaves nothing behind."""
    caplog.set_level(logging.DEBUG)
    host = LivepeerHost("http://127.0.0.1:1/api", "key")
    for number in range(100):
        host.nudge(f"asset-{number}")
    assert not host._waits
