"""The control plane: JSON over HTTP under /control/, behind a token, for scripted members, tests, and a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web
from simcord.backend import serializers
from simcord.backend.access import channel_accessible
from simcord.backend.errors import BackendError, SetupError

from bot.demo.discord.acting import Acting, CannotError
from bot.demo.discord.faults import DiscordFaults
from bot.demo.discord.gateway import Gateway
from bot.demo.discord.interactions import Interactions, plain
from bot.demo.discord.messages import Payload
from bot.demo.discord.rest import reply
from bot.demo.discord.world import World
from bot.demo.faults import ROUTE, FaultError, bears

MOST_WAIT_S = 30.0
MOST_QUEUED = 10_000  # events for one watcher who does not read
MANAGE_GUILD = 1 << 5

Handler = Callable[[web.Request], Awaitable[object]]  # what it returns is the answer's JSON


class Control:
    """The control plane's routes.

    Errors are `{"error": sentence}`: 400 not understood, 401 wrong token, 403 and 404 Discord's own, 422 an act that a
    client would not let a member do.
    """

    def __init__(
        self,
        world: World,
        gateway: Gateway,
        interactions: Interactions,
        acting: Acting,
        faults: DiscordFaults,
        token: str,
    ) -> None:
        self.world = world
        self._faults = faults
        self.gateway = gateway
        self.interactions = interactions
        self.acting = acting
        self._token = token
        self._watchers: dict[asyncio.Queue[str | None], int | None] = {}  # with the member who watches, if it is one
        self._created: set[str] = set()  # messages for one member alone of whose creation watchers were told
        world.backend.subscribers.append(self.publish)

    def routes(self) -> list[web.RouteDef]:
        """Return all routes, each behind the token."""
        acting = self.acting
        starts: dict[str, Callable[[Payload], int]] = {
            "command": acting.run_command,
            "autocomplete": acting.autocomplete,
            "press": acting.press,
            "modal": acting.submit,
        }
        does: dict[str, Callable[[Payload], Payload]] = {
            "react": acting.react,
            "say": acting.say,
            "delete": acting.delete,
        }
        return [
            web.get("/control/world", self._guarded(self._get_world)),
            web.get("/control/commands", self._guarded(self._get_commands)),
            web.get("/control/messages", self._guarded(self._get_messages)),
            web.get("/control/interactions/{id}", self._guarded(self._get_interaction)),
            web.get("/control/events", self._events),
            web.post("/control/gateway", self._guarded(self._gateway)),
            web.get(ROUTE, self._guarded(self._get_faults)),
            web.post(ROUTE, self._guarded(self._change_faults)),
            *(web.post(f"/control/{name}", self._guarded(self._starting(act))) for name, act in starts.items()),
            *(web.post(f"/control/{name}", self._guarded(_doing(act))) for name, act in does.items()),
        ]

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def guarded(request: web.Request) -> web.Response:
            if not bears(request, self._token):
                return reply({"error": "Wrong or missing token."}, 401)
            try:
                return reply(await handler(request))
            except BackendError as error:
                return reply({"error": error.message, "code": error.code}, error.status)
            except (CannotError, SetupError) as error:
                return reply({"error": str(error)}, 422)
            except FaultError as error:
                return reply({"error": str(error)}, 400)
            except (KeyError, ValueError, TypeError, OverflowError) as error:
                return reply({"error": f"That request cannot be read: {error!r}"}, 400)

        return guarded

    # ------------------------------------------------------------------ looking

    async def _get_world(self, _request: web.Request) -> Payload:
        backend, guild = self.world.backend, self.world.guild
        channels = [backend.channels[i] for i in [*guild.channel_ids, *guild.thread_ids] if i in backend.channels]
        return {
            "guild": {"id": str(guild.id), "name": guild.name},
            "bot_id": str(backend.bot_user.id),
            "connected": self.gateway.connected,
            "members": [self._member(user_id) for user_id in guild.members],
            "channels": [plain(serializers.channel_payload(backend, channel)) for channel in channels],
            "commands": [command for scope in backend.commands.values() for command in scope.values()],
        }

    def _member(self, user_id: int) -> Payload:
        backend, guild = self.world.backend, self.world.guild
        user = backend.users[user_id]
        return {
            "id": str(user_id),
            "name": user.name,
            "bot": user.bot,
            "owner": user_id == guild.owner_id,
            "moderator": bool(backend.compute_permissions(guild.id, user_id) & MANAGE_GUILD),
            "roles": [guild.roles[i].name for i in guild.members[user_id].role_ids if i in guild.roles],
        }

    async def _get_commands(self, request: web.Request) -> list[Payload]:
        return self.acting.commands(self.acting.member(request.query), int(request.query["channel_id"]))

    async def _get_messages(self, request: web.Request) -> list[Payload]:
        member_id = self.acting.member(request.query)
        channel_id = int(request.query["channel_id"])
        limit = int(request.query.get("limit", 200))
        backend = self.world.backend
        backend.get_channel(channel_id)
        if not channel_accessible(backend, channel_id, member_id, history=True):
            raise CannotError("That member cannot see that channel.")
        messages = sorted(backend.messages.get(channel_id, {}).values(), key=lambda m: m.id)
        visible = [message for message in messages if message.visible_to(member_id)]
        return [self.interactions.describe(message) for message in visible[-max(1, limit) :]]

    async def _get_interaction(self, request: web.Request) -> Payload:
        wait = _seconds(request.query.get("wait", 0))
        status = await self.interactions.wait(int(request.match_info["id"]), wait)
        if status is None:
            raise CannotError("There is no such interaction any more.")
        return status

    # ------------------------------------------------------------------ acting

    def _starting(self, act: Callable[[Payload], int]) -> Handler:
        """Return the handler of an act that begins an interaction.

        With `wait` seconds in its body, the reply comes with the bot's answer.
        """

        async def starting(request: web.Request) -> Payload:
            body = await _object(request)
            wait = _seconds(body.pop("wait", 0))
            interaction_id = act(body)
            first = self.interactions.status(interaction_id) or {}
            self.publish("INTERACTION_CREATE", first, only_for=first.get("member"))
            status = await self.interactions.wait(interaction_id, wait) if wait else None
            return {"interaction_id": str(interaction_id), "status": status}

        return starting

    async def _gateway(self, request: web.Request) -> Payload:
        """Disturb the connection, or do what moderators do without asking the bot.

        They delete a message or a channel, or deny the bot permissions in a channel.
        """
        body = await _object(request)
        acts = {"drop": self.gateway.drop, "reconnect": self.gateway.ask_to_reconnect}
        acts["invalidate"] = self.gateway.invalidate
        if body["do"] == "delete_message":
            self.world.backend.delete_message(int(body["channel_id"]), int(body["message_id"]))
        elif body["do"] == "delete_channel":
            self.world.backend.delete_channel(int(body["channel_id"]))
        elif body["do"] == "deny":
            self.world.deny(int(body["channel_id"]), [str(name) for name in body["permissions"]])
        else:
            acts[str(body["do"])]()
        return {}

    async def _get_faults(self, _request: web.Request) -> dict[str, object]:
        return self._faults.look()

    async def _change_faults(self, request: web.Request) -> dict[str, object]:
        return self._faults.obey(await request.json())

    # ------------------------------------------------------------------ watching

    def publish(self, event: str, payload: Payload, *, only_for: str | None = None) -> None:
        """Send an event to all watchers who may see it; `only_for` names the one member who may."""
        if not self._watchers:
            return
        text = json.dumps({"event": event, "data": payload, "only_for": only_for}, default=str)
        for queue, member_id in list(self._watchers.items()):
            if member_id is not None and not self._may_see(member_id, payload, only_for):
                continue
            if queue.qsize() >= MOST_QUEUED:
                del self._watchers[queue]
                queue.put_nowait(None)  # a watcher who cannot keep up has to connect anew
            else:
                queue.put_nowait(text)

    def publish_interaction(self, interaction_id: int) -> None:
        """Send an answer to watchers; the bot's gateway has no events for messages that only one member sees."""
        status = self.interactions.status(interaction_id) if self._watchers else None
        if status is None:
            return
        for message in status["messages"]:
            if message["ephemeral"]:
                event = "MESSAGE_UPDATE" if message["id"] in self._created else "MESSAGE_CREATE"
                self._created.add(message["id"])
                self.publish(event, message, only_for=message["only_for"])
        if len(self._created) > MOST_QUEUED:
            self._created.clear()
        self.publish("INTERACTION_UPDATE", status, only_for=status["member"])

    def _may_see(self, member_id: int, payload: Payload, only_for: str | None) -> bool:
        backend = self.world.backend
        if only_for is not None:
            return bool(backend.users[member_id].name == only_for)
        channel_id = payload.get("channel_id")
        if channel_id is None or int(channel_id) not in backend.channels:
            return True
        return bool(channel_accessible(backend, int(channel_id), member_id))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send every event as it happens; with `member`, only what that member may see."""
        if not bears(request, self._token):
            return reply({"error": "Wrong or missing token."}, 401)
        member_id = None
        if "member" in request.query:
            try:
                member_id = self.acting.member(request.query)
            except CannotError as error:
                return reply({"error": str(error)}, 422)
        ws = web.WebSocketResponse(heartbeat=20)
        await ws.prepare(request)
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._watchers[queue] = member_id
        writer = asyncio.create_task(_forward(queue, ws), name="control events")
        try:
            await ws.receive()  # a watcher sends nothing but its goodbye
        finally:
            self._watchers.pop(queue, None)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return ws


async def _forward(queue: asyncio.Queue[str | None], ws: web.WebSocketResponse) -> None:
    while (text := await queue.get()) is not None:
        await ws.send_str(text)
    await ws.close(code=1013, message=b"Too slow.")


def _doing(act: Callable[[Payload], Payload]) -> Handler:
    async def doing(request: web.Request) -> Payload:
        return act(await _object(request))

    return doing


def _seconds(wait: str | float) -> float:
    return max(0.0, min(float(wait), MOST_WAIT_S))


async def _object(request: web.Request) -> Payload:
    body = await request.json()
    if not isinstance(body, dict):
        raise TypeError("an object is expected")
    return body
