"""The client against a host that speaks Livepeer's wire format, over real HTTP."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.host import EmbeddedHost, Fault, Faults
from generation.hosting.host import (
    AssetFailed,
    AssetMissing,
    HostBusy,
    HostedAsset,
    HostError,
    HostRejected,
    HostUnreachable,
    NotReady,
    Polling,
    UploadTicket,
    claim_upload,
)
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import upload


async def test_a_video_goes_all_the_way_from_ticket_to_deletion(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, ignore_url: Any, host: EmbeddedHost
) -> None:
    """Ask for a ticket, upload without a key, wait, play the very bytes, count views, delete."""
    phases: list[str] = []

    async def on_phase(asset: HostedAsset) -> None:
        phases.append(asset.phase)

    ticket = await livepeer.request_upload("a cat.mp4", creator="discord:1")
    await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
    playback = await livepeer.wait_until_playable(ticket.asset_id, on_phase=on_phase)

    assert phases[-1] == "ready" and "failed" not in phases
    assert playback.playback_id == ticket.playback_id
    assert (playback.width, playback.height) == (128, 96)
    assert playback.page_url == f"{host.public_url}/v/{ticket.playback_id}"
    assert playback.mp4_url and playback.hls_url and playback.poster_url
    assert (await http.get(playback.mp4_url)).content == video.read_bytes()
    assert (await http.get(playback.hls_url)).text.startswith("#EXTM3U")
    assert (await http.get(playback.poster_url)).content.startswith(b"\xff\xd8")
    assert (await http.get(playback.page_url)).status_code == 200
    assert await livepeer.views(playback.playback_id) == 1

    await livepeer.delete(ticket.asset_id)
    await livepeer.delete(ticket.asset_id)  # once more is no error
    with pytest.raises(AssetMissing):
        await livepeer.asset(ticket.asset_id)
    assert (await http.get(playback.mp4_url)).status_code == 404


async def test_hls_plays_before_the_mp4_and_is_accepted_when_the_mp4_never_comes(
    hosting: Any, video: Path, ignore_url: Any, http: httpx.AsyncClient, brisk: Polling, key: str, faults: Faults,
    until: Any,
) -> None:  # fmt: skip
    """While the host still makes the mp4, HLS plays already; the wait prefers the mp4."""
    async with hosting(mp4_after_hls_s=100.0) as host:
        async with LivepeerHost(host.api_base, key, host.watch_page, polling=brisk) as livepeer:
            ticket = await livepeer.request_upload("a", creator="c")
            await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)

            async def early() -> Any:
                try:
                    return await livepeer.playback(ticket.playback_id or "")
                except NotReady:
                    return None

            first = await until(early)
            assert first.hls_url and first.mp4_url is None
            assert (await livepeer.wait_until_playable(ticket.asset_id)).mp4_url

        # An asset that was asked for without mp4s has none, ever: the wait ends with HLS alone.
        headers = {"Authorization": f"Bearer {key}"}
        answer = await http.post(f"{host.api_base}/asset/request-upload", json={"name": "b"}, headers=headers)
        await upload(answer.json()["tusEndpoint"], video, client=http, on_url=ignore_url)
        short = replace(brisk, mp4_grace_s=0.2)
        async with LivepeerHost(host.api_base, key, host.watch_page, polling=short) as livepeer:
            only = await livepeer.wait_until_playable(answer.json()["asset"]["id"])
        assert only.hls_url and only.mp4_url is None


async def test_an_asset_is_found_by_its_whole_name_only(livepeer: LivepeerHost) -> None:
    """Livepeer matches parts of names; the client answers only for the very name, whatever is in it."""
    names = ["clip 1", "clip 10", "CLIP 1", "100% [a_b] \\ “ü” & ?=+ 🦊"]
    tickets = {name: await livepeer.request_upload(name, creator="c") for name in names}
    for name in names:
        found = await livepeer.find_asset(name)
        assert found is not None and found.asset_id == tickets[name].asset_id
    assert await livepeer.find_asset("clip") is None
    await livepeer.delete(tickets["clip 1"].asset_id)
    assert await livepeer.find_asset("clip 1") is None


async def test_the_search_goes_through_all_pages(livepeer: LivepeerHost) -> None:
    """An asset that is not among the newest hundred of its kind is found as well."""
    first = await livepeer.request_upload("needle", creator="c")
    for number in range(100):
        await livepeer.request_upload(f"needle {number}", creator="c")
    found = await livepeer.find_asset("needle")
    assert found is not None and found.asset_id == first.asset_id


async def test_a_repeated_claim_makes_no_second_asset_of_an_uploaded_video(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, ignore_url: Any
) -> None:
    """Claimed anew before its upload, an orphan gives way to a new ticket; after it, the asset is the answer."""
    orphan = await claim_upload(livepeer, "v1", creator="c")
    ticket = await claim_upload(livepeer, "v1", creator="c")
    assert isinstance(orphan, UploadTicket) and isinstance(ticket, UploadTicket)
    assert orphan.asset_id != ticket.asset_id
    with pytest.raises(AssetMissing):
        await livepeer.asset(orphan.asset_id)
    await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
    again = await claim_upload(livepeer, "v1", creator="c")
    assert isinstance(again, HostedAsset) and again.asset_id == ticket.asset_id


async def test_what_is_not_a_video_fails_with_the_hosts_sentence(
    livepeer: LivepeerHost, http: httpx.AsyncClient, tmp_path: Path, ignore_url: Any
) -> None:
    """Bytes that no player plays end in AssetFailed that says why, and never in a playback."""
    for content in (b"just text", b"#EXTM3U\nfile:///etc/passwd\n", b"\x00\x00\x00\x20ftypisom" + b"\x00" * 500):
        fake = tmp_path / "fake.mp4"
        fake.write_bytes(content)
        ticket = await livepeer.request_upload("fake", creator="c")
        await upload(ticket.tus_endpoint, fake, client=http, on_url=ignore_url)
        with pytest.raises(AssetFailed, match=r"video|file"):
            await livepeer.wait_until_playable(ticket.asset_id)
        assert (await livepeer.asset(ticket.asset_id)).error


async def test_an_asset_that_never_moves_on_ends_the_wait_with_its_phase(
    livepeer: LivepeerHost, brisk: Polling, http: httpx.AsyncClient, video: Path, ignore_url: Any, faults: Faults
) -> None:
    """Stuck in uploading, waiting or processing: at the deadline the caller hears where."""
    short = replace(brisk, deadline_s=0.5)
    for phase in ("uploading", "waiting", "processing"):
        faults.stick_in = phase
        ticket = await livepeer.request_upload(phase, creator="c")
        await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
        with pytest.raises(NotReady, match=phase) as caught:
            await livepeer.wait_until_playable(ticket.asset_id, polling=short)
        assert caught.value.phase == phase


async def test_a_wrong_key_is_refused_and_never_repeated(host: EmbeddedHost) -> None:
    """The host quotes the key that it does not know; our error does not."""
    async with LivepeerHost(host.api_base, "sk-wrong-secret", host.watch_page) as livepeer:
        with pytest.raises(HostRejected) as caught:
            await livepeer.request_upload("a", creator="c")
    assert caught.value.status == 401
    assert "API key" in str(caught.value)
    assert "sk-wrong" not in f"{caught.value} {caught.value.sentences} {livepeer!r}"


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_an_unusable_key_is_refused_before_anything_is_sent(key: str) -> None:
    """A newline in a header would make the HTTP library quote the whole key; so it never gets there."""
    with pytest.raises(ValueError, match="API key") as caught:
        LivepeerHost("https://livepeer.studio/api", key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("base", ["ftp://host/api", "livepeer.studio", "https://me:pw@host/api", "http://[::1", ""])
def test_an_unusable_address_is_refused(base: str) -> None:
    """Only plain http and https, without a user in it."""
    with pytest.raises(ValueError, match="http or https"):
        LivepeerHost(base, "key")


async def test_a_page_of_html_is_a_host_out_of_order_not_a_crash(livepeer: LivepeerHost, faults: Faults) -> None:
    """A proxy's 502 page, and even a 200 with a page, are reasons to ask again later."""
    page = "<html><body>Bad gateway</body></html>"
    for status in (502, 200):
        faults.answers = [Fault(status, times=99, body=page, content_type="text/html")]
        with pytest.raises(HostUnreachable) as caught:
            await livepeer.asset("abc")
        assert "<html>" not in str(caught.value)


async def test_a_read_is_repeated_and_a_request_for_an_upload_is_not(
    livepeer: LivepeerHost, faults: Faults, http: httpx.AsyncClient, authorized: dict[str, str], host: EmbeddedHost
) -> None:
    """Two 503 before an answer do not disturb a read; a POST that fails once is the caller's to judge."""
    ticket = await livepeer.request_upload("a", creator="c")
    faults.answers = [Fault(503, times=2)]
    assert (await livepeer.asset(ticket.asset_id)).phase == "uploading"
    faults.answers = [Fault(503, times=1)]
    with pytest.raises(HostUnreachable):
        await livepeer.request_upload("b", creator="c")
    assert len((await http.get(f"{host.api_base}/asset", headers=authorized)).json()) == 1


async def test_a_busy_host_says_so_with_and_without_a_time(
    hosting: Any, key: str, faults: Faults, brisk: Polling
) -> None:
    """Livepeer's 429 for pending tasks has no Retry-After; another host's may."""
    async with hosting(max_pending_tasks=0) as host, LivepeerHost(host.api_base, key, polling=brisk) as livepeer:
        with pytest.raises(HostBusy, match="maximum number of pending tasks") as caught:
            await livepeer.request_upload("a", creator="c")
        assert caught.value.retry_after is None and caught.value.retryable
        faults.answers = [Fault(429, headers={"Retry-After": "60"}, times=9)]
        with pytest.raises(HostBusy) as caught:
            await livepeer.asset("abc")
        assert caught.value.retry_after == 60


async def test_a_host_that_is_away_for_a_moment_does_not_end_the_wait(
    livepeer: LivepeerHost, faults: Faults, http: httpx.AsyncClient, video: Path, ignore_url: Any
) -> None:
    """The wait goes on through outages; only the deadline ends it."""
    ticket = await livepeer.request_upload("a", creator="c")
    await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
    faults.answers = [Fault(503, times=6), Fault(429, times=3)]
    assert (await livepeer.wait_until_playable(ticket.asset_id)).mp4_url


async def test_an_unreachable_host_is_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing listens there: the error says so, can be tried again, and holds no address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with LivepeerHost(f"http://127.0.0.1:{port}/api", "sk-secret", retry_s=0.01) as livepeer:
            with pytest.raises(HostUnreachable, match="cannot be reached") as caught:
                await livepeer.asset("abc")
    assert caught.value.retryable
    assert "sk-secret" not in str(caught.value) + caplog.text


async def test_playback_of_the_unknown_and_of_the_unready_is_not_ready(livepeer: LivepeerHost) -> None:
    """Livepeer answers 404 and 422; both mean that there is nothing to play yet."""
    ticket = await livepeer.request_upload("a", creator="c")
    with pytest.raises(NotReady, match="not ready for playback"):
        await livepeer.playback(ticket.playback_id or "")
    with pytest.raises(NotReady, match="No playback URL"):
        await livepeer.playback("0000000000000000")


async def test_ids_that_would_leave_their_path_are_refused(livepeer: LivepeerHost) -> None:
    """An id is part of an address, so it must not be able to name another one."""
    for bad in ("../playback/x", "a/b", "", "a?b", "a" * 200):
        with pytest.raises(ValueError, match="letters, digits"):
            await livepeer.asset(bad)


async def test_no_secret_shows_in_representations_or_logs(
    livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    """Key, token and upload address are in no repr and in no log, not even of the HTTP library."""
    caplog.set_level(logging.DEBUG)
    ticket = await livepeer.request_upload("a", creator="c")
    urls: list[str] = []

    async def on_url(url: str) -> None:
        urls.append(url)

    await upload(ticket.tus_endpoint, video, client=http, on_url=on_url)
    token = ticket.tus_endpoint.partition("token=")[2]
    seen = caplog.text + repr(ticket) + str(ticket) + repr(livepeer)
    assert "HTTP Request: PATCH" in caplog.text  # the log is there
    for secret in (key, token, urls[0].rpartition("/")[2]):
        assert len(secret) > 10 and secret not in seen
    assert UploadTicket.from_json(ticket.to_json()) == ticket


async def test_refusals_of_the_validator_become_readable(livepeer: LivepeerHost, faults: Faults) -> None:
    """A 422 holds JSON strings; the caller hears words, without control characters, tokens or endless text."""
    hostile = "bad \\u001b[31m token=abc.def.ghi " + "x" * 5000
    ajv = '{\\"instancePath\\":\\"/name\\",\\"message\\":\\"must be string\\"}'
    faults.answers = [Fault(422, body=f'{{"errors":["{ajv}","{hostile}"]}}')]
    with pytest.raises(HostRejected) as caught:
        await livepeer.request_upload("a", creator="c")
    assert caught.value.sentences[0] == "name must be string"
    assert "abc.def" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 800


@pytest.mark.parametrize(
    "body", ["[]", "{}", '{"asset":{"id":"../x"}}', "null", '{"asset":{"id":"a"},"tusEndpoint":"file:///x"}']
)
async def test_an_answer_in_an_unknown_form_is_an_error_of_the_tree(
    livepeer: LivepeerHost, faults: Faults, body: str
) -> None:
    """Whatever JSON comes, the caller meets a HostError and never a KeyError."""
    faults.answers = [Fault(200, body=body, times=99)]
    with pytest.raises(HostError):
        await livepeer.request_upload("a", creator="c")
    with pytest.raises(HostError):
        await livepeer.playback("abc")


async def test_unknown_keys_and_phases_are_tolerated(livepeer: LivepeerHost, faults: Faults) -> None:
    """The host may grow: what we do not know is passed over."""
    faults.answers = [Fault(200, body='{"id":"a","name":"n","status":{"phase":"polishing","new":1},"newer":{}}')]
    asset = await livepeer.asset("a")
    assert (asset.phase, asset.playback_id, asset.name) == ("processing", None, "n")


async def test_a_redirect_of_the_api_does_not_carry_the_key_along(livepeer: LivepeerHost, faults: Faults) -> None:
    """Elsewhere may be anyone's: the redirect is an error."""
    faults.answers = [Fault(302, headers={"Location": "http://127.0.0.1:1/steal"}, times=9)]
    with pytest.raises(HostRejected, match="elsewhere"):
        await livepeer.asset("abc")


async def test_the_uploaded_bytes_are_the_served_bytes(
    livepeer: LivepeerHost, http: httpx.AsyncClient, make: Callable[..., Path], tmp_path: Path, ignore_url: Any
) -> None:
    """A Matroska upload is remuxed to mp4 and playable; its own mp4 is served by hash as the API tells it."""
    clip = make(tmp_path / "clip.mkv")
    ticket = await livepeer.request_upload("mkv", creator="c")
    await upload(ticket.tus_endpoint, clip, client=http, on_url=ignore_url)
    playback = await livepeer.wait_until_playable(ticket.asset_id)
    body = (await http.get(playback.mp4_url or "")).content
    assert body[4:8] == b"ftyp" and hashlib.sha256(body).digest() != hashlib.sha256(clip.read_bytes()).digest()
