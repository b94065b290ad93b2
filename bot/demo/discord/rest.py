"""The REST API, version 10: simcord's routes behind HTTP, with the limits and checks that Discord has besides."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from types import SimpleNamespace
from typing import Any

from aiohttp import BodyPartReader, web
from simcord.backend import serializers
from simcord.backend.errors import BackendError
from simcord.http import router
from simcord.http import routes as _routes  # noqa: F401  # registers them

from bot.demo.discord.gateway import Gateway
from bot.demo.discord.limits import Limits
from bot.demo.discord.world import World

log = logging.getLogger(__name__)

MOST_BYTES = 10 * 1024 * 1024  # of one file, in a guild without boosts
MOST_THREADS = 1000
NONCE_S = 300.0


class Rest:
    """Answers the bot's requests."""

    def __init__(self, world: World, gateway: Gateway, token: str, limits: Limits) -> None:
        self.world = world
        self.gateway = gateway
        self.limits = limits
        self._token = token
        self._nonces: dict[tuple[str, str], tuple[float, int]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request to /api/v10/…"""
        path = "/" + request.match_info["path"].strip("/")
        # Callbacks and follow-ups are authorised by the token in their path, as on Discord.
        if not path.startswith(("/interactions/", "/webhooks/")) and (
            request.headers.get("Authorization") != f"Bot {self._token}"
        ):
            return reply({"message": "401: Unauthorized", "code": 0}, 401)
        verdict = self.limits.check(request.method, path)
        if not verdict.allowed:
            body = {"message": "You are being rate limited.", "retry_after": verdict.retry_after}
            return reply({**body, "global": verdict.is_global}, 429, verdict.headers)
        try:
            json_body, files = await _read_body(request)
            result = self._dispatch(request, path, json_body, files)
        except (router.RouteNotImplemented, router.UnsupportedField) as error:
            sys.stderr.write(f"The embedded Discord lacks this: {error}\n")  # loudly: never fake a success
            return reply({"code": 0, "message": str(error)}, 501, verdict.headers)
        except BackendError as error:
            return reply(error.to_json(), error.status, verdict.headers)
        except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            log.warning("A request was not understood: %s %s: %r", request.method, path, error)
            return reply({"code": 50035, "message": "Invalid Form Body"}, 400, verdict.headers)
        if result is None:
            return web.Response(status=204, headers=verdict.headers)
        return reply(result, 200, verdict.headers)

    def _dispatch(self, request: web.Request, path: str, body: Any, files: list[Any]) -> Any:
        backend = self.world.backend
        if path in {"/gateway", "/gateway/bot"}:
            return {
                "url": self.gateway.url,
                "shards": 1,
                "session_start_limit": {"total": 1000, "remaining": 999, "reset_after": 0, "max_concurrency": 1},
            }
        if path == "/applications/@me":
            path = "/oauth2/applications/@me"
        self._check(request.method, path, body, files)
        posts = request.method == "POST" and path.startswith("/channels/") and path.endswith("/messages")
        nonce = self._nonce(path, body) if posts else None
        if nonce is not None and (known := self._nonces.get(nonce)) and time.monotonic() - known[0] < NONCE_S:
            channel_id = path.split("/")[2]
            path, body, files, method = f"/channels/{channel_id}/messages/{known[1]}", None, [], "GET"
        else:
            method = request.method
        if method == "PATCH" and (thread := self._thread(path)) is not None:
            return self._edit_thread(thread, body)
        result = router.dispatch(
            backend,
            method,
            path,
            json=body,
            params=dict(request.query),
            files=files,
            reason=request.headers.get("X-Audit-Log-Reason"),
            message_content_access=False,
        )
        if posts and isinstance(result, dict):
            if nonce is not None:
                if len(self._nonces) > 10_000:
                    self._nonces.clear()
                self._nonces[nonce] = (time.monotonic(), int(result["id"]))
            if isinstance(body, dict) and body.get("nonce") is not None:
                result["nonce"] = body["nonce"]
        if path.startswith("/interactions/"):
            self.world.forget_the_past()
        return result

    def _thread(self, path: str) -> Any | None:
        """The thread that a path such as /channels/1 names."""
        parts = path.strip("/").split("/")
        if len(parts) != 2 or parts[0] != "channels" or not parts[1].isdigit():
            return None
        channel = self.world.backend.channels.get(int(parts[1]))
        return channel if channel is not None and channel.is_thread else None

    def _edit_thread(self, thread: Any, body: Any) -> Any:
        """Threads are managed with Manage Threads, where simcord asks for Manage Channels."""
        backend = self.world.backend
        known = ("archived", "locked", "auto_archive_duration", "invitable", "name", "rate_limit_per_user")
        if not isinstance(body, dict) or set(body) - set(known):
            raise BackendError(400, 50035, "Invalid Form Body")
        backend.require_permissions(thread.guild_id, backend.bot_user.id, thread.id, "manage_threads")
        changes = {key: body[key] for key in ("name", "rate_limit_per_user") if key in body}
        metadata = {key: body[key] for key in known[:4] if key in body}
        backend.edit_channel(thread.id, changes, overwrites=None, thread_metadata=metadata)
        return dict(serializers.channel_payload(backend, thread))

    @staticmethod
    def _nonce(path: str, body: Any) -> tuple[str, str] | None:
        if isinstance(body, dict) and body.get("enforce_nonce") and body.get("nonce") is not None:
            return path, str(body["nonce"])[:25]
        return None

    def _check(self, method: str, path: str, body: Any, files: list[Any]) -> None:
        """What Discord refuses and simcord lets pass."""
        if any(len(file.fp.getbuffer()) > MOST_BYTES for file in files):
            raise BackendError(413, 40005, "Request entity too large")
        if not isinstance(body, dict):
            return
        if path.endswith("/threads") and method == "POST":
            if not 1 <= len(str(body.get("name") or "")) <= 100:
                raise BackendError(400, 50035, "Invalid Form Body: name must be between 1 and 100 in length.")
            active = sum(
                1
                for thread_id in self.world.guild.thread_ids
                if not self.world.backend.channels[thread_id].thread_metadata.archived
            )
            if active >= MOST_THREADS:
                raise BackendError(400, 160006, "Maximum number of active threads reached")
        if len(str(body.get("nonce") or "")) > 25:
            raise BackendError(400, 50035, "Invalid Form Body: nonce must be 25 or fewer in length.")
        for url in _urls(body.get("components")):
            if not url.startswith(("https://", "http://", "attachment://")):
                raise BackendError(400, 50035, "Invalid Form Body: Scheme must be one of http, https, attachment.")


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON under exactly `application/json`: discord.py parses nothing else."""
    data = json.dumps(body, default=str).encode()
    return web.Response(body=data, status=status, headers={**(headers or {}), "Content-Type": "application/json"})


async def _read_body(request: web.Request) -> tuple[Any, list[Any]]:
    """The JSON body and the files, from JSON or from a multipart form."""
    if not request.content_type.startswith("multipart"):
        return (await request.json() if request.can_read_body else None), []
    form: list[dict[str, Any]] = []
    files: list[Any] = []
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        if part.filename is None:
            form.append({"name": part.name, "value": await part.text()})
        else:
            data = await part.read(decode=False)
            files.append(SimpleNamespace(fp=io.BytesIO(data), filename=part.filename, description=None))
    body, files = router.parse_form(form, files)
    attachments = (body.get("data") or body).get("attachments") if isinstance(body, dict) else None
    for described in attachments or []:
        index = described.get("id")
        if isinstance(index, int | str) and str(index).isdigit() and int(index) < len(files):
            files[int(index)].description = described.get("description")
            files[int(index)].filename = described.get("filename") or files[int(index)].filename
    return body, files


def _urls(components: Any) -> list[str]:
    """Every address in a tree of components."""
    found: list[str] = []
    if isinstance(components, dict):
        if isinstance(components.get("url"), str):
            found.append(components["url"])
        for value in components.values():
            found += _urls(value)
    elif isinstance(components, list):
        for value in components:
            found += _urls(value)
    return found
