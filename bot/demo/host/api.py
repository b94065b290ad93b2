"""Assets, playback and views, in Livepeer's words.

Source of the wire's quirks: github.com/livepeer/studio, packages/api/src/controllers, asset.ts and playback.ts.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from typing import TypedDict
from urllib.parse import unquote, urlencode

from aiohttp import web

from bot.demo.host.config import HostConfig
from bot.demo.host.payloads import creator_of, is_base64, refusal
from bot.demo.host.phases import Phases
from bot.demo.host.refusals import Refused, answer
from bot.demo.host.store import Asset, JsonObject, Store
from bot.demo.host.uploads import upload_token
from generation.hosting.host import Phase

PENDING: tuple[Phase, ...] = ("waiting", "processing")
_COLUMNS = {  # the API's filter and order fields
    "id": "id",
    "name": "name",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "playbackId": "playback_id",
    "phase": "phase",
    "sourceUrl": "source_url",
    "creatorId": "json_extract(creator, '$.value')",
    "sourceType": "json_extract(source, '$.type')",
}
_TOKEN_NAME = "embedded"  # noqa: S105 - what the key is called, not the key


class Api:
    """The routes that need the API key, and playback, which needs none."""

    def __init__(self, store: Store, phases: Phases, config: HostConfig, api_key: str) -> None:
        self._store = store
        self._phases = phases
        self._config = config
        self._key = api_key
        self._cache: dict[tuple[str, bool], tuple[float, Asset | None]] = {}
        self.public_url = ""  # known once the port is

    def routes(self) -> list[web.RouteDef]:
        asset = "/api/asset/{id:[^/]+}"
        return [
            web.post("/api/asset/request-upload", self.request_upload),
            web.post("/api/asset/upload/url", self.upload_url),
            web.get("/api/asset", self.listing),
            web.get(asset, self.show),
            web.patch(asset, self.patch),
            web.delete(asset, self.delete),
            web.post(asset + "/retry", self.retry),
            web.get("/api/playback/{id:[^/]+}", self.playback),
            web.get("/api/data/views/query/total/{id:[^/]+}", self.views),
        ]

    def authenticated(self, request: web.Request) -> bool:
        """Return True if the request bears our key. Raises Refused for any other one, even where none is needed."""
        header = request.headers.get("Authorization")
        if header is None:
            return False
        key = re.sub(r"(?i)^bearer\s+", "", header).strip()
        if not key:
            raise Refused(401, "no authorization token provided")
        # Livepeer quotes the key here, so a client has to keep it out of its own logs.
        if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._key.encode()):
            raise Refused(401, f"no token {key} found")
        return True

    async def request_upload(self, request: web.Request) -> web.Response:
        self.authorize(request)
        body = await self._body(request, "new-asset")
        self._check_capacity()
        asset = self._store.create(phase="uploading", source={"type": "directUpload"}, **_new_asset(body))
        token = upload_token(self._store.secret, asset.playback_id)
        upload = f"{self.public_url}/api/asset/upload"
        return answer(
            {
                "url": f"{upload}/direct?token={token}",
                "tusEndpoint": f"{upload}/tus?token={token}",
                "asset": self.external(asset),
                "task": {"id": asset.task_id},
            }
        )

    async def upload_url(self, request: web.Request) -> web.Response:
        self.authorize(request)
        body = await self._body(request, "new-asset-from-url")
        url = str(body["url"])
        earlier = self._store.by_source_url(url)
        if earlier is not None:
            return answer({"asset": self.external(earlier), "task": {"id": earlier.task_id}})
        self._check_capacity()
        source: JsonObject = {"type": "url", "url": url}
        asset = self._store.create(phase="waiting", source=source, **_new_asset(body))
        self._phases.take(asset.id)
        return answer({"asset": self.external(asset), "task": {"id": asset.task_id}}, 201)

    async def listing(self, request: web.Request) -> web.Response:
        self.authorize(request)
        query = request.query
        where, values = ["phase NOT IN ('deleting', 'deleted')"], []
        for field, value in _filters(query.get("filters", "")) + [
            (field, unquote(query[field])) for field in ("playbackId", "sourceUrl", "phase") if field in query
        ]:
            where.append("name LIKE ?" if field == "name" else f"{_COLUMNS[field]} = ?")
            values.append(f"%{value}%" if field == "name" else value)
        order = []
        for part in query.get("order", "updatedAt-true,createdAt-true").split(","):
            name, _, descending = part.partition("-")
            if name in _COLUMNS and descending:
                order.append(f"{_COLUMNS[name]} {'DESC' if descending == 'true' else 'ASC'}")
        limit = min(_whole(query.get("limit", "")) or 100, 1000)
        skip = _whole(query.get("cursor", "").removeprefix("skip")) or 0
        tail = f"ORDER BY {', '.join([*order, 'rowid DESC'])} LIMIT ? OFFSET ?"
        assets = self._store.select(" AND ".join(where), (*values, limit, skip), tail)
        response = answer([self.external(asset) for asset in assets])
        if len(assets) == limit:
            following = urlencode({**query, "cursor": f"skip{skip + limit}"})
            response.headers["Link"] = f'<{self.public_url}/api/asset?{following}>; rel="next"'
        if query.get("count"):
            total = len(self._store.select(" AND ".join(where), tuple(values)))
            response.headers["X-Total-Count"] = str(total)
        return response

    async def show(self, request: web.Request) -> web.Response:
        self.authorize(request)
        asset = self._find(request)
        if asset.is_gone:
            raise Refused(404, "Asset not found")
        return answer(self.external(asset))

    async def patch(self, request: web.Request) -> web.Response:
        self.authorize(request)
        body = await self._body(request, "asset-patch")
        asset = self._find(request)
        if asset.phase != "ready":
            raise Refused(422, "asset is not ready")
        policy = _object(body.get("playbackPolicy"))
        if policy and _private(policy) != _private(asset.policy):
            raise Refused(422, "cannot update playback policy from private to public or vice versa")
        changes: JsonObject = {}
        if "name" in body:
            changes["name"] = body["name"]
        if policy:
            changes["policy"] = policy
        if "creatorId" in body:
            changes["creator"] = creator_of(body["creatorId"])
        self._store.update(asset.id, expect=None, **changes)
        return answer(self.external(self._store.get(asset.id)))

    async def delete(self, request: web.Request) -> web.Response:
        self.authorize(request)
        asset = self._find(request)
        if asset.is_gone:
            raise Refused(400, "asset is already deleted")
        self._store.update(asset.id, phase="deleting", progress=None)
        self._phases.take(asset.id)
        return web.Response(status=204)

    async def retry(self, request: web.Request) -> web.Response:
        self.authorize(request)
        asset = self._find(request)
        if not self._store.update(asset.id, expect="failed", phase="waiting", error=None):
            raise Refused(400, "Asset is not failed")
        self._phases.take(asset.id)
        return web.Response(status=204)

    async def playback(self, request: web.Request) -> web.Response:
        playback_id = request.match_info["id"]
        asset = self._cached(playback_id, self.authenticated(request))
        if asset is None:
            raise Refused(404, f"No playback URL found for {playback_id}")
        if asset.phase != "ready" and not asset.hls_ready:
            raise Refused(422, "asset is not ready for playback")
        files = f"{self.public_url}/media/{asset.playback_id}"
        sources: list[JsonObject] = [
            {"hrn": "HLS (TS)", "type": "html5/application/vnd.apple.mpegurl", "url": f"{files}/index.m3u8"},
            {"hrn": "Thumbnails", "type": "text/vtt", "url": f"{files}/thumbnails/thumbnails.vtt"},
        ]
        if asset.mp4:
            facts = {key: value for key, value in asset.mp4.items() if key != "file"}
            url = f"{files}/{asset.mp4['file']}"
            sources.insert(0, {"hrn": "MP4", "type": "html5/video/mp4", "url": url, **facts})
        return answer({"type": "vod", "meta": {"playbackPolicy": asset.policy, "source": sources}})

    async def views(self, request: web.Request) -> web.Response:
        self.authenticated(request)
        try:
            asset = self._store.by_playback_id(request.match_info["id"])
        except KeyError:
            raise Refused(404, "Asset not found") from None
        duration = asset.video_spec["duration"] if asset.video_spec else 0.0
        minutes = round(asset.views * duration / 60, 3)
        return answer({"playbackId": asset.playback_id, "viewCount": asset.views, "playtimeMins": minutes})

    def external(self, asset: Asset) -> JsonObject:
        """Return an asset as the API shows it: without what is write-only, such as staticMp4 or a key."""
        status: JsonObject = {"phase": asset.phase, "updatedAt": asset.updated_at}
        if asset.progress is not None:
            status["progress"] = asset.progress
        if asset.error is not None:
            status["errorMessage"] = asset.error
        external: JsonObject = {
            "id": asset.id,
            "playbackId": asset.playback_id,
            "userId": self._store.user_id,
            "createdAt": asset.created_at,
            "createdByTokenName": _TOKEN_NAME,
            "status": status,
            "name": asset.name,
            "source": asset.source,
        }
        optional = {
            "creatorId": asset.creator,
            "playbackPolicy": asset.policy,
            "size": asset.size,
            "videoSpec": asset.video_spec,
            "hash": [{"hash": asset.sha256, "algorithm": "sha256"}] if asset.sha256 else None,
        }
        external |= {key: value for key, value in optional.items() if value is not None}
        files = f"{self.public_url}/media/{asset.playback_id}"
        if asset.hls_ready:
            external["playbackUrl"] = f"{files}/index.m3u8"
        if asset.phase == "ready" and asset.mp4:
            external["downloadUrl"] = f"{files}/{asset.mp4['file']}"
        return external

    def _cached(self, playback_id: str, with_key: bool) -> Asset | None:
        """Return an asset, or None, as the last look-up did: a quirk of Livepeer, which remembers both for a while."""
        now = time.monotonic()
        expires, asset = self._cache.get((playback_id, with_key), (0.0, None))
        if now < expires:
            return asset
        try:
            asset = self._store.by_playback_id(playback_id)
        except KeyError:
            asset = None
        if asset is not None and asset.is_gone:
            asset = None
        young = asset is not None and asset.phase != "ready"
        seconds = self._config.playback_cache_young_s if young else self._config.playback_cache_s
        if len(self._cache) > 10_000:  # anybody may invent ids
            self._cache.clear()
        self._cache[playback_id, with_key] = (now + self._config.hasten(seconds), asset)
        return asset

    def authorize(self, request: web.Request) -> None:
        if not self.authenticated(request):
            raise Refused(401, "request is not authenticated")

    def _check_capacity(self) -> None:
        if self._store.count(*PENDING) >= self._config.max_pending_tasks:
            raise Refused(429, f"user {self._store.user_id} has reached the maximum number of pending tasks")

    def _find(self, request: web.Request) -> Asset:
        try:
            return self._store.get(request.match_info["id"])
        except KeyError:
            raise Refused(404, "Asset not found") from None

    @staticmethod
    async def _body(request: web.Request, kind: str) -> JsonObject:
        try:
            body = await request.json()
            json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair is no text
        except (ValueError, RecursionError):
            raise Refused(400, "invalid JSON in the request body") from None
        if complaint := refusal(body, kind):
            raise Refused(422, complaint)
        if body.get("profiles") == []:
            raise Refused(400, "assets must have at least one profile")
        if "encryption" in body:
            if not is_base64(str(body["encryption"]["encryptedKey"])):
                raise Refused(422, "encryptedKey must be valid base64")
            raise Refused(422, "the embedded host does not encrypt assets")  # rather than keep them in the open
        return dict(body)


class _NewAsset(TypedDict):
    name: str
    creator: JsonObject | None
    policy: JsonObject | None
    static_mp4: bool


def _new_asset(body: JsonObject) -> _NewAsset:
    return {
        "name": str(body["name"]),
        "creator": creator_of(body.get("creatorId")),
        "policy": _object(body.get("playbackPolicy")),
        "static_mp4": bool(body.get("staticMp4", False)),
    }


def _object(value: object) -> JsonObject | None:
    return value if isinstance(value, dict) else None


def _filters(text: str) -> list[tuple[str, str]]:
    """Parse `[{"id": "name", "value": "…"}]`; decoded once more than HTTP has done already, as Livepeer does."""
    if not text:
        return []
    try:
        entries = json.loads(unquote(text, errors="strict"))
        if not isinstance(entries, list):
            raise TypeError("must be an array")
        filters = [(str(entry["id"]), str(entry["value"])) for entry in entries]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Refused(400, f"error parsing filters: {type(error).__name__}") from None
    for name, _ in filters:
        if name not in _COLUMNS:
            raise Refused(400, f'error parsing filters: unknown field: "{name}"')
    return filters


def _private(policy: JsonObject | None) -> bool:
    return policy is not None and policy["type"] != "public"


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
