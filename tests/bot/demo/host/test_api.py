"""The embedded host's API, as a stranger's HTTP client meets it: the answers that Livepeer gives."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.host import EmbeddedHost, Faults
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import upload

KEYED = [
    ("POST", "/asset/request-upload"),
    ("POST", "/asset/upload/url"),
    ("GET", "/asset"),
    ("GET", "/asset/x"),
    ("PATCH", "/asset/x"),
    ("DELETE", "/asset/x"),
    ("POST", "/asset/x/retry"),
]


@pytest.fixture
def send(host: EmbeddedHost, http: httpx.AsyncClient, authorized: dict[str, str]) -> Any:
    async def request(method: str, path: str, **more: Any) -> httpx.Response:
        return await http.request(method, host.api_base + path, headers=authorized, **more)

    return request


@pytest.fixture
def ready(livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, ignore_url: Any) -> Any:
    async def make(name: str = "clip") -> Any:
        ticket = await livepeer.request_upload(name, creator="c")
        await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
        return await livepeer.wait_until_playable(ticket.asset_id), ticket

    return make


@pytest.mark.parametrize(("method", "path"), KEYED)
async def test_a_missing_and_a_wrong_key_are_told_apart(
    host: EmbeddedHost, http: httpx.AsyncClient, method: str, path: str
) -> None:
    """401 both times, with Livepeer's two sentences."""
    missing = await http.request(method, host.api_base + path, json={"name": "a"})
    assert (missing.status_code, missing.json()) == (401, {"errors": ["request is not authenticated"]})
    wrong = await http.request(method, host.api_base + path, json={"name": "a"}, headers={"Authorization": "Bearer no"})
    assert (wrong.status_code, wrong.json()) == (401, {"errors": ["no token no found"]})


@pytest.mark.parametrize(
    ("body", "status", "keyword"),
    [
        ({"name": "a", "surprise": 1}, 422, "additionalProperties"),
        ({}, 422, "required"),
        ({"name": 7}, 422, "type"),
        ([], 422, "type"),
        ({"name": "a", "staticMp4": 1}, 422, "type"),
        ({"name": "a", "playbackPolicy": {"type": "secret"}}, 422, "enum"),
        ({"name": "a", "profiles": [{"bitrate": True}]}, 422, "type"),
        ({"name": "a", "creatorId": {"type": "unverified", "value": "x", "more": 1}}, 422, "additionalProperties"),
        ({"name": "a", "profiles": []}, 400, None),
        ({"name": "a", "encryption": {"encryptedKey": "?"}}, 422, None),
        ({"name": "a", "encryption": {"encryptedKey": "YWJj"}}, 422, None),
        ({"name": "a", "encryption": {}}, 422, "required"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_as_ajv_would(
    send: Any, body: object, status: int, keyword: str | None
) -> None:
    """422 with a JSON string of the validator; Livepeer's own checks are sentences."""
    answer = await send("POST", "/asset/request-upload", json=body)
    assert answer.status_code == status
    if keyword:
        assert json.loads(answer.json()["errors"][0])["keyword"] == keyword


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"name":"\\ud800"}'])
async def test_a_body_that_is_no_json_is_a_400(send: Any, content: bytes) -> None:
    """Also where it is deep, or half a surrogate pair: no answer is a 500."""
    answer = await send("POST", "/asset/request-upload", content=content)
    assert answer.status_code == 400 and answer.json()["errors"]


async def test_a_creator_may_be_a_string_and_is_shown_as_an_object(send: Any) -> None:
    """Whatever is write-only does not come back."""
    body = {"name": "a", "creatorId": "discord:1", "staticMp4": True}
    asset = (await send("POST", "/asset/request-upload", json=body)).json()["asset"]
    assert asset["creatorId"] == {"type": "unverified", "value": "discord:1"}
    assert "staticMp4" not in asset
    assert asset["status"]["phase"] == "uploading" and len(asset["playbackId"]) == 16


async def test_the_second_deletion_is_a_400_and_the_asset_is_not_found(send: Any) -> None:
    """204, then Livepeer's sentence; GET says 404 in between, and the list has it no more."""
    asset = (await send("POST", "/asset/request-upload", json={"name": "a"})).json()["asset"]["id"]
    assert (await send("DELETE", f"/asset/{asset}")).status_code == 204
    again = await send("DELETE", f"/asset/{asset}")
    assert (again.status_code, again.json()) == (400, {"errors": ["asset is already deleted"]})
    assert (await send("GET", f"/asset/{asset}")).json() == {"errors": ["Asset not found"]}
    assert (await send("GET", "/asset")).json() == []
    assert (await send("DELETE", "/asset/unknown")).status_code == 404


async def test_the_list_is_filtered_and_comes_in_pages(send: Any) -> None:
    """Filters, limit, cursor by Link, and a count."""
    for number in range(5):
        await send("POST", "/asset/request-upload", json={"name": f"clip {number}", "creatorId": str(number % 2)})
    first = await send("GET", "/asset", params={"limit": 2, "order": "createdAt-false", "count": 1})
    assert len(first.json()) == 2
    assert first.headers["X-Total-Count"] == "5"
    names, url = [a["name"] for a in first.json()], first.links["next"]["url"]
    while url:
        page = await send("GET", "/asset?" + url.partition("?")[2])
        names += [a["name"] for a in page.json()]
        url = page.links.get("next", {}).get("url")
    assert sorted(names) == [f"clip {n}" for n in range(5)]
    filters = json.dumps([{"id": "creatorId", "value": "1"}])
    assert len((await send("GET", "/asset", params={"filters": filters})).json()) == 2
    for bad in ("{", "{}", '[{"id":"name"}]', '[{"id":"1; DROP TABLE asset","value":1}]', "[1]", "%ff"):
        answer = await send("GET", "/asset", params={"filters": bad})
        assert answer.status_code == 400 and "error parsing filters" in answer.json()["errors"][0]
    for odd in ({"limit": "x"}, {"cursor": "skip-1"}, {"order": "name;--"}, {"limit": "0"}):
        assert (await send("GET", "/asset", params=odd)).status_code == 200


async def test_a_ready_asset_can_be_renamed_and_an_unready_one_cannot(send: Any, ready: Any) -> None:
    """PATCH is for ready assets; public does not become private."""
    _, ticket = await ready()
    path = f"/asset/{ticket.asset_id}"
    assert (await send("PATCH", path, json={"name": "new"})).json()["name"] == "new"
    assert (await send("PATCH", path, json={"staticMp4": True})).status_code == 422
    private = await send("PATCH", path, json={"playbackPolicy": {"type": "jwt"}})
    assert private.status_code == 422 and "private" in private.json()["errors"][0]
    other = (await send("POST", "/asset/request-upload", json={"name": "a"})).json()["asset"]["id"]
    assert (await send("PATCH", f"/asset/{other}", json={"name": "b"})).json() == {"errors": ["asset is not ready"]}


async def test_a_failed_asset_can_be_tried_again(
    send: Any, faults: Faults, http: httpx.AsyncClient, livepeer: LivepeerHost, video: Path, ignore_url: Any, until: Any
) -> None:
    """Failed becomes ready by /retry; an asset that has not failed cannot be retried."""
    faults.fail_with = "transcoder exploded"
    ticket = await livepeer.request_upload("a", creator="c")
    await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)

    async def failed() -> bool:
        return (await livepeer.asset(ticket.asset_id)).error == "transcoder exploded"

    await until(failed)
    faults.fail_with = None
    assert (await send("POST", f"/asset/{ticket.asset_id}/retry")).status_code == 204
    assert (await livepeer.wait_until_playable(ticket.asset_id)).mp4_url
    again = await send("POST", f"/asset/{ticket.asset_id}/retry")
    assert (again.status_code, again.json()) == (400, {"errors": ["Asset is not failed"]})


async def test_short_videos_fail_only_where_the_host_is_told_so(
    hosting: Any, key: str, http: httpx.AsyncClient, video: Path, ignore_url: Any, until: Any
) -> None:
    """Livepeer is said to fail assets under three seconds; that is an option."""
    async with hosting(fail_shorter_than_s=3.0) as host, LivepeerHost(host.api_base, key) as livepeer:
        ticket = await livepeer.request_upload("a", creator="c")
        await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)

        async def reason() -> str | None:
            return (await livepeer.asset(ticket.asset_id)).error

        assert "shorter than 3 seconds" in await until(reason)


async def test_an_address_is_imported_once_and_from_loopback_only(
    send: Any, ready: Any, livepeer: LivepeerHost, until: Any
) -> None:
    """201, then 200 with the same asset; what lies elsewhere, or is no video, fails with a sentence."""
    playback, _ = await ready()
    body = {"name": "copy", "url": playback.mp4_url, "staticMp4": True}
    first = await send("POST", "/asset/upload/url", json=body)
    second = await send("POST", "/asset/upload/url", json=body)
    assert (first.status_code, second.status_code) == (201, 200)
    asset = first.json()["asset"]["id"]
    assert second.json()["asset"]["id"] == asset
    assert (await livepeer.wait_until_playable(asset)).mp4_url
    for url in ("http://192.0.2.1/x.mp4", "ipfs://abc", "http://localhost.example/x", playback.hls_url):
        made = await send("POST", "/asset/upload/url", json={"name": "no", "url": url})
        assert made.status_code == 201
        ident = made.json()["asset"]["id"]

        async def reason(ident: str = ident) -> str | None:
            return (await livepeer.asset(ident)).error

        assert await until(reason)
    assert (await send("POST", "/asset/upload/url", json={"name": "a", "url": "file:///etc/passwd"})).status_code == 422


async def test_playback_needs_no_key_and_remembers_what_it_did_not_know(
    host: EmbeddedHost, send: Any, http: httpx.AsyncClient, ready: Any
) -> None:
    """404 and 422 with Livepeer's sentences; a wrong key is refused even here; CORS for everyone."""
    unknown = await http.get(f"{host.api_base}/playback/nosuchplayback00")
    assert unknown.json() == {"errors": ["No playback URL found for nosuchplayback00"]}
    asset = (await send("POST", "/asset/request-upload", json={"name": "a"})).json()["asset"]
    early = await http.get(f"{host.api_base}/playback/{asset['playbackId']}")
    assert (early.status_code, early.json()) == (422, {"errors": ["asset is not ready for playback"]})
    wrong = await http.get(f"{host.api_base}/playback/x", headers={"Authorization": "Bearer no"})
    assert wrong.status_code == 401
    playback, _ = await ready()
    body = await http.get(f"{host.api_base}/playback/{playback.playback_id}")
    assert [s["hrn"] for s in body.json()["meta"]["source"]] == ["MP4", "HLS (TS)", "Thumbnails"]
    assert body.headers["Access-Control-Allow-Origin"] == "*"


async def test_the_cache_outlives_the_phase(
    hosting: Any, key: str, http: httpx.AsyncClient, video: Path, ignore_url: Any, brisk: Any, until: Any
) -> None:
    """Asked too early, playback stays at "not ready" for a while after the asset is; the client waits it out."""
    async with (
        hosting(playback_cache_young_s=200.0) as host,
        LivepeerHost(host.api_base, key, polling=brisk) as livepeer,
    ):
        ticket = await livepeer.request_upload("a", creator="c")
        await http.get(f"{host.api_base}/playback/{ticket.playback_id}")
        keyed = {"Authorization": f"Bearer {key}"}
        early = await http.get(f"{host.api_base}/playback/{ticket.playback_id}", headers=keyed)
        await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)

        async def is_ready() -> bool:
            return (await livepeer.asset(ticket.asset_id)).phase == "ready"

        await until(is_ready)
        assert early.status_code == 422
        assert (await livepeer.wait_until_playable(ticket.asset_id)).mp4_url


async def test_assets_survive_a_restart_and_go_on(
    hosting: Any, key: str, http: httpx.AsyncClient, video: Path, ignore_url: Any, brisk: Any, faults: Faults
) -> None:
    """Ready stays ready with its files; what was waiting or processing is finished by the next process."""
    stuck = []
    async with hosting() as host, LivepeerHost(host.api_base, key, polling=brisk) as livepeer:
        done = await livepeer.request_upload("done", creator="c")
        await upload(done.tus_endpoint, video, client=http, on_url=ignore_url)
        await livepeer.wait_until_playable(done.asset_id)
        for phase in ("uploading", "waiting", "processing"):
            faults.stick_in = phase
            ticket = await livepeer.request_upload(phase, creator="c")
            await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
            while (await livepeer.asset(ticket.asset_id)).phase != phase:
                await asyncio.sleep(0.01)
            stuck.append(ticket.asset_id)
    faults.stick_in = None
    async with hosting() as host, LivepeerHost(host.api_base, key, polling=brisk) as livepeer:
        for asset in [done.asset_id, *stuck]:
            playback = await livepeer.wait_until_playable(asset)
            assert (await http.get(playback.mp4_url or "")).content == video.read_bytes()


async def test_the_views_of_the_watch_page_are_counted(
    host: EmbeddedHost, http: httpx.AsyncClient, ready: Any, livepeer: LivepeerHost
) -> None:
    """Each load of the page counts; a HEAD does not; an unknown id is a 404."""
    playback, _ = await ready()
    assert await livepeer.views(playback.playback_id) == 0
    for _ in range(3):
        await http.get(playback.page_url)
    await http.head(playback.page_url)
    assert await livepeer.views(playback.playback_id) == 3
    assert (await http.get(f"{host.api_base}/data/views/query/total/none")).status_code == 404


async def test_unknown_paths_and_methods_answer_in_json(host: EmbeddedHost, http: httpx.AsyncClient) -> None:
    """Errors have one form everywhere."""
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/api/asset", 405), ("GET", "/api/stream", 404)):
        answer = await http.request(method, host.public_url + path)
        assert answer.status_code == status and answer.json()["errors"]
