"""The embedded host: one HTTP server for API, uploads, files and the watch page, over one state directory."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from bot.demo.faults import ROUTE, control_routes
from bot.demo.host.api import Api
from bot.demo.host.config import Faults, HostConfig
from bot.demo.host.pages import Pages
from bot.demo.host.phases import Phases
from bot.demo.host.refusals import Refused, errors
from bot.demo.host.store import Store
from bot.demo.host.uploads import Uploads
from bot.demo.host.webhooks import Webhooks
from bot.demo.service import bind, port_of, serve_app
from generation.hosting.http_errors import check_url

log = logging.getLogger(__name__)

_JSON_BYTES = 1024 * 1024  # of a JSON body; uploads are read piece by piece and have their own limit
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EmbeddedHost:
    """A video host that speaks Livepeer's wire format, kept in a directory.

    `start()` listens and sets `port`; `close()` ends what is under way, and a later start goes on with it.
    Addresses in answers begin with `public_url`: http://<bind>:<port> unless given. With a `control_token` whoever
    knows it may ask for faults while the host runs. Raises ValueError for an unusable key or address,
    BlockingIOError when another process has the directory.
    """

    def __init__(
        self,
        state: Path,
        api_key: str,
        *,
        port: int = 0,
        bind: str = "127.0.0.1",
        public_url: str | None = None,
        config: HostConfig | None = None,
        faults: Faults | None = None,
        control_token: str = "",
    ) -> None:
        if not re.fullmatch(r"[!-~]+", api_key):
            raise ValueError("The embedded host's key is empty or has a space or an unusual character in it.")
        self.config = config or HostConfig()
        self.faults = faults or Faults()
        self.port = port
        self._bind = bind
        self._public_url = check_url(public_url, "The public address").rstrip("/") if public_url else None
        self._state = state
        self._key = api_key
        self._control_token = control_token
        self._runner: web.AppRunner | None = None
        self._store: Store | None = None

    @property
    def public_url(self) -> str:
        host = f"[{self._bind}]" if ":" in self._bind else self._bind
        return self._public_url or f"http://{host}:{self.port}"

    @property
    def api_base(self) -> str:
        return f"{self.public_url}/api"

    @property
    def watch_page(self) -> str:
        return f"{self.public_url}/v/{{playback_id}}"

    async def start(self) -> None:
        """Begin to listen. Raises OSError when the port is taken."""
        self._store = store = Store(self._state)
        try:
            store.recover()
            self._phases = Phases(store, self.config, self.faults)
            self._uploads = Uploads(store, self._phases, self.config, self.faults)
            api, pages = Api(store, self._phases, self.config, self._key), Pages(store, self.config.back_url)
            self._webhooks = Webhooks(store, self.config, api.authorize)
            self._webhooks.snapshot, store.observe = api.external, self._webhooks.changed
            app = web.Application(middlewares=[self._answer], client_max_size=_JSON_BYTES)
            if self._control_token:
                app.add_routes(control_routes(self.faults.on_demand.rules, self._control_token))
            app.add_routes([*self._uploads.routes(), *api.routes(), *pages.routes(), *self._webhooks.routes()])
            listener = bind(self._bind, self.port)
            self._runner = await serve_app(app, listener, shutdown_s=2.0)
            self.port = port_of(listener)
            for routes in (api, self._uploads, pages):
                routes.public_url = self.public_url
            self._phases.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Cut the uploads that are under way; their bytes stay, and so does everything else."""
        if self._runner is not None:
            await self._uploads.close()
            await self._runner.cleanup()
            await self._phases.close()
            await self._webhooks.close()
            self._runner = None
        if self._store is not None:
            self._store.close()
            self._store = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer with a fault, or by the route; every refusal becomes JSON. Any origin may ask, as with Livepeer."""
        fault = self.faults.answer(request.method, request.path)
        if fault is not None:
            return web.Response(
                status=fault.status, text=fault.body, content_type=fault.content_type, headers=fault.headers
            )
        response: web.StreamResponse
        try:
            response = _preflight(request) or await self._handle(request, handler)
        except Refused as refused:
            response = refused.response()
            if refused.status in {408, 413, 423}:
                response.force_close()  # the rest of the body is not read
        except web.HTTPException as error:
            response = errors(error.status, "Not found" if error.status == 404 else error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except ConnectionResetError:  # the client has left; nobody reads this answer
            response = errors(400, "the connection was closed")
        except Exception as error:
            log.exception("The embedded host failed on %s.", request.method)
            response = errors(500, f"Internal server error: {type(error).__name__}")
        if not response.prepared:
            response.headers["Access-Control-Allow-Origin"] = "*"
            response.headers["Access-Control-Expose-Headers"] = (
                "Location, Upload-Offset, Upload-Length, Tus-Resumable, Content-Range, Link, X-Total-Count"
            )
        return response

    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == ROUTE:  # a fault must not keep anybody from switching it off
            return await handler(request)
        return await self.faults.on_demand.answer(request, handler)


def _preflight(request: web.Request) -> web.Response | None:
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    allowed = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Range, Tus-Resumable, Upload-Length, "
        "Upload-Metadata, Upload-Offset, X-HTTP-Method-Override",
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=allowed)
