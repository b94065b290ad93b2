"""Webhooks from Livepeer about the progress of assets: one ends a wait early, and its contents are never relied on.

    Livepeer-Signature: t=<milliseconds>,v1=<hex of HMAC-SHA256(shared secret, raw body)>

The signature covers the body alone, so a replay shows by its time: the body's own must be the header's, and recent.
Livepeer repeats a delivery that got no answer or a 5xx, and never one that got a 4xx; polling makes up for lost ones.
Source: github.com/livepeer/studio, packages/api/src/webhooks/cannon.ts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

log = logging.getLogger(__name__)

PATH = "/webhooks/livepeer"
SIGNATURE = "Livepeer-Signature"
FRESH_MS = 5 * 60_000
MOST_BYTES = 256 * 1024
MOST_REMEMBERED = 10_000  # ids of events; each is a few dozen bytes
_HEADER = re.compile(r"t=(?P<t>[0-9]{1,16}),v1=(?P<v1>[0-9a-f]{64})")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
ENDS_A_WAIT = frozenset({"asset.ready", "asset.failed", "asset.deleted"})


class NoticeError(Exception):
    """A delivery that is not genuine; the message says why, without quoting it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Notice:
    """The subject of a delivery. `event_id` stays the same when it is delivered again."""

    event_id: str
    event: str
    asset_id: str | None


def sign(secret: str, body: bytes, at_ms: int) -> str:
    """Return the header as Livepeer makes it."""
    return f"t={at_ms},v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def read_notice(secret: str, header: str | None, body: bytes, *, now_ms: int) -> Notice:
    """Return the notice, if a holder of the secret has just sent it. Raises NoticeError (401 if unsigned, 403, 400)."""
    if not header:
        raise NoticeError(401, "it is not signed")
    signature = _HEADER.fullmatch(header.strip())
    if signature is None:
        raise NoticeError(400, "its signature cannot be read")
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature["v1"]):
        raise NoticeError(403, "its signature is not ours")
    try:
        data = json.loads(body)
        event_id, event, at_ms = str(data["id"]), str(data["event"]), int(data["timestamp"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoticeError(400, "its body cannot be read") from None
    if at_ms != int(signature["t"]):
        raise NoticeError(403, "its time is not the one that was signed")
    if abs(now_ms - at_ms) > FRESH_MS:
        raise NoticeError(403, "it is too old, or from the future: set this machine's clock (NTP)")
    payload = data.get("payload")
    asset = payload.get("asset") if isinstance(payload, dict) else None
    asset_id = asset.get("id") if isinstance(asset, dict) else None
    valid = isinstance(asset_id, str) and _ID.fullmatch(asset_id)
    return Notice(event_id[:128], event[:64], asset_id if valid else None)


class Receiver:
    """The receiver of deliveries; it calls `on_asset` once per event with the id of an asset that has news."""

    def __init__(self, secret: str, on_asset: Callable[[str], None]) -> None:
        if len(secret) < 16:
            raise ValueError("The secret of webhooks is too short: take at least 16 random characters.")
        self._secret = secret
        self._on_asset = on_asset
        self._event_ids: OrderedDict[str, None] = OrderedDict()

    async def receive(self, request: web.Request) -> web.Response:
        """Answer 204 to a genuine delivery, also a repeated one, else 4xx. Our own failure is a 500: it is repeated."""
        try:
            body = await request.read()
            notice = read_notice(self._secret, request.headers.get(SIGNATURE), body, now_ms=time.time_ns() // 1_000_000)
        except NoticeError as error:
            log.warning("A webhook was refused: %s.", error)
            return web.Response(status=error.status)
        if notice.event_id not in self._event_ids:
            if notice.asset_id is not None and notice.event in ENDS_A_WAIT:
                self._on_asset(notice.asset_id)
            self._event_ids[notice.event_id] = None
            if len(self._event_ids) > MOST_REMEMBERED:
                self._event_ids.popitem(last=False)
        return web.Response(status=204)
