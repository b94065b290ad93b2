"""The control plane: what a person does in their Discord client, for scripted members, tests, and a page.

Loopback, JSON, a bearer token. Nothing here can do what a member could not: permissions are checked as Discord does.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from simcord import interactions as simcord_interactions
from simcord.backend import serializers
from simcord.backend.access import channel_accessible
from simcord.backend.command_access import command_access
from simcord.backend.errors import BackendError, SetupError
from simcord.components import walk_components

from bot.demo.discord.gateway import Gateway
from bot.demo.discord.rest import MOST_BYTES, reply
from bot.demo.discord.world import World

log = logging.getLogger(__name__)

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 2, 3, 4, 5
SUBCOMMANDS = (1, 2)
STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, NUMBER = 3, 4, 5, 6, 7, 8, 10
BUTTON = 2

Body = dict[str, Any]


class CannotError(Exception):
    """A member cannot do that; the message says why."""


class Control:
    """Acts as members of the world."""

    def __init__(self, world: World, gateway: Gateway, token: str) -> None:
        self.world = world
        self.gateway = gateway
        self._token = token
        self._watchers: set[asyncio.Queue[str]] = set()
        world.backend.subscribers.append(self._tell_watchers)

    def routes(self) -> list[web.RouteDef]:
        """All routes, each behind the token."""
        posts: dict[str, Callable[[Body], Awaitable[Any]]] = {
            "command": self._command,
            "press": self._press,
            "modal": self._modal,
            "react": self._react,
            "say": self._say,
            "gateway": self._gateway,
        }
        return [
            web.get("/control/world", self._guarded(self._get_world)),
            web.get("/control/messages", self._guarded(self._get_messages)),
            web.get("/control/interactions/{id}", self._guarded(self._get_interaction)),
            web.get("/control/events", self._events),
            *(web.post(f"/control/{name}", self._guarded(_posted(act))) for name, act in posts.items()),
        ]

    def _guarded(self, handler: Callable[[web.Request], Awaitable[Any]]) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            if not self._allowed(request):
                return reply({"error": "Wrong or missing token."}, 401)
            try:
                return reply(await handler(request))
            except (CannotError, SetupError, BackendError) as error:
                return reply({"error": str(error)}, 403 if isinstance(error, BackendError) else 422)
            except (KeyError, ValueError, TypeError) as error:
                return reply({"error": f"That request cannot be read: {error!r}"}, 400)

        return guarded

    def _allowed(self, request: web.Request) -> bool:
        return secrets.compare_digest(request.headers.get("Authorization", ""), f"Bearer {self._token}")

    # ------------------------------------------------------------------ looking

    async def _get_world(self, _request: web.Request) -> Any:
        backend, guild = self.world.backend, self.world.guild
        channels = [backend.channels[i] for i in [*guild.channel_ids, *guild.thread_ids] if i in backend.channels]
        return {
            "guild": {"id": str(guild.id), "name": guild.name},
            "bot_id": str(backend.bot_user.id),
            "connected": len(self.gateway._sockets),
            "members": [
                {"id": str(user_id), "name": backend.users[user_id].name, "bot": backend.users[user_id].bot}
                for user_id in guild.members
            ],
            "channels": [_plain(serializers.channel_payload(backend, channel)) for channel in channels],
            "commands": [command for scope in backend.commands.values() for command in scope.values()],
        }

    async def _get_messages(self, request: web.Request) -> Any:
        member_id = self._member(request.query)
        channel_id = int(request.query["channel_id"])
        backend = self.world.backend
        if not channel_accessible(backend, channel_id, member_id, history=True):
            raise CannotError("That member cannot see that channel.")
        messages = sorted(backend.messages.get(channel_id, {}).values(), key=lambda m: m.id)
        return [self._shown(m) for m in messages if m.visible_to(member_id)][-int(request.query.get("limit", 200)) :]

    def _shown(self, message: Any) -> Any:
        payload = _plain(serializers.message_payload(self.world.backend, message))
        payload["ephemeral"] = message.is_ephemeral
        return payload

    async def _get_interaction(self, request: web.Request) -> Any:
        backend = self.world.backend
        record = backend.interactions.get(int(request.match_info["id"]))
        if record is None:
            raise CannotError("There is no such interaction any more.")
        messages = backend.messages.get(record.channel_id, {})
        ids = [record.message_id, *record.followup_ids]
        late = not record.responded and backend.now_iso() >= (record.initial_response_deadline or "")
        return {
            "id": str(record.id),
            "kind": record.response_kind.value if record.response_kind else None,
            "failed": late,  # what a person sees as "the application did not respond"
            "loading": record.loading,
            "ephemeral": record.ephemeral,
            "messages": [self._shown(messages[i]) for i in ids if i in messages],
            "modal": record.modal,
            "choices": record.autocomplete_choices,
        }

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Every event, as it happens, for whoever shows or waits."""
        if not self._allowed(request):
            return reply({"error": "Wrong or missing token."}, 401)
        ws = web.WebSocketResponse(heartbeat=20)
        await ws.prepare(request)
        queue: asyncio.Queue[str] = asyncio.Queue(maxsize=10_000)
        self._watchers.add(queue)
        reader = asyncio.create_task(ws.receive())  # ends when the other side goes
        try:
            while not reader.done():
                getter = asyncio.create_task(queue.get())
                await asyncio.wait({getter, reader}, return_when=asyncio.FIRST_COMPLETED)
                if getter.done():
                    await ws.send_str(getter.result())
                else:
                    getter.cancel()
        finally:
            reader.cancel()
            self._watchers.discard(queue)
        return ws

    def _tell_watchers(self, event: str, payload: Mapping[str, Any]) -> None:
        if self._watchers:
            text = json.dumps({"event": event, "data": payload}, default=str)
            for queue in list(self._watchers):
                if queue.full():
                    self._watchers.discard(queue)
                else:
                    queue.put_nowait(text)

    # ------------------------------------------------------------------ acting

    def _member(self, body: Mapping[str, Any]) -> int:
        member_id = self.world.member_named(str(body["member"]))
        if member_id is None:
            raise CannotError(f"There is no member called {body['member']!r}.")
        return member_id

    def _interact(self, kind: int, member_id: int, channel_id: int, data: Body, **extra: Any) -> Body:
        backend = self.world.backend
        record, payload = simcord_interactions.base_payload(
            backend,
            type=kind,
            channel_id=channel_id,
            guild_id=backend.get_channel(channel_id).guild_id,
            user_id=member_id,
            data=data,
        )
        payload["attachment_size_limit"] = MOST_BYTES
        payload.update(extra)
        if "message" in extra:
            record.source_message_id = int(extra["message"]["id"])
        self.gateway.emit("INTERACTION_CREATE", payload)
        return {"interaction_id": str(record.id)}

    async def _command(self, body: Body) -> Any:
        """Runs a slash command as a member: `name` may have a subcommand (`round open`)."""
        backend = self.world.backend
        member_id, channel_id = self._member(body), int(body["channel_id"])
        backend.require_permissions(self.world.guild_id, member_id, channel_id, "view_channel")
        root_name, *path = str(body["name"]).split()
        command = backend.find_command(root_name, self.world.guild_id)
        if command is None:
            raise CannotError(f"There is no command /{root_name}.")
        access = command_access(backend, command, user_id=member_id, channel_id=channel_id)
        if not access.allowed:
            raise CannotError(f"/{root_name} is hidden from this member: {access.reason}.")
        leaf, nesting = simcord_interactions.walk_to_subcommand(command, path)
        given = dict(body.get("options") or {})
        declared = {option["name"]: option for option in leaf.get("options") or []}
        if unknown := set(given) - set(declared):
            raise CannotError(f"/{body['name']} has no option {sorted(unknown)[0]!r}.")
        missing = [name for name, option in declared.items() if option.get("required") and name not in given]
        if missing:
            raise CannotError(f"/{body['name']} needs the option {missing[0]!r}.")
        resolved: Body = {}
        options = [self._option(declared[name], value, member_id, resolved) for name, value in given.items()]
        data: Body = {
            "id": command["id"],
            "name": root_name,
            "type": 1,
            "options": simcord_interactions.nest_options(command, nesting, options),
        }
        if resolved:
            data["resolved"] = resolved
        return self._interact(COMMAND, member_id, channel_id, data)

    def _option(self, option: Body, value: Any, member_id: int, resolved: Body) -> Body:
        kind = option["type"]
        if kind == CHANNEL:
            channel = self.world.backend.get_channel(int(value))
            shown = _plain(serializers.channel_payload(self.world.backend, channel))
            shown["permissions"] = str(
                self.world.backend.compute_permissions(self.world.guild_id, member_id, channel.id)
            )
            resolved.setdefault("channels", {})[str(channel.id)] = shown
            value = str(channel.id)
        elif kind in {USER, ROLE}:
            raise CannotError("Options that name members or roles are not offered here yet.")
        else:
            value = simcord_interactions.validate_option_value(option["name"], option, value)
        return {"name": option["name"], "type": kind, "value": value}

    async def _press(self, body: Body) -> Any:
        """Presses a button. With `forged`, a button that is not there, as a hostile client would."""
        backend = self.world.backend
        member_id, channel_id = self._member(body), int(body["channel_id"])
        message = backend.get_message(channel_id, int(body["message_id"]))
        if not message.visible_to(member_id) or not channel_accessible(backend, channel_id, member_id):
            raise CannotError("That member cannot see that message.")
        custom_id = str(body["custom_id"])
        button = next((c for c in walk_components(message.components) if c.get("custom_id") == custom_id), None)
        if not body.get("forged"):
            if button is None or button.get("type") != BUTTON:
                raise CannotError(f"There is no button {custom_id!r} on that message.")
            if button.get("disabled"):
                raise CannotError("That button is disabled.")
        data: Body = {"custom_id": custom_id, "component_type": BUTTON}
        if button is not None and button.get("id") is not None:
            data["id"] = button["id"]
        shown = _plain(serializers.message_payload(backend, message))
        return self._interact(COMPONENT, member_id, channel_id, data, message=shown)

    async def _modal(self, body: Body) -> Any:
        """Fills and submits the modal that an interaction showed. With `forged`, one that nothing showed."""
        backend = self.world.backend
        member_id = self._member(body)
        values: dict[str, str] = {str(k): str(v) for k, v in dict(body["values"]).items()}
        if body.get("forged"):
            components: list[Body] = [
                {"type": 18, "component": {"type": 4, "custom_id": key, "value": value}}
                for key, value in values.items()
            ]
            data: Body = {"custom_id": str(body["custom_id"]), "components": components}
            return self._interact(MODAL, member_id, int(body["channel_id"]), data)
        shown = backend.interactions.get(int(body["interaction_id"]))
        if shown is None or shown.modal is None or shown.user_id != member_id or shown.modal_consumed:
            raise CannotError("That interaction shows this member no modal.")
        filled = copy.deepcopy(shown.modal.get("components") or [])
        for component in filled:
            for leaf in [component.get("component"), *component.get("components", [])]:
                if isinstance(leaf, dict) and leaf.get("type") == 4:
                    _fill(leaf, values)
        shown.modal_consumed = True
        data = {"custom_id": shown.modal["custom_id"], "components": filled}
        return self._interact(MODAL, member_id, shown.channel_id, data)

    async def _react(self, body: Body) -> Any:
        backend = self.world.backend
        member_id, channel_id = self._member(body), int(body["channel_id"])
        backend.require_permissions(self.world.guild_id, member_id, channel_id, "read_message_history")
        channel = backend.get_channel(channel_id)
        if channel.is_thread and channel.thread_metadata.archived:
            raise CannotError("That thread is archived.")
        message = backend.get_message(channel_id, int(body["message_id"]))
        backend.set_reaction(channel_id, message.id, str(body["emoji"]), member_id, bool(body.get("on", True)))
        return {}

    async def _say(self, body: Body) -> Any:
        backend = self.world.backend
        member_id, channel_id = self._member(body), int(body["channel_id"])
        thread = backend.get_channel(channel_id).is_thread
        right = "send_messages_in_threads" if thread else "send_messages"
        backend.require_permissions(self.world.guild_id, member_id, channel_id, right)
        message = backend.create_message(channel_id, member_id, str(body["content"])[:2000])
        return {"message_id": str(message.id)}

    async def _gateway(self, body: Body) -> Any:
        """Faults of the connection, on demand."""
        acts = {"drop": self.gateway.drop, "reconnect": self.gateway.ask_to_reconnect}
        acts["invalidate"] = self.gateway.invalidate
        if body["do"] == "delete_message":
            self.world.backend.delete_message(int(body["channel_id"]), int(body["message_id"]))
        else:
            await acts[str(body["do"])]()
        return {}


def _fill(leaf: Body, values: dict[str, str]) -> None:
    value = values.get(leaf["custom_id"], "")
    if leaf.get("required", True) and not value:
        raise CannotError(f"The field {leaf['custom_id']!r} must be filled in.")
    if len(value) > int(leaf.get("max_length") or 4000) or len(value) < int(leaf.get("min_length") or 0):
        raise CannotError(f"The field {leaf['custom_id']!r} is too long or too short.")
    for key in ("label", "placeholder", "style", "max_length", "min_length", "required"):
        leaf.pop(key, None)
    leaf["value"] = value


def _posted(act: Callable[[Body], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[Any]]:
    async def posted(request: web.Request) -> Any:
        body = await request.json()
        if not isinstance(body, dict):
            raise TypeError("an object is expected")
        return await act(body)

    return posted


def _plain(payload: Any) -> Any:
    return json.loads(json.dumps(payload, default=str))
