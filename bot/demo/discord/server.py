"""Composes the embedded Discord and runs it: REST, gateway, attachments and control plane on one loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.demo.discord.control import Control
from bot.demo.discord.gateway import Gateway
from bot.demo.discord.limits import Limits
from bot.demo.discord.rest import MOST_BYTES, Rest
from bot.demo.discord.world import World

log = logging.getLogger(__name__)

SAVE_S = 0.5


@dataclass(frozen=True)
class DiscordConfig:
    """How to run it. The tokens are secrets of loopback services: what leaks is a demo."""

    state: Path
    bot_token: str = field(repr=False)
    control_token: str = field(repr=False)
    port: int = 0
    heartbeat_s: float = 41.25


class EmbeddedDiscord:
    """`start`, then `port`; `close` saves the world."""

    def __init__(self, config: DiscordConfig) -> None:
        self.config = config
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._saver: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.world: World | None = None

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        config = self.config
        config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", config.port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        base = f"http://127.0.0.1:{self.port}"
        world = self.world = World.open(config.state, base)
        gateway = Gateway(
            world.backend, config.bot_token, f"ws://127.0.0.1:{self.port}/gateway", heartbeat_s=config.heartbeat_s
        )
        rest = Rest(world, gateway, config.bot_token, Limits())
        control = Control(world, gateway, config.control_token)
        world.backend.subscribers.append(self._note_change)
        app = web.Application(client_max_size=3 * MOST_BYTES)
        app.router.add_routes(
            [
                web.route("*", "/api/v10/{path:.*}", rest.handle),
                web.get("/gateway", gateway.handle),
                web.get("/gateway/", gateway.handle),
                web.get("/attachments/{channel}/{id}/{name}", self._attachment),
                *control.routes(),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        self._changed.set()
        self._saver = asyncio.create_task(self._keep_saving(), name="save the world")

    async def close(self) -> None:
        """Saves and stops."""
        if self._saver is not None:
            self._saver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._saver
        if self.world is not None:
            self.world.save()
        if self._runner is not None:
            await self._runner.cleanup()

    def _note_change(self, _event: str, _payload: Mapping[str, Any]) -> None:
        self._changed.set()

    async def _keep_saving(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self.world is not None:
                self.world.save()
            await asyncio.sleep(SAVE_S)

    async def _attachment(self, request: web.Request) -> web.StreamResponse:
        attachments = self.world.backend.cdn if self.world else None
        path = attachments.path(request.match_info["id"], request.match_info["name"]) if attachments else None
        if path is None:
            raise web.HTTPNotFound
        # Members' files must never run as a page of this origin.
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; media-src 'self'",
        }
        return web.FileResponse(path, headers=headers)
