"""Livepeer Studio as a video host, over plain HTTP. The embedded host speaks the same language.

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
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urljoin

import httpx

from generation.hosting.host import (
    PHASES,
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
)

log = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_LIST_PAGE = 100
_LIST_PAGES = 10
_VTT_BYTES = 64 * 1024
_LONGEST_RETRY_S = 30.0


class LivepeerHost:
    """A VideoHost on Livepeer's API.

    `api_base` is such as https://livepeer.studio/api; `watch_page` holds `{playback_id}`. At most `at_once`
    requests are under way (Livepeer's own limits are 5 and 20). Reads are repeated `reads` times in all; a
    request for an upload is sent once, since each makes an asset. Raises ValueError for unusable arguments.
    """

    shortest_s = 4.0  # below three it is said to fail: github.com/livepeer/studio/issues/1328

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
        if self._owns_client:
            await self._client.aclose()

    async def check(self) -> None:
        """Asks for an asset that there is not; nothing is made."""
        await self.find_asset("flock-doctor-probe.mp4")

    async def request_upload(self, name: str, *, creator: str, size_bytes: int = 0) -> UploadTicket:
        """POST /asset/request-upload, once. After HostUnreachable the asset may exist: see `find_asset`."""
        doing = "accept an upload"
        wish = {
            "name": name,
            "staticMp4": True,  # without it, there is HLS only, which Discord does not play
            "playbackPolicy": {"type": "public"},  # cannot be changed later, and Discord fetches without a key
            "creatorId": {"type": "unverified", "value": creator},
        }
        body = json_object(await self._send("POST", "/asset/request-upload", doing, json=wish), doing)
        try:
            asset = _asset(body["asset"])
            endpoint = check_url(str(body["tusEndpoint"]), "The upload's address")
        except (KeyError, TypeError, ValueError):
            raise _strange(doing) from None
        return UploadTicket(asset.asset_id, asset.playback_id, endpoint)

    async def find_asset(self, name: str) -> HostedAsset | None:
        """GET /asset, filtered by name: Livepeer matches parts and ignores case, so the rest is done here."""
        doing = "look for an asset"
        # The host decodes the filter once more than HTTP does, and takes \ and % for parts of a pattern.
        pattern = re.sub(r"[\\%]", "_", name)
        filters = quote(json.dumps([{"id": "name", "value": pattern}]), safe="")
        query = {"limit": str(_LIST_PAGE), "order": "createdAt-true", "filters": filters}
        for _ in range(_LIST_PAGES):
            response = await self._read("/asset", doing, params=query)
            rows = json_body(response, doing)
            if not isinstance(rows, list):
                raise _strange(doing)
            for row in rows:
                try:
                    found = _asset(row)
                except (KeyError, TypeError, ValueError):
                    continue  # one row that we cannot read does not hide the others
                if found.name == name and found.phase not in {"deleting", "deleted"}:
                    return found
            following = response.links.get("next", {}).get("url")
            cursor = httpx.URL(following).params.get("cursor") if following else None
            if not rows or not cursor:
                return None
            query["cursor"] = cursor
        return None

    async def asset(self, asset_id: str) -> HostedAsset:
        """GET /asset/{id}: the truth about a video's state. Raises AssetMissing."""
        doing = "show an asset"
        path = f"/asset/{_checked(asset_id)}"
        try:
            return _asset(json_object(await self._read(path, doing), doing))
        except HostRejected as error:
            if error.status == 404:
                raise AssetMissing(str(error), status=404, sentences=error.sentences) from None
            raise
        except (KeyError, TypeError, ValueError):
            raise _strange(doing) from None

    async def playback(self, playback_id: str) -> Playback:
        """GET /playback/{id}. An answer does not mean that the mp4 exists. Raises NotReady (the host's 404 or 422)."""
        doing = "play a video"
        try:
            response = await self._read(f"/playback/{_checked(playback_id)}", doing)
            sources = [s for s in json_object(response, doing)["meta"]["source"] if isinstance(s, dict)]
        except HostRejected as error:
            if error.status in {404, 422}:
                raise NotReady(f"The video is not playable yet: {'; '.join(error.sentences)}") from None
            raise
        except (KeyError, TypeError):
            raise _strange(doing) from None
        mp4s = [s for s in sources if s.get("type") == "html5/video/mp4" and _url(s)]
        best = max(mp4s, key=lambda s: _number(s.get("bitrate")) or 0.0, default={})
        width, height = _number(best.get("width")), _number(best.get("height"))
        return Playback(
            playback_id=playback_id,
            page_url=self._watch_page.replace("{playback_id}", quote(playback_id, safe="")),
            mp4_url=_url(best),
            hls_url=_first(sources, "html5/application/vnd.apple.mpegurl"),
            poster_url=_first(sources, "image/jpeg", "image/png") or await self._poster(_first(sources, "text/vtt")),
            width=int(width) if width else None,
            height=int(height) if height else None,
        )

    async def wait_until_playable(
        self, asset_id: str, *, polling: Polling | None = None, on_phase: OnPhase | None = None
    ) -> Playback:
        """Asks with growing pauses until the video plays, best with an mp4.

        A host that is away or busy is asked again until the deadline. Raises AssetFailed, AssetMissing,
        HostRejected, or NotReady at the deadline: whoever waits decides whether to wait again. `nudge` ends a pause.
        """
        nudged = self._waits.setdefault(asset_id, asyncio.Event())
        try:
            return await self._until_playable(asset_id, polling or self._polling, on_phase, nudged)
        finally:
            if self._waits.get(asset_id) is nudged:
                del self._waits[asset_id]

    def nudge(self, asset_id: str) -> None:
        """Somebody says that there is news of an asset: whoever waits for it asks the host at once."""
        if asset_id in self._waits:
            self._waits[asset_id].set()

    async def _until_playable(
        self, asset_id: str, ask: Polling, on_phase: OnPhase | None, nudged: asyncio.Event
    ) -> Playback:
        clock = asyncio.get_running_loop().time
        deadline = clock() + ask.deadline_s
        pause, last = ask.first_s, None
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
                    return await self._settled(asset.playback_id, ask, deadline)
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
        """DELETE /asset/{id}; done as well when the host says that it is gone already."""
        try:
            await self._send("DELETE", f"/asset/{_checked(asset_id)}", "delete an asset", tries=self._reads)
        except HostRejected as error:
            if error.status != 404 and not (error.status == 400 and "already deleted" in str(error)):
                raise

    async def views(self, playback_id: str) -> int:
        """GET /data/views/query/total/{playbackId}: plays in Livepeer's own players only."""
        doing = "count views"
        body = json_object(await self._read(f"/data/views/query/total/{_checked(playback_id)}", doing), doing)
        return int(_number(body.get("viewCount")) or 0)

    async def _settled(self, playback_id: str, ask: Polling, deadline: float) -> Playback:
        """The playback of a ready asset. The host's caches lag: HLS comes before the mp4, a 404 before either."""
        clock = asyncio.get_running_loop().time
        start = clock()
        while True:
            try:
                found = await self.playback(playback_id)
                waited = clock() - start
                if found.mp4_url or (found.hls_url and waited + ask.mp4_every_s > ask.mp4_grace_s):
                    return found
            except NotReady as error:
                if clock() - start >= ask.missing_grace_s:
                    raise NotReady(str(error), "ready") from None
            if clock() + ask.mp4_every_s >= deadline:
                raise NotReady("The asset is ready, but the host has nothing to play yet.", "ready")
            await asyncio.sleep(ask.mp4_every_s)

    async def _poster(self, vtt: str | None) -> str | None:
        """The first picture that the thumbnails' index names; best effort, and without our key."""
        if vtt is None:
            return None
        try:
            async with self._gate, self._client.stream("GET", vtt, auth=None, timeout=TIMEOUT) as response:
                if response.status_code != 200:
                    return None
                text = b""
                async for piece in response.aiter_bytes():
                    text += piece
                    if len(text) > _VTT_BYTES:
                        break
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        name = re.search(r"^(\S+\.(?:jpe?g|png|webp))(?:#\S*)?\s*$", text.decode("utf-8", "replace"), re.I | re.M)
        return _url({"url": urljoin(vtt, name[1])}) if name else None

    async def _read(self, path: str, doing: str, **more: Any) -> httpx.Response:
        return await self._send("GET", path, doing, tries=self._reads, **more)

    async def _send(self, method: str, path: str, doing: str, *, tries: int = 1, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        for attempt in range(1, tries + 1):
            failure: HostError
            try:
                async with self._gate:
                    response = await self._client.request(
                        method, self._base + path, headers=headers, auth=None, follow_redirects=False, **more
                    )
                if response.is_success:
                    return response
                failure = error_of(response, doing, self._key)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                failure = no_answer(error, doing)
            if attempt == tries or not failure.retryable:
                raise failure from None
            pause = self._retry_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
            if isinstance(failure, HostBusy) and failure.retry_after is not None:
                if failure.retry_after > _LONGEST_RETRY_S:
                    raise failure  # whoever asked decides whether to wait that long
                pause = max(pause, failure.retry_after)
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")


def _asset(data: dict[str, Any]) -> HostedAsset:
    """Unknown keys are ignored, missing optional ones are None. Raises KeyError, TypeError, ValueError."""
    status = data.get("status") or {}
    phase = status.get("phase", "waiting")
    if phase not in PHASES:
        log.warning("The video host names a phase that we do not know; taken for processing.")
        phase = "processing"
    playback_id = data.get("playbackId")
    size = _number(data.get("size"))
    return HostedAsset(
        asset_id=_checked(data["id"]),
        name=str(data.get("name", "")),
        phase=phase,
        playback_id=_checked(playback_id) if playback_id else None,
        progress=_number(status.get("progress")),
        error=str(status["errorMessage"]) if status.get("errorMessage") else None,
        size_bytes=int(size) if size is not None else None,
        duration_s=_number((data.get("videoSpec") or {}).get("duration")),
    )


def _checked(ident: Any) -> str:
    if not isinstance(ident, str) or not _ID.fullmatch(ident):
        raise ValueError("An id of the video host has letters, digits, - and _ only.")
    return ident


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _url(source: dict[str, Any]) -> str | None:
    try:
        return check_url(str(source.get("url", "")), "A file's address")
    except ValueError:
        return None


def _first(sources: list[dict[str, Any]], *kinds: str) -> str | None:
    return next((url for s in sources if s.get("type") in kinds and (url := _url(s))), None)


def _strange(doing: str) -> HostUnreachable:
    return HostUnreachable(f"The video host answered in a form that we do not know when asked to {doing}.")
