"""The REST API, version 10: simcord's routes behind HTTP, with the limits and checks that Discord has besides."""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
import sys
from collections.abc import Callable
from types import SimpleNamespace

from aiohttp import BodyPartReader, web
from simcord.backend import models, serializers
from simcord.backend.errors import BackendError
from simcord.http import router
from simcord.http import routes as _routes  # noqa: F401  # registers them

from bot.demo.discord import validation
from bot.demo.discord.attachments import MOST_BYTES, safe_name
from bot.demo.discord.faults import DiscordFaults, FileRefusedError, refusal, suffer
from bot.demo.discord.gateway import Gateway
from bot.demo.discord.interactions import Interactions
from bot.demo.discord.limits import Limits
from bot.demo.discord.messages import Payload
from bot.demo.discord.world import World

log = logging.getLogger(__name__)

NONCE_S = 300.0
_MOST_NONCES = 10_000
_REACTIONS = re.compile(r"/channels/\d+/messages/\d+/reactions/[^/]+")
# Discord's edge names itself; discord.py takes a 429 without it for a ban of the address and does not try again.
_VIA = {"Via": "1.1 embedded"}


class Rest:
    """Answers the bot's requests. `on_change` is called after every request that may have changed something."""

    def __init__(
        self,
        world: World,
        gateway: Gateway,
        interactions: Interactions,
        limits: Limits,
        token: str,
        on_change: Callable[[], None] = lambda: None,
        faults: DiscordFaults | None = None,
    ) -> None:
        self.world = world
        self.gateway = gateway
        self.interactions = interactions
        self.limits = limits
        self.on_interaction: list[Callable[[int], None]] = [interactions.changed]
        self._token = token
        self._on_change = on_change
        self._faults = faults or DiscordFaults(limits)
        self._nonces: dict[tuple[str, str], tuple[float, int]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request to /api/v10/…"""
        path = "/" + request.match_info["path"].strip("/")
        # Callbacks and follow-ups are authorised by the token in their path, as on Discord.
        authorised = path.startswith(("/interactions/", "/webhooks/")) or secrets.compare_digest(
            request.headers.get("Authorization", "").encode(errors="replace"), f"Bot {self._token}".encode()
        )
        if not authorised and not self.limits.shut_out:
            self.limits.note(401)
            return reply({"message": "401: Unauthorized", "code": 0}, 401, _VIA)
        self._faults.limit(request.method, path)
        verdict = self.limits.check(request.method, path)
        if verdict.banned:
            return web.Response(status=429, text="error code: 1015")
        headers = {**verdict.headers, **_VIA}
        if not verdict.allowed:
            self.limits.note(429)
            body = {"message": "You are being rate limited.", "retry_after": verdict.retry_after}
            return reply({**body, "global": verdict.is_global}, 429, headers)
        fault = self._faults.rest(request.method, path)
        if fault is None:
            return await self._do(request, path, headers)
        if fault.fault == "too_large":
            try:
                return await self._do(request, path, headers, most_bytes=fault.bytes)
            except FileRefusedError:
                return refusal(fault.code)
        return await suffer(fault, request, lambda: self._do(request, path, headers))

    async def _do(
        self, request: web.Request, path: str, headers: dict[str, str], *, most_bytes: int = MOST_BYTES
    ) -> web.Response:
        status, result = await self._answer(request, path, most_bytes)
        self.limits.note(status)
        if result is None:
            return web.Response(status=204, headers=headers)
        return reply(result, status, headers)

    async def _answer(self, request: web.Request, path: str, most_bytes: int) -> tuple[int, object]:
        try:
            json_body, files = await read_body(request)
            if any(len(file.fp.getbuffer()) > most_bytes for file in files):
                raise FileRefusedError
            result = self._dispatch(request, path, json_body, files)
        except (router.RouteNotImplemented, router.UnsupportedField) as error:
            sys.stderr.write(f"The embedded Discord lacks this: {error}\n")  # loudly: it never fakes a success
            sys.stderr.flush()
            return 501, {"code": 0, "message": str(error)}
        except BackendError as error:
            return error.status, error.to_json()
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            log.warning("A request was not understood: %s %s: %r", request.method, path, error)
            return 400, {"code": 50035, "message": "Invalid Form Body"}
        if request.method != "GET":
            self._on_change()
        return 200, result

    def _dispatch(self, request: web.Request, path: str, body: object, files: list[SimpleNamespace]) -> object:
        method, params = request.method, dict(request.query)
        if path == "/gateway":
            return {"url": self.gateway.url}
        if path == "/gateway/bot":
            return self.gateway.describe()
        if path == "/applications/@me":
            path = "/oauth2/applications/@me"
        interaction_id = self.interactions.of_path(path)
        if interaction_id is not None and self.interactions.is_too_late(interaction_id, path):
            raise BackendError(401, 50027, "Invalid Webhook Token")
        validation.check(self.world.backend, method, path, body, files)
        posts = method == "POST" and path.startswith("/channels/") and path.endswith("/messages")
        if posts and (earlier := self._posted_before(path, body)) is not None:
            return earlier
        if method == "PATCH" and (thread := self._thread(path)) is not None:
            return self._edit_thread(thread, body)
        result = router.dispatch(
            self.world.backend,
            method,
            path,
            json=body,
            params=params,
            files=files,
            reason=request.headers.get("X-Audit-Log-Reason"),
            message_content_access=False,
        )
        if interaction_id is not None:
            for listener in self.on_interaction:
                listener(interaction_id)
        if method == "GET" and _REACTIONS.fullmatch(path):
            return _page(result, params)
        if posts and isinstance(result, dict):
            self._remember_post(path, body, result)
        return result

    # ------------------------------------------------------------------ nonces

    def _posted_before(self, path: str, body: object) -> Payload | None:
        """Return the message that was posted with this nonce a little while ago, where the bot asks for that."""
        if not isinstance(body, dict) or not body.get("enforce_nonce") or body.get("nonce") is None:
            return None
        posted = self._nonces.get((path, str(body["nonce"])))
        if posted is None or self.world.seconds() - posted[0] > NONCE_S:
            return None
        message = self.world.backend.messages.get(int(path.split("/")[2]), {}).get(posted[1])
        if message is None:
            return None
        return {**serializers.message_payload(self.world.backend, message), "nonce": body["nonce"]}

    def _remember_post(self, path: str, body: object, result: Payload) -> None:
        nonce = body.get("nonce") if isinstance(body, dict) else None
        if nonce is None:
            return
        result["nonce"] = nonce
        now = self.world.seconds()
        if len(self._nonces) > _MOST_NONCES:
            self._nonces = {key: post for key, post in self._nonces.items() if now - post[0] < NONCE_S}
        self._nonces[(path, str(nonce))] = (now, int(result["id"]))

    # ------------------------------------------------------------------ threads

    def _thread(self, path: str) -> models.Channel | None:
        """Return the thread that a path such as /channels/1 names."""
        match = re.fullmatch(r"/channels/(\d+)", path)
        channel = self.world.backend.channels.get(int(match[1])) if match else None
        return channel if channel is not None and channel.is_thread else None

    def _edit_thread(self, thread: models.Channel, body: object) -> Payload:
        """Edit a thread. Discord asks for Manage Threads, where simcord asks for Manage Channels."""
        backend = self.world.backend
        edit = validation.check_thread_edit(body)
        names = () if thread.owner_id == backend.bot_user.id and "locked" not in edit else ("manage_threads",)
        backend.require_permissions(thread.guild_id, backend.bot_user.id, thread.id, *names)
        changes = {key: edit[key] for key in ("name", "rate_limit_per_user") if key in edit}
        of_metadata = ("archived", "locked", "auto_archive_duration", "invitable")
        metadata = {key: edit[key] for key in of_metadata if key in edit}
        if "archived" in metadata:
            metadata["archive_timestamp"] = backend.now_iso()
        backend.edit_channel(thread.id, changes, overwrites=None, thread_metadata=metadata)
        return dict(serializers.channel_payload(backend, thread))


def reply(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return JSON under exactly `application/json`: discord.py parses nothing else."""
    data = json.dumps(body, default=str).encode()
    return web.Response(body=data, status=status, headers={**(headers or {}), "Content-Type": "application/json"})


async def read_body(request: web.Request) -> tuple[object, list[SimpleNamespace]]:
    """Read body and files, from JSON or from a multipart form. Raises BackendError when they are too large."""
    if (request.content_length or 0) > validation.MOST_REQUEST_BYTES:
        raise validation.too_large()
    if not request.content_type.startswith("multipart"):
        return (await request.json() if request.can_read_body else None), []
    form: list[Payload] = []
    files: list[SimpleNamespace] = []
    total = 0
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        data = bytearray()
        while chunk := await part.read_chunk(1 << 16):
            data += chunk
            total += len(chunk)
            if len(data) > MOST_BYTES or total > validation.MOST_REQUEST_BYTES:
                raise validation.too_large()
        if part.filename is None:
            form.append({"name": part.name, "value": data.decode()})
        else:
            files.append(SimpleNamespace(fp=io.BytesIO(data), filename=safe_name(part.filename), description=None))
    body, files = router.parse_form(form, files)
    inner = body.get("data") or body if isinstance(body, dict) else {}
    for described in inner.get("attachments") or []:
        index = str(described.get("id"))
        if index.isdigit() and int(index) < len(files):
            files[int(index)].description = described.get("description")
            files[int(index)].filename = safe_name(str(described.get("filename") or files[int(index)].filename))
    return body, files


def _page(users: list[Payload], params: dict[str, str]) -> list[Payload]:
    """Return a page, by id as on Discord, of the users who reacted; simcord returns all of them at once."""
    after, limit = int(params.get("after", 0)), int(params.get("limit", 25))
    if not 1 <= limit <= 100:
        raise validation.invalid("limit must be between 1 and 100.")
    later = sorted((user for user in users if int(user["id"]) > after), key=lambda user: int(user["id"]))
    return later[:limit]
