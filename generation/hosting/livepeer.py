"""Livepeer Studio as a video host, over plain HTTP. The embedded host has the same API.

API: https://docs.livepeer.org/api-reference (asset, playback, views). Addresses of files come only from the
playback endpoint: Livepeer has moved its hosts more than once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import quote, urljoin

import httpx

from generation.hosting.guarded import FORBIDDEN, NO_ANSWER, bounded, fetch
from generation.hosting.host import (
    AssetFailed,
    AssetMissing,
    HostBusy,
    HostedAsset,
    HostError,
    HostRejected,
    HostUnreachable,
    NotReady,
    OnPhase,
    Phase,
    Playback,
    Polling,
    UploadTicket,
)
from generation.hosting.http_errors import (
    check_url,
    error_of,
    hide_addresses_in_logs,
    json_body,
    json_object,
    no_answer,
    unreadable,
)
from generation.hosting.livepeer_rows import asset_of, checked_id, first_url, number_of, url_of
from generation.hosting.reach import ForbiddenAddressError, Reach

log = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
TOTAL_S = 120.0  # for a whole answer, however often a part of it comes
_LIST_PAGE = 100
_LIST_PAGES = 10
_VTT_BYTES = 64 * 1024
_LONGEST_RETRY_S = 30.0


class LivepeerHost:
    """A VideoHost on Livepeer's API.

    `api_base` is an address such as https://livepeer.studio/api; `watch_page` holds `{playback_id}`. At most `at_once`
    requests run at a time (Livepeer's own limits are 5 and 20). Reads are tried `reads` times in all; a request for an
    upload is sent once, since each makes an asset. Raises ValueError for unusable arguments.
    """

    shortest_s = 4.0  # videos below three are reported to fail: github.com/livepeer/studio/issues/1328

    def __init__(
        self,
        api_base: str,
        api_key: str,
        watch_page: str = "https://lvpr.tv/?v={playback_id}",
        client: httpx.AsyncClient | None = None,
        *,
        polling: Polling | None = None,
        at_once: int = 4,
        reads: int = 4,
        retry_s: float = 0.5,
    ) -> None:
        self._base = check_url(api_base, "The video host's address").rstrip("/")
        # A stray newline would make the HTTP library quote the whole key in its error.
        if not re.fullmatch(r"[!-~]+", api_key):
            raise ValueError("The API key of the video host is empty or has a space or an unusual character in it.")
        if "{playback_id}" not in watch_page:
            raise ValueError("The watch page's address must contain {playback_id}.")
        self._key = api_key
        self._watch_page = watch_page
        self._owns_client = client is None
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT)
        self._reach = Reach.of(self._base)  # the host's answers name addresses: none inside our network
        self._polling = polling or Polling()
        self._gate = asyncio.Semaphore(at_once)
        self._reads = reads
        self._retry_s = retry_s
        self._waits: dict[str, asyncio.Event] = {}
        hide_addresses_in_logs()

    def __repr__(self) -> str:
        return f"LivepeerHost({self._base!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client, unless it is the caller's."""
        if self._owns_client:
            await self._client.aclose()

    async def check(self) -> None:
        """Ask for an asset that does not exist; nothing is made."""
        await self.find_asset("flock-doctor-probe.mp4")

    async def request_upload(self, name: str, *, creator: str, size_bytes: int = 0) -> UploadTicket:
        """Send POST /asset/request-upload, once. After HostUnreachable the asset may exist: see `find_asset`."""
        doing = "accept an upload"
        request = {
            "name": name,
            "staticMp4": True,  # else there is only HLS, which Discord does not play
            "playbackPolicy": {"type": "public"},  # cannot be changed later, and Discord fetches without a key
            "creatorId": {"type": "unverified", "value": creator},
        }
        body = json_object(await self._send("POST", "/asset/request-upload", doing, json=request), doing)
        try:
            asset = asset_of(body["asset"])
            endpoint = check_url(str(body["tusEndpoint"]), "The upload's address")
        except (KeyError, TypeError, ValueError):
            raise unreadable(doing) from None
        if not self._reach.allows_url(endpoint):
            raise HostRejected(FORBIDDEN, status=NO_ANSWER)
        return UploadTicket(asset.asset_id, asset.playback_id, endpoint)

    async def find_asset(self, name: str) -> HostedAsset | None:
        """Send GET /asset, filtered by name: Livepeer matches parts and ignores case, so the rest is done here."""
        doing = "look for an asset"
        # The host decodes the filter once more than HTTP does, and treats \ and % as parts of a pattern.
        pattern = re.sub(r"[\\%]", "_", name)
        filters = quote(json.dumps([{"id": "name", "value": pattern}]), safe="")
        query = {"limit": str(_LIST_PAGE), "order": "createdAt-true", "filters": filters}
        for _ in range(_LIST_PAGES):
            response = await self._read("/asset", doing, params=query)
            rows = json_body(response, doing)
            if not isinstance(rows, list):
                raise unreadable(doing)
            for row in rows:
                try:
                    asset = asset_of(row)
                except (KeyError, TypeError, ValueError):
                    continue  # an unreadable row does not hide the others
                if asset.name == name and asset.phase not in {"deleting", "deleted"}:
                    return asset
            next_page = response.links.get("next", {}).get("url")
            cursor = httpx.URL(next_page).params.get("cursor") if next_page else None
            if not rows or not cursor:
                return None
            query["cursor"] = cursor
        return None

    async def asset(self, asset_id: str) -> HostedAsset:
        """Send GET /asset/{id}, which has the true state of a video. Raises AssetMissing."""
        doing = "show an asset"
        path = f"/asset/{checked_id(asset_id)}"
        try:
            return asset_of(json_object(await self._read(path, doing), doing))
        except HostRejected as error:
            if error.status == 404:
                raise AssetMissing(str(error), status=404, sentences=error.sentences) from None
            raise
        except (KeyError, TypeError, ValueError):
            raise unreadable(doing) from None

    async def playback(self, playback_id: str) -> Playback:
        """Send GET /playback/{id}. An answer does not mean that the mp4 exists. Raises NotReady (on 404 or 422)."""
        doing = "play a video"
        try:
            response = await self._read(f"/playback/{checked_id(playback_id)}", doing)
        except HostRejected as error:
            if error.status in {404, 422}:
                raise NotReady(f"The video is not playable yet: {'; '.join(error.sentences)}") from None
            raise
        meta = json_object(response, doing).get("meta")
        entries = meta.get("source") if isinstance(meta, dict) else None
        if not isinstance(entries, list):
            raise unreadable(doing)
        sources: list[Mapping[str, object]] = [
            entry for entry in entries if isinstance(entry, dict) and self._reach.allows_url(str(entry.get("url")))
        ]
        mp4s = [s for s in sources if s.get("type") == "html5/video/mp4" and url_of(s)]
        no_source: Mapping[str, object] = {}
        best = max(mp4s, key=lambda s: number_of(s.get("bitrate")) or 0.0, default=no_source)
        width, height = number_of(best.get("width")), number_of(best.get("height"))
        return Playback(
            playback_id=playback_id,
            page_url=self._watch_page.replace("{playback_id}", quote(playback_id, safe="")),
            mp4_url=url_of(best),
            hls_url=first_url(sources, "html5/application/vnd.apple.mpegurl"),
            poster_url=first_url(sources, "image/jpeg", "image/png")
            or await self._poster(first_url(sources, "text/vtt")),
            width=int(width) if width else None,
            height=int(height) if height else None,
        )

    async def wait_until_playable(
        self, asset_id: str, *, polling: Polling | None = None, on_phase: OnPhase | None = None
    ) -> Playback:
        """Ask with growing pauses until the video plays, best with an mp4.

        An unreachable or busy host is asked again until the deadline. Raises AssetFailed, AssetMissing, HostRejected,
        or NotReady at the deadline: the caller decides whether to wait again. `nudge` ends a pause.
        """
        nudged = self._waits.setdefault(asset_id, asyncio.Event())
        try:
            return await self._until_playable(asset_id, polling or self._polling, on_phase, nudged)
        finally:
            if self._waits.get(asset_id) is nudged:
                del self._waits[asset_id]

    def nudge(self, asset_id: str) -> None:
        """End the pause of whoever waits for an asset: there may be news of it, so the host is asked at once."""
        if asset_id in self._waits:
            self._waits[asset_id].set()

    async def _until_playable(
        self, asset_id: str, ask: Polling, on_phase: OnPhase | None, nudged: asyncio.Event
    ) -> Playback:
        clock = asyncio.get_running_loop().time
        deadline = clock() + ask.deadline_s
        pause = ask.first_s
        last: HostedAsset | None = None
        while True:
            pause_now = pause
            nudged.clear()
            try:
                asset = await self.asset(asset_id)
                if on_phase is not None and asset != last:
                    await on_phase(asset)
                last = asset
                if asset.phase == "failed":
                    raise AssetFailed(asset_id, asset.error or "the host gave no reason")
                if asset.phase in {"deleting", "deleted"}:
                    raise AssetFailed(asset_id, "it was deleted at the host")
                if asset.phase == "ready" and asset.playback_id:
                    return await self._playback_when_complete(asset.playback_id, ask, deadline)
            except (HostUnreachable, HostBusy) as error:
                log.warning("Waiting for asset %s: %s", asset_id, error)
                if isinstance(error, HostBusy) and error.retry_after is not None:
                    pause_now = max(pause, error.retry_after)
            if clock() + pause_now >= deadline:
                phase: Phase | None = last.phase if last else None
                state = f"its phase is still {phase}" if phase else "the host gave no answer"
                raise NotReady(f"Asset {asset_id} is not playable after {ask.deadline_s:.0f} s: {state}.", phase)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_now):
                    await nudged.wait()
            pause = min(pause * 1.5, ask.longest_s)

    async def delete(self, asset_id: str) -> None:
        """Send DELETE /asset/{id}; the host's answer that it is gone already is a success too."""
        try:
            await self._send("DELETE", f"/asset/{checked_id(asset_id)}", "delete an asset", tries=self._reads)
        except HostRejected as error:
            if error.status != 404 and not (error.status == 400 and "already deleted" in str(error)):
                raise

    async def views(self, playback_id: str) -> int:
        """Send GET /data/views/query/total/{playbackId}: it counts plays in Livepeer's own players only."""
        doing = "count views"
        body = json_object(await self._read(f"/data/views/query/total/{checked_id(playback_id)}", doing), doing)
        return int(number_of(body.get("viewCount")) or 0)

    async def _playback_when_complete(self, playback_id: str, ask: Polling, deadline: float) -> Playback:
        """Wait for the playback of a ready asset. The host's caches lag: first a 404, then HLS, then the mp4."""
        clock = asyncio.get_running_loop().time
        start = clock()
        while True:
            try:
                playback = await self.playback(playback_id)
                waited = clock() - start
                if playback.mp4_url or (playback.hls_url and waited + ask.mp4_every_s > ask.mp4_grace_s):
                    return playback
            except NotReady as error:
                if clock() - start >= ask.missing_grace_s:
                    raise NotReady(str(error), "ready") from None
            if clock() + ask.mp4_every_s >= deadline:
                raise NotReady("The asset is ready, but the host has nothing to play yet.", "ready")
            await asyncio.sleep(ask.mp4_every_s)

    async def _poster(self, vtt: str | None) -> str | None:
        """Return the first picture that the thumbnails' index names; best effort, and without our key."""
        if vtt is None:
            return None
        try:
            async with self._gate:
                index = await fetch(vtt, self._reach, _VTT_BYTES, total_s=TOTAL_S)
        except (httpx.HTTPError, httpx.InvalidURL, ForbiddenAddressError, TimeoutError):
            return None
        text = index.data.decode("utf-8", "replace") if index.is_success else ""
        name = re.search(r"^(\S+\.(?:jpe?g|png|webp))(?:#\S*)?\s*$", text, re.I | re.M)
        poster = url_of({"url": urljoin(vtt, name[1])}) if name else None
        return poster if poster and self._reach.allows_url(poster) else None

    async def _read(self, path: str, doing: str, *, params: Mapping[str, str] | None = None) -> httpx.Response:
        return await self._send("GET", path, doing, tries=self._reads, params=params)

    async def _send(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        tries: int = 1,
        params: Mapping[str, str] | None = None,
        json: object = None,
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        for attempt in range(1, tries + 1):
            failure: HostError
            try:
                async with (
                    self._gate,
                    asyncio.timeout(TOTAL_S),
                    self._client.stream(
                        method,
                        self._base + path,
                        headers=headers,
                        params=params,
                        json=json,
                        auth=None,
                        follow_redirects=False,
                    ) as answer,
                ):
                    response = await bounded(answer)
                if response.is_success:
                    return response
                failure = error_of(response, doing, self._key)
            except TimeoutError:
                failure = no_answer(httpx.ReadTimeout("The whole answer took too long."), doing)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                failure = no_answer(error, doing)
            if attempt == tries or not failure.retryable:
                raise failure from None
            pause = self._retry_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
            if isinstance(failure, HostBusy) and failure.retry_after is not None:
                if failure.retry_after > _LONGEST_RETRY_S:
                    raise failure  # the caller decides whether to wait that long
                pause = max(pause, failure.retry_after)
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")
