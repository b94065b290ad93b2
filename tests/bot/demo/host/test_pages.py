"""The answers to a browser and to Discord's link preview: files, HLS, and a watch page that no prompt can break."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.host import EmbeddedHost
from bot.demo.host.pages import cut
from generation.hosting.host import Playback
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import upload

HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>' onload='x &lt;b&gt; \u202e\u200b 🦊 </title></h1>"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.meta: dict[str, str] = {}
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.attributes |= {f"{tag}.{name}" for name in values}
        if tag == "meta" and values.get("property"):
            self.meta[values["property"] or ""] = values.get("content") or ""

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def show(livepeer: LivepeerHost, http: httpx.AsyncClient, video: Path, ignore_url: Any) -> Any:
    async def make(name: str) -> Playback:
        ticket = await livepeer.request_upload(name, creator="c")
        await upload(ticket.tus_endpoint, video, client=http, on_url=ignore_url)
        return await livepeer.wait_until_playable(ticket.asset_id)

    return make


async def test_the_watch_page_has_a_player_a_label_and_the_tags_of_a_preview(
    http: httpx.AsyncClient, show: Any
) -> None:
    """Native video with a poster, "AI-generated" for people and machines, and every tag that Discord asks for."""
    playback = await show("a cat on the moon")
    answer = await http.get(playback.page_url)
    page = Page(answer.text)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {"video.controls", "video.playsinline", "video.poster"} <= page.attributes
    assert "a cat on the moon" in page.words and "AI-generated" in page.words
    assert page.meta["og:video"] == playback.mp4_url and page.meta["og:image"] == playback.poster_url
    assert page.meta["og:type"] == "video.other" and page.meta["og:video:type"] == "video/mp4"
    assert (page.meta["og:video:width"], page.meta["og:image:height"]) == ("128", "96")
    assert page.meta["og:description"].startswith("AI-generated")
    for url in (page.meta["og:video"], page.meta["og:image"]):
        assert (await http.get(url)).status_code == 200


async def test_a_hostile_name_is_text_and_nothing_else(http: httpx.AsyncClient, show: Any) -> None:
    """No tag, no attribute and no script comes out of a name; the policy forbids scripts anyway."""
    plain = Page((await http.get((await show("plain")).page_url)).text)
    answer = await http.get((await show(HOSTILE)).page_url)
    page = Page(answer.text)
    assert page.tags == plain.tags and page.attributes == plain.attributes
    assert "script" not in page.tags and "<script" not in answer.text
    assert "<script>alert(1)</script>" in page.words  # it is there, as words
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy
    assert re.search(r"style-src 'nonce-([^']+)'", policy)[1] in answer.text  # type: ignore[index]  # None fails too
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["referrer-policy"] == "no-referrer"


async def test_a_long_name_is_cut_to_what_a_preview_shows(http: httpx.AsyncClient, show: Any) -> None:
    """70 bytes for a title, 350 for a description, never in the middle of a character."""
    page = Page((await http.get((await show("🦊ü" * 500)).page_url)).text)
    assert len(page.meta["og:title"].encode()) <= 70 and len(page.meta["og:description"].encode()) <= 350
    assert cut("short\n text", 70) == "short text" and cut("ü" * 50, 70).endswith("ü…")


async def test_ranges_are_served_and_impossible_ones_refused(http: httpx.AsyncClient, show: Any, video: Path) -> None:
    """206 with the very bytes, 416 with the size, and HEAD without a body."""
    url, data = (await show("a")).mp4_url, video.read_bytes()
    for header, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=100-199", 100, 200),
        ("bytes=-50", len(data) - 50, len(data)),
    ):
        part = await http.get(url, headers={"Range": header})
        assert (part.status_code, part.content) == (206, data[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{len(data)}"
    beyond = await http.get(url, headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
    head = await http.head(url)
    assert head.headers["content-length"] == str(len(data)) and head.headers["accept-ranges"] == "bytes"
    assert head.headers["content-type"] == "video/mp4" and head.headers["access-control-allow-origin"] == "*"
    same = await http.get(url, headers={"If-None-Match": head.headers["etag"]})
    assert same.status_code == 304


async def test_hls_is_a_playlist_with_segments_that_are_there(http: httpx.AsyncClient, show: Any) -> None:
    """Every segment that the playlist names is served as MPEG-TS; thumbnails as WebVTT that names the poster."""
    playback = await show("a")
    playlist = await http.get(playback.hls_url)
    assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert playlist.text.rstrip().endswith("#EXT-X-ENDLIST")
    segments = [line for line in playlist.text.splitlines() if line and not line.startswith("#")]
    assert segments
    for name in segments:
        segment = await http.get(str(httpx.URL(playback.hls_url).join(name)))
        assert segment.headers["content-type"] == "video/mp2t" and segment.content[0] == 0x47
    vtt = await http.get(str(httpx.URL(playback.hls_url).join("thumbnails/thumbnails.vtt")))
    assert vtt.text.startswith("WEBVTT") and "keyframes_0.jpg" in vtt.text
    assert vtt.headers["content-type"].startswith("text/vtt")


@pytest.mark.parametrize(
    "name",
    ["../host.db", "..%2f..%2fhost.db", "%2e%2e/host.db", ".index.m3u8.ab", "index.m3u8.bak", "x.mp4", "thumbnails/"],
)
async def test_only_names_that_the_host_gave_out_are_served(
    http: httpx.AsyncClient, host: EmbeddedHost, show: Any, name: str
) -> None:
    """No path leads out of an asset's folder, nor to a half-written file in it."""
    playback = await show("a")
    answer = await http.get(f"{host.public_url}/media/{playback.playback_id}/{name}")
    assert answer.status_code == 404


async def test_what_is_missing_private_or_unready_is_not_shown(
    http: httpx.AsyncClient, host: EmbeddedHost, authorized: dict[str, str], video: Path, livepeer: LivepeerHost,
    ignore_url: Any, until: Any,
) -> None:  # fmt: skip
    """404 for the unknown and the private, 503 for the unready, each with a sentence."""
    assert (await http.get(f"{host.public_url}/v/0000000000000000")).status_code == 404
    ticket = await livepeer.request_upload("a", creator="c")
    early = await http.get(f"{host.public_url}/v/{ticket.playback_id}")
    assert early.status_code == 503 and "not ready" in early.text
    body = {"name": "secret", "staticMp4": True, "playbackPolicy": {"type": "jwt"}}
    made = (await http.post(f"{host.api_base}/asset/request-upload", json=body, headers=authorized)).json()
    await upload(made["tusEndpoint"], video, client=http, on_url=ignore_url)
    private = await livepeer.wait_until_playable(made["asset"]["id"])
    assert (await http.get(private.page_url)).status_code == 404
    assert (await http.get(private.mp4_url or "")).status_code == 404
