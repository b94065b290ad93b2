"""The routes of people's browsers: the video files with ranges, HLS, thumbnails, and the watch page."""

from __future__ import annotations

import re
import secrets
from html import escape

from aiohttp import web

from bot.demo.host.media import POSTER
from bot.demo.host.store import Asset, Store

# The only names that are ever served, with their types. Everything else is not found.
_FILES = (
    (re.compile(r"static[0-9]{1,5}p0\.mp4"), "video/mp4"),
    (re.compile(r"index\.m3u8"), "application/vnd.apple.mpegurl"),
    (re.compile(r"segment_[0-9]{4,6}\.ts"), "video/mp2t"),
    (re.compile(r"thumbnails/thumbnails\.vtt"), "text/vtt"),
    (re.compile(r"thumbnails/keyframes_[0-9]{1,4}\.jpg"), "image/jpeg"),
)
_LABEL = "AI-generated"
_STYLE = (
    "body{margin:0;background:#111;color:#eee;font:16px/1.5 system-ui,sans-serif}main{max-width:60rem;margin:0 auto;"
    "padding:1rem}video{width:100%;max-height:80vh;background:#000}h1{font-size:1.2rem;overflow-wrap:anywhere;"
    "unicode-bidi:plaintext;white-space:pre-wrap}.label{border:1px solid #888;border-radius:1rem;padding:.1rem .6rem}"
    "a{color:#8bf}nav{margin-bottom:.8rem}"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'nonce-{nonce}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
}


class Pages:
    """Serves an asset only while it is not deleted, and only names that this host gives out itself."""

    def __init__(self, store: Store, back_url: str = "") -> None:
        """`back_url` is where the watch page's way back leads; without one it has none."""
        self._store = store
        self.public_url, self.back_url = "", back_url

    def routes(self) -> list[web.RouteDef]:
        files, watch = "/media/{id:[0-9a-z]{16}}/{file:.+}", "/v/{id:[0-9a-z]{16}}"
        return [
            web.get(files, self.file),  # HEAD comes with it
            web.get(watch, self.watch),
        ]

    async def file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["file"]
        kind = next((kind for pattern, kind in _FILES if pattern.fullmatch(name)), None)
        asset = self._find(request)
        if kind is None or asset is None or not (path := self._store.folder(asset) / name).is_file():
            raise web.HTTPNotFound(text="There is no such file.")
        # A name's bytes never change once they are there.
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return web.FileResponse(path, headers={**headers, "Content-Type": kind})

    async def watch(self, request: web.Request) -> web.Response:
        asset = self._find(request)
        if asset is None or not asset.hls_ready:
            sentence = "This video does not exist." if asset is None else "This video is not ready yet."
            status = 404 if asset is None else 503
            return self._page("Video", f"<p>{sentence}</p>", "", status)
        if request.method == "GET":
            self._store.count_view(asset.playback_id)
        return self._page(asset.name, self._player(asset), self._tags(asset), 200)

    def _find(self, request: web.Request) -> Asset | None:
        try:
            asset = self._store.by_playback_id(request.match_info["id"])
        except KeyError:
            return None
        private = asset.policy is not None and asset.policy["type"] != "public"
        return None if asset.is_gone or private else asset

    def _player(self, asset: Asset) -> str:
        files = f"{self.public_url}/media/{asset.playback_id}"
        sources = f'<source src="{escape(files)}/index.m3u8" type="application/vnd.apple.mpegurl">'
        if asset.mp4:
            sources = f'<source src="{escape(files)}/{escape(asset.mp4["file"])}" type="video/mp4">' + sources
        back = f'<nav><a href="{escape(self.back_url)}">← Back to the chat</a></nav>' if self.back_url else ""
        return (
            f'{back}<video controls playsinline loop preload="metadata" aria-label="{escape(asset.name)}" '
            f'poster="{escape(files)}/{POSTER}">{sources}</video><h1>{escape(asset.name)}</h1>'
            f'<p><span class="label">{_LABEL}</span></p>'
        )

    def _tags(self, asset: Asset) -> str:
        """Return what Discord reads for a link preview (developers/link-previews): titles of 70 bytes, texts of 350."""
        files = f"{self.public_url}/media/{asset.playback_id}"
        track = asset.video_spec["tracks"][0] if asset.video_spec else {}
        tags: dict[str, object] = {
            "og:type": "video.other",
            "og:title": cut(asset.name, 70),
            "og:description": cut(f"{_LABEL} video: {asset.name}", 350),
            "og:url": f"{self.public_url}/v/{asset.playback_id}",
            "og:image": f"{files}/{POSTER}",
            "og:image:width": track.get("width", 0),
            "og:image:height": track.get("height", 0),
        }
        if asset.mp4:
            tags["og:video"] = f"{files}/{asset.mp4['file']}"
            tags["og:video:type"] = "video/mp4"
            tags["og:video:width"], tags["og:video:height"] = asset.mp4["width"], asset.mp4["height"]
        return "".join(f'<meta property="{name}" content="{escape(str(text))}">' for name, text in tags.items())

    @staticmethod
    def _page(title: str, body: str, tags: str, status: int) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        headers = {name: value.replace("{nonce}", nonce) for name, value in _HEADERS.items()}
        text = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width,initial-scale=1"><title>{escape(cut(title, 70))}</title>{tags}'
            f'<style nonce="{nonce}">{_STYLE}</style></head><body><main>{body}</main></body></html>'
        )
        return web.Response(text=text, content_type="text/html", status=status, headers=headers)


def cut(text: str, most_bytes: int) -> str:
    """Return the text on one line, cut to so many bytes of UTF-8, never in the middle of a character."""
    line = " ".join(text.split())
    if len(line.encode("utf-8", "replace")) <= most_bytes:
        return line
    return line.encode("utf-8", "replace")[: most_bytes - 3].decode("utf-8", "ignore") + "…"
