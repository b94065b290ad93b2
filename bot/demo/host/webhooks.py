"""Webhooks about assets, as Livepeer sends them: signed, in order, again after a 5xx, never after a 4xx.

Source of the wire's quirks: github.com/livepeer/studio, packages/api/src/webhooks/cannon.ts. Deliveries that are under
way when this host ends are lost, as some of Livepeer's are: a listener has to poll as well.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable
from typing import cast

import aiohttp
from aiohttp import web

from bot.demo.host.config import HostConfig
from bot.demo.host.payloads import refusal
from bot.demo.host.phases import is_loopback
from bot.demo.host.refusals import Refused, answer
from bot.demo.host.store import Asset, Hook, JsonObject, Store
from generation.hosting.webhooks import SIGNATURE, sign

log = logging.getLogger(__name__)

MOST_TRIES = 33
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 3600.0
TIMEOUT_S = 30.0
_OF_PHASE = {"ready": "asset.ready", "failed": "asset.failed", "deleting": "asset.deleted"}


class Webhooks:
    """The routes of webhooks, and their deliveries: for each webhook one after the other."""

    def __init__(self, store: Store, config: HostConfig, authorize: Callable[[web.Request], None]) -> None:
        self._store = store
        self._config = config
        self._authorize = authorize
        self._queues: dict[str, asyncio.Queue[JsonObject]] = {}
        self._senders: dict[str, asyncio.Task[None]] = {}
        self.snapshot: Callable[[Asset], JsonObject] = lambda _: {}  # an asset as the API shows it

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/webhook", self.create),
            web.get("/api/webhook", self.listing),
            web.get("/api/webhook/{id:[^/]+}", self.show),
            web.delete("/api/webhook/{id:[^/]+}", self.delete),
        ]

    async def create(self, request: web.Request) -> web.Response:
        self._authorize(request)
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            raise Refused(400, "invalid JSON in the request body") from None
        if complaint := refusal(body, "webhook"):
            raise Refused(422, complaint)
        if not is_loopback(body["url"]):
            raise Refused(422, "the embedded host calls loopback addresses only")
        # `refusal` has checked the fields of the body.
        hook = cast(Hook, {**body, "id": str(uuid.uuid4()), "createdAt": time.time_ns() // 1_000_000})
        self._store.keep_webhook(hook["id"], hook)
        return answer(_public(hook))

    async def listing(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return answer([_public(hook) for hook in self._store.webhooks()])

    async def show(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return answer(_public(self._find(request)))

    async def delete(self, request: web.Request) -> web.Response:
        self._authorize(request)
        hook = self._find(request)
        self._store.keep_webhook(hook["id"], None)
        if sender := self._senders.pop(hook["id"], None):
            sender.cancel()
        return answer(_public(hook))

    def changed(self, asset: Asset, before: str | None) -> None:
        """Queue the events of an asset that was made, or changed: `before` is the phase that it had."""
        events = ["asset.created"] if before is None else ["asset.updated"]
        if asset.phase != before and asset.phase in _OF_PHASE:
            events.append(_OF_PHASE[asset.phase])
        for hook in self._store.webhooks():
            for event in events:
                if event in hook.get("events", []):
                    self._queue(hook["id"]).put_nowait(self._delivery(hook["id"], event, asset))

    async def close(self) -> None:
        for sender in self._senders.values():
            sender.cancel()
        await asyncio.gather(*self._senders.values(), return_exceptions=True)

    def _find(self, request: web.Request) -> Hook:
        hook_id = request.match_info["id"]
        for hook in self._store.webhooks():
            if hook["id"] == hook_id:
                return hook
        raise Refused(404, "webhook not found")

    def _delivery(self, hook_id: str, event: str, asset: Asset) -> JsonObject:
        return {
            "id": str(uuid.uuid4()),
            "webhookId": hook_id,
            "createdAt": time.time_ns() // 1_000_000,
            "event": event,
            "payload": {"asset": {"id": asset.id, "snapshot": self.snapshot(asset)}},
        }

    def _queue(self, hook_id: str) -> asyncio.Queue[JsonObject]:
        if hook_id not in self._senders:
            self._queues[hook_id] = asyncio.Queue()
            self._senders[hook_id] = asyncio.create_task(self._send_all(hook_id), name="webhook")
        return self._queues[hook_id]

    async def _send_all(self, hook_id: str) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            while True:
                delivery = await self._queues[hook_id].get()
                pause = FIRST_PAUSE_S
                for _ in range(MOST_TRIES):
                    hook = next((hook for hook in self._store.webhooks() if hook["id"] == hook_id), None)
                    if hook is None or await self._send(session, hook, delivery):
                        break
                    await asyncio.sleep(self._config.hasten(pause))
                    pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _send(self, session: aiohttp.ClientSession, hook: Hook, delivery: JsonObject) -> bool:
        """Send once. Returns True if that was the last attempt: the delivery was taken, or refused for good."""
        at_ms = time.time_ns() // 1_000_000
        body = json.dumps({**delivery, "timestamp": at_ms}, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "livepeer.studio"}
        if secret := hook.get("sharedSecret"):
            headers[SIGNATURE] = sign(secret, body, at_ms)
        try:
            async with session.post(hook["url"], data=body, headers=headers, allow_redirects=False) as response:
                return response.status < 500
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


def _public(hook: Hook) -> JsonObject:
    return {key: value for key, value in hook.items() if key != "sharedSecret"}
