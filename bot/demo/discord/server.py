"""The embedded Discord, composed: REST, gateway, attachments and control plane on one loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from bot.demo.discord.acting import Acting
from bot.demo.discord.control import Control
from bot.demo.discord.faults import DiscordFaults
from bot.demo.discord.gateway import Gateway
from bot.demo.discord.interactions import ANSWER_S, TOKEN_S, Interactions
from bot.demo.discord.limits import Limits
from bot.demo.discord.rest import Rest
from bot.demo.discord.validation import MOST_REQUEST_BYTES
from bot.demo.discord.world import People, World, watch
from bot.demo.service import bind, port_of, serve_app


@dataclass(frozen=True)
class DiscordConfig:
    """The settings of an embedded Discord. The tokens are secrets of loopback services: what leaks is a demo."""

    state: Path
    bot_token: str = field(repr=False)
    control_token: str = field(repr=False)
    port: int = 0  # 0 takes a free one
    host: str = "127.0.0.1"
    people: People = field(default_factory=People)  # of a new state
    heartbeat_s: float = 41.25
    answer_s: float = ANSWER_S  # until an interaction's first answer
    token_s: float = TOKEN_S  # until its token expires

    def __post_init__(self) -> None:
        if not ipaddress.ip_address(self.host).is_loopback:
            raise ValueError("The embedded Discord listens on loopback addresses only.")
        if not self.bot_token or not self.control_token:
            raise ValueError("The tokens of the bot and of the control plane must not be empty.")


class EmbeddedDiscord:
    """`start` sets `port`; `close` saves the world."""

    def __init__(self, config: DiscordConfig) -> None:
        self.config = config
        self.port = 0
        self.world: World | None = None
        self._runner: web.AppRunner | None = None
        self._saver: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen. Raises OSError when the port is taken, WorldError when the state cannot be used."""
        listener = bind(self.config.host, self.config.port)
        try:
            self.port = port_of(listener)
            host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
            world = World.open(self.config.state, f"http://{host}:{self.port}", self.config.people)
        except BaseException:
            listener.close()
            raise
        self.world = world
        changed = asyncio.Event()
        changed.set()
        app = self._compose(world, f"ws://{host}:{self.port}/gateway", changed)
        self._runner = await serve_app(app, listener)
        self._saver = asyncio.create_task(world.keep_saving(changed), name="save the world")

    async def close(self) -> None:
        """Stop, and save the world."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._saver is not None:
            self._saver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._saver
        if self.world is not None:
            self.world.close()

    def _compose(self, world: World, gateway_url: str, changed: asyncio.Event) -> web.Application:
        config = self.config
        limits = Limits(epoch=world.seconds)
        faults = DiscordFaults(limits, world.shift_clock)
        gateway = Gateway(
            world.backend, config.bot_token, gateway_url, heartbeat_s=config.heartbeat_s, fault=faults.gateway
        )
        interactions = Interactions(world, answer_s=config.answer_s, token_s=config.token_s)
        rest = Rest(world, gateway, interactions, limits, config.bot_token, changed.set, faults)
        acting = Acting(world, gateway, interactions)
        control = Control(world, gateway, interactions, acting, faults, config.control_token)
        rest.on_interaction.append(control.publish_interaction)
        watch(world.backend, changed.set)
        app = web.Application(client_max_size=MOST_REQUEST_BYTES)
        app.router.add_routes(
            [
                web.route("*", "/api/v10/{path:.*}", rest.handle),
                web.get("/gateway", gateway.handle),
                web.get("/gateway/", gateway.handle),
                web.get("/attachments/{channel}/{id}/{name}", world.backend.cdn.serve),
                *control.routes(),
            ]
        )
        return app
