"""TUS and the direct upload, as the protocol's text has it (tus.io 1.0.0) and as Livepeer refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.demo.host import EmbeddedHost
from generation.hosting.host import UploadTicket
from generation.hosting.livepeer import LivepeerHost

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
async def ticket(livepeer: LivepeerHost) -> UploadTicket:
    return await livepeer.request_upload("a", creator="c")


async def begin(http: httpx.AsyncClient, ticket: UploadTicket, length: int) -> str:
    answer = await http.post(ticket.tus_endpoint, headers={**TUS, "Upload-Length": str(length)})
    assert answer.status_code == 201
    return answer.headers["location"]


async def offset(http: httpx.AsyncClient, url: str) -> int:
    answer = await http.head(url, headers=TUS)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


async def test_each_wrong_step_has_its_status(
    http: httpx.AsyncClient, ticket: UploadTicket, host: EmbeddedHost, livepeer: LivepeerHost
) -> None:
    """Version, length, metadata, offset, type, length of the body, unknown address: and the offset stays."""
    url = await begin(http, ticket, 10)
    start = {**PATCH, "Upload-Offset": "0"}
    for method, where, headers, content, status in (
        ("POST", ticket.tus_endpoint, {"Upload-Length": "5"}, None, 412),
        ("POST", ticket.tus_endpoint, TUS, None, 400),
        ("POST", ticket.tus_endpoint, {**TUS, "Upload-Length": "-5"}, None, 400),
        ("POST", ticket.tus_endpoint, {**TUS, "Upload-Length": "9" * 15}, None, 413),
        ("POST", ticket.tus_endpoint, {**TUS, "Upload-Length": "5", "Upload-Metadata": "name $$$"}, None, 400),
        ("PATCH", url, {**start, "Tus-Resumable": "0.2.2"}, b"x", 412),
        ("HEAD", url, {}, None, 412),
        ("PATCH", url, {**start, "Content-Type": "text/plain"}, b"x", 415),
        ("PATCH", url, {**PATCH}, b"x", 400),
        ("PATCH", url, {**PATCH, "Upload-Offset": "3"}, b"x", 409),
        ("PATCH", url, start, b"x" * 11, 413),
        ("POST", url, start, b"x", 404),
        ("HEAD", url + "x", TUS, None, 404),
        ("HEAD", host.api_base + "/asset/upload/tus/..%2f..%2fhost.db", TUS, None, 404),
    ):
        answer = await http.request(method, where, headers=headers, content=content)
        assert answer.status_code == status, (method, headers)
    assert await offset(http, url) in {0, 10}  # what fits of too long a body may stay
    assert (await livepeer.asset(ticket.asset_id)).phase == "uploading"


async def test_the_token_is_the_credential(http: httpx.AsyncClient, host: EmbeddedHost, ticket: UploadTicket) -> None:
    """None is a 401, a forged one a 403, for TUS and for the direct upload; the API key is no token."""
    head, _, signature = ticket.tus_endpoint.partition("token=")[2].rpartition(".")
    forged = head[:-2] + ("AA" if head[-2:] != "AA" else "BB") + "." + signature
    for path, method in (("tus", "POST"), ("direct", "PUT")):
        for token, status in ((None, 401), ("", 401), (forged, 403), ("x", 403), ("ü\x00.", 403)):
            query = {} if token is None else {"token": token}
            url = f"{host.api_base}/asset/upload/{path}"
            answer = await http.request(method, url, params=query, headers={**TUS, "Upload-Length": "1"})
            assert answer.status_code == status and answer.json()["errors"]


async def test_options_tells_what_the_server_can(http: httpx.AsyncClient, ticket: UploadTicket) -> None:
    """As a TUS client asks before it begins."""
    answer = await http.options(ticket.tus_endpoint)
    assert answer.status_code == 204 and answer.headers["tus-version"] == "1.0.0"
    assert "creation" in answer.headers["tus-extension"]


async def test_a_finished_upload_takes_nothing_more(http: httpx.AsyncClient, ticket: UploadTicket, video: Path) -> None:
    """PATCH and POST are 422; HEAD still tells that all is there."""
    data = video.read_bytes()
    url = await begin(http, ticket, len(data))
    done = await http.patch(url, content=data, headers={**PATCH, "Upload-Offset": "0"})
    assert (done.status_code, done.headers["upload-offset"]) == (204, str(len(data)))
    more = await http.patch(url, content=b"x", headers={**PATCH, "Upload-Offset": str(len(data))})
    again = await http.post(ticket.tus_endpoint, headers={**TUS, "Upload-Length": "5"})
    for answer in (more, again):
        assert (answer.status_code, answer.json()) == (422, {"errors": ["asset has already been uploaded"]})
    assert await offset(http, url) == len(data)


async def test_post_with_an_override_is_a_patch(http: httpx.AsyncClient, ticket: UploadTicket) -> None:
    """For those whose network knows no PATCH."""
    url = await begin(http, ticket, 4)
    headers = {**PATCH, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert (await http.post(url, content=b"ab", headers=headers)).status_code == 204
    assert await offset(http, url) == 2


async def test_a_new_beginning_replaces_the_old_upload(
    http: httpx.AsyncClient, ticket: UploadTicket, host: EmbeddedHost
) -> None:
    """The last address counts; the earlier one is gone, with its bytes."""
    old = await begin(http, ticket, 4)
    await http.patch(old, content=b"ab", headers={**PATCH, "Upload-Offset": "0"})
    new = await begin(http, ticket, 6)
    assert await offset(http, new) == 0
    assert (await http.head(old, headers=TUS)).status_code == 404


async def test_a_silent_connection_does_not_lock_the_others_out(
    host: EmbeddedHost, http: httpx.AsyncClient, ticket: UploadTicket
) -> None:
    """A sender fell silent in the middle of a PATCH: another one asks for the offset and goes on at once."""
    url = await begin(http, ticket, 8)
    silent = asyncio.Event()
    sent = asyncio.Event()

    async def body() -> Any:
        yield b"abc"
        sent.set()
        await silent.wait()

    first = asyncio.create_task(http.patch(url, content=body(), headers={**PATCH, "Upload-Offset": "0"}))
    await sent.wait()
    async with httpx.AsyncClient() as other:
        at = await offset(other, url)  # 0 or 3: the bytes may still have been on their way
        rest = await other.patch(url, content=b"abcdefgh"[at:], headers={**PATCH, "Upload-Offset": str(at)})
    assert rest.status_code == 204 and rest.headers["upload-offset"] == "8"
    silent.set()
    outcome: Any = (await asyncio.gather(first, return_exceptions=True))[0]
    assert isinstance(outcome, httpx.HTTPError) or outcome.status_code == 423


async def test_the_direct_upload_takes_a_file_in_one_go(
    host: EmbeddedHost, http: httpx.AsyncClient, authorized: dict[str, str], livepeer: LivepeerHost, video: Path
) -> None:
    """PUT to `url` with its token, and the asset moves on; a second PUT is a 422."""
    made = (
        await http.post(
            f"{host.api_base}/asset/request-upload", json={"name": "d", "staticMp4": True}, headers=authorized
        )
    ).json()
    assert (await http.put(made["url"], content=video.read_bytes())).status_code == 200
    assert (await livepeer.wait_until_playable(made["asset"]["id"])).mp4_url
    assert (await http.put(made["url"], content=b"again")).status_code == 422


async def test_a_deleted_asset_takes_no_bytes(
    http: httpx.AsyncClient, ticket: UploadTicket, livepeer: LivepeerHost
) -> None:
    """Its upload is gone, and so is its permission."""
    url = await begin(http, ticket, 4)
    await livepeer.delete(ticket.asset_id)
    assert (await http.head(url, headers=TUS)).status_code == 410
    assert (await http.post(ticket.tus_endpoint, headers={**TUS, "Upload-Length": "4"})).status_code == 404


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=8))
async def test_whatever_pieces_arrive_the_file_is_a_prefix_and_the_offset_its_length(
    http: httpx.AsyncClient, livepeer: LivepeerHost, host: EmbeddedHost, steps: list[tuple[int, int]]
) -> None:
    """A piece at the very offset is appended, any other one is refused, and nothing else ever changes the bytes."""
    data = bytes(range(40))
    ticket = await livepeer.request_upload("h", creator="c")
    url = await begin(http, ticket, len(data))
    have = 0
    for at, length in [*steps, (-1, len(data))]:
        at = have if at < 0 or at % 2 else at  # half of the pieces fit
        piece = data[at : at + length]
        answer = await http.patch(url, content=piece, headers={**PATCH, "Upload-Offset": str(at)})
        if have == len(data):
            assert answer.status_code == 422
        elif at == have:
            assert answer.status_code == 204
            have += len(piece)
        else:
            assert answer.status_code == 409
        assert await offset(http, url) == have
    assert have == len(data)
    asset = await livepeer.asset(ticket.asset_id)
    assert asset.phase != "uploading"
