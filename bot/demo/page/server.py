"""The server of the demo's page on loopback: its files, and a member's part of the embedded Discord's control plane.

The holder of the page's token can act as any member of the demo's guild, and nothing more: the control plane's own
token, which can also forge clicks and cut connections, never reaches a browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from bot.demo.faults import bears
from bot.demo.page import attachments
from bot.demo.page.panel import PanelFacts
from bot.demo.service import bind, port_of, serve_app

STATIC = Path(__file__).with_name("static")
MOST_REQUEST_BYTES = 64 * 1024
HELLO_S = 10.0
PANEL_S = 1.0  # between two looks behind the scenes, while somebody watches

# The acts that a member's client may ask of the control plane, with their fields. `forged` and `outdated` are not
# among them.
_ACTS: Mapping[str, frozenset[str]] = {
    "command": frozenset({"member", "channel_id", "name", "options", "wait"}),
    "autocomplete": frozenset({"member", "channel_id", "name", "options", "focused", "value", "wait"}),
    "press": frozenset({"member", "channel_id", "message_id", "custom_id", "values", "wait"}),
    "modal": frozenset({"member", "channel_id", "interaction_id", "values", "wait"}),
    "react": frozenset({"member", "channel_id", "message_id", "emoji", "on"}),
    "say": frozenset({"member", "channel_id", "content"}),
    "delete": frozenset({"member", "channel_id", "message_id"}),
}
_LOOKS = frozenset({"world", "commands", "messages"})
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Look = Callable[[], Awaitable[PanelFacts]]


class Page:
    """`start`, then `link`; `show_discord` once the embedded Discord runs; `close` at the end."""

    def __init__(self, token: str, look: Look) -> None:
        """`look` returns the facts for the panel."""
        if not token:
            raise ValueError("The page's token must not be empty.")
        self._token = token
        self._look_at_stack = look
        self._discord: str | None = None
        self._session: aiohttp.ClientSession | None = None
        self._files: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._sockets: set[web.WebSocketResponse] = set()
        self._watching: asyncio.Task[None] | None = None
        self._panel = "{}"
        self._alone = False
        self.port = 0

    @property
    def link(self) -> str:
        """The page's address. The token follows the #, which browsers send to nobody."""
        return f"http://127.0.0.1:{self.port}/#{self._token}"

    async def start(self, port: int = 0, host: str | None = None) -> None:
        """Listen on loopback; where the port is taken, on a free one.

        With a host, listen there and on this port, or raise OSError. Browsers then need no other port: the page passes
        the attachments of the embedded Discord on.
        """
        self._alone = host is not None
        try:
            listener = bind(host or "127.0.0.1", port)
        except OSError:
            if host is not None:
                raise
            listener = bind("127.0.0.1", 0)
        self.port = port_of(listener)
        app = web.Application(client_max_size=MOST_REQUEST_BYTES, middlewares=[self._guard])
        app.router.add_routes(
            [
                web.get("/", self._file),
                web.get("/channels/{guild:[0-9]+}/{channel:[0-9]+}", self._file),
                web.get("/channels/{guild:[0-9]+}/{channel:[0-9]+}/{message:[0-9]+}", self._file),
                web.get("/{name:[a-z]+[.](js|css|svg)}", self._file),
                web.get("/api/events", self._events),
                web.get("/api/{look:[a-z]+}", self._look),
                web.get("/api/interactions/{id:[0-9]+}", self._look),
                web.post("/api/{act:[a-z]+}", self._act),
                web.get(attachments.PATH + r"{channel:\d+}/{id:\d+}/{name:[^/]+}", self._attachment),
            ]
        )
        self._runner = await serve_app(app, listener)
        self._watching = asyncio.create_task(self._keep_looking(), name="panel")

    def show_discord(self, url: str, control_token: str) -> None:
        """Show this embedded Discord from now on."""
        headers = {"Authorization": f"Bearer {control_token}"}
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60))
        self._files = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))  # anybody's: without the token
        self._discord = url

    async def close(self) -> None:
        """Close the connections of all browsers, and stop."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        for ws in list(self._sockets):
            await ws.close(code=1001, message=b"The demo has ended.")
        if self._runner is not None:
            await self._runner.cleanup()
        for session in (self._session, self._files):
            if session is not None:
                await session.close()

    # ------------------------------------------------------------------ borders

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse all but browsers that opened the link.

        A foreign page can neither reach this server through a name of its own (rebinding), nor act in the page's name.
        """
        here = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        origin = request.headers.get("Origin")
        if request.host not in here or (origin is not None and urlsplit(origin).netloc not in here):
            return _refused("This page can only be opened on the machine that it runs on.", 403)
        if request.path.startswith("/api/") and request.path != "/api/events" and not bears(request, self._token):
            return _refused("Wrong or missing token: open the link that `flock demo` printed.", 401)
        return await handler(request)

    # ------------------------------------------------------------------ answers

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = STATIC / request.match_info.get("name", "index.html")
        if not path.is_file():
            raise web.HTTPNotFound
        media = urlsplit(self._discord).netloc if self._discord else "127.0.0.1:*"
        media = request.host if self._alone else media
        return web.Response(
            body=path.read_bytes(),
            content_type=_TYPES[path.suffix],
            charset="utf-8",
            headers={
                # Prompts may be hostile: no script but our files, no frame, no form, nothing from elsewhere.
                "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src "
                f"'self' ws://{request.host}; img-src 'self' http://{media}; media-src http://{media}; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-cache",
            },
        )

    async def _attachment(self, request: web.Request) -> web.StreamResponse:
        if not self._alone or self._files is None or self._discord is None:
            raise web.HTTPNotFound
        try:
            return await attachments.pass_on(request, self._files, self._discord)
        except (aiohttp.ClientError, TimeoutError):
            raise web.HTTPServiceUnavailable from None

    def _shown(self, text: str, request: web.Request) -> str:
        """Return an answer of the embedded Discord as this browser can use it."""
        if not self._alone or self._discord is None:
            return text
        return attachments.move_addresses(text, self._discord, f"http://{request.host}")

    async def _look(self, request: web.Request) -> web.StreamResponse:
        look = request.match_info.get("look")
        if look == "behind":
            return web.Response(text=self._panel, content_type="application/json")
        if look is not None and look not in _LOOKS:
            return _refused("There is nothing by that name.", 404)
        path = look or f"interactions/{request.match_info['id']}"
        return await self._ask(request, "GET", path, query=dict(request.query))

    async def _act(self, request: web.Request) -> web.StreamResponse:
        fields = _ACTS.get(request.match_info["act"])
        if fields is None:
            return _refused("There is nothing by that name.", 404)
        try:
            body = await request.json()
        except ValueError:
            return _refused("That request cannot be read.", 400)
        if not isinstance(body, dict) or not set(body) <= fields:
            return _refused("A member's client cannot do that.", 400)
        return await self._ask(request, "POST", request.match_info["act"], body=body)

    async def _ask(
        self,
        request: web.Request,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> web.StreamResponse:
        if self._session is None:
            return _refused("The embedded Discord is starting.", 503)
        url = f"{self._discord}/control/{path}"
        try:
            async with self._session.request(method, url, params=query, json=body) as answer:
                text = self._shown(await answer.text(), request)
                return web.Response(status=answer.status, text=text, content_type="application/json")
        except (aiohttp.ClientError, TimeoutError):
            return _refused("The embedded Discord does not answer. It is being started again; try once more.", 503)

    # ------------------------------------------------------------------ events

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send a window its events: it says once which member it is for, and then gets what that member may see."""
        ws = web.WebSocketResponse(heartbeat=20, max_msg_size=4096)
        await ws.prepare(request)
        self._sockets.add(ws)
        try:
            member = await self._hello(ws)
            if member is None:
                await ws.close(code=4001, message=b"Wrong or missing token.")
            elif self._session is None:
                await ws.close(code=1013, message=b"The embedded Discord is starting.")
            else:
                await ws.send_str(f'{{"event":"BEHIND","data":{self._panel}}}')
                await self._pipe(ws, self._session, member, partial(self._shown, request=request))
        finally:
            self._sockets.discard(ws)
        return ws

    async def _hello(self, ws: web.WebSocketResponse) -> str | None:
        try:
            async with asyncio.timeout(HELLO_S):
                hello = await ws.receive_json()
            token, member = str(hello["token"]), str(hello["member"])
        except (TimeoutError, TypeError, ValueError, KeyError):
            return None
        right = secrets.compare_digest(token.encode(errors="replace"), self._token.encode())
        return member if right else None

    async def _pipe(
        self, ws: web.WebSocketResponse, session: aiohttp.ClientSession, member: str, shown: Callable[[str], str]
    ) -> None:
        url = f"{self._discord}/control/events"
        try:
            async with session.ws_connect(url, params={"member": member}, heartbeat=20) as events:
                reader = asyncio.create_task(_read_until_closed(ws), name="a window")
                try:
                    forward = asyncio.create_task(_forward(events, ws, shown), name="events to a window")
                    await asyncio.wait({reader, forward}, return_when=asyncio.FIRST_COMPLETED)
                    forward.cancel()
                    await asyncio.gather(forward, return_exceptions=True)
                finally:
                    reader.cancel()
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass  # Discord is started again, and the window connects again
        if not ws.closed:
            await ws.close(code=1013, message=b"The embedded Discord does not answer.")

    async def _keep_looking(self) -> None:
        while True:
            if self._sockets:
                panel = json.dumps(await self._look_at_stack())
                if panel != self._panel:
                    self._panel = panel
                    for ws in list(self._sockets):
                        with contextlib.suppress(ConnectionError, RuntimeError):
                            await ws.send_str(f'{{"event":"BEHIND","data":{panel}}}')
            await asyncio.sleep(PANEL_S)


async def _forward(
    events: aiohttp.ClientWebSocketResponse, ws: web.WebSocketResponse, shown: Callable[[str], str]
) -> None:
    async for message in events:
        if message.type is not aiohttp.WSMsgType.TEXT:
            return
        await ws.send_str(shown(message.data))


async def _read_until_closed(ws: web.WebSocketResponse) -> None:
    async for _ in ws:
        pass  # after its hello a window sends nothing


def _refused(sentence: str, status: int) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
