"""The acts of members in their Discord client, and no more: permissions are checked as Discord checks them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from simcord import interactions as simcord_interactions
from simcord.backend import models, serializers
from simcord.backend.access import channel_accessible, reaction_permissions
from simcord.backend.command_access import command_access
from simcord.components import walk_components

from bot.demo.discord.gateway import Gateway
from bot.demo.discord.interactions import AUTOCOMPLETE, COMMAND, COMPONENT, MODAL, SUBCOMMANDS, Interactions, plain
from bot.demo.discord.messages import Payload
from bot.demo.discord.world import World

USER, CHANNEL, ROLE = 6, 7, 8
BUTTON, STRING_SELECT, TEXT_INPUT, LABEL = 2, 3, 4, 18
MOST_TEXT = 2000


class CannotError(Exception):
    """A member cannot do that; the message says why."""


class Acting:
    """The acts of members on the world."""

    def __init__(self, world: World, gateway: Gateway, interactions: Interactions) -> None:
        self.world = world
        self.gateway = gateway
        self.interactions = interactions

    def member(self, body: Mapping[str, object]) -> int:
        """Return the id of the member whom a request names. Raises CannotError."""
        member_id = self.world.member_named(str(body["member"]))
        if member_id is None:
            raise CannotError(f"There is no member called {body['member']!r}.")
        return member_id

    def commands(self, member_id: int, channel_id: int) -> list[Payload]:
        """Return the slash commands that a member is offered in a channel."""
        self._require(member_id, channel_id, "view_channel")
        commands = self.world.backend.visible_commands(user_id=member_id, channel_id=channel_id)
        return [plain(command) for command in commands]

    # ------------------------------------------------------------------ interactions

    def run_command(self, body: Payload) -> int:
        """Send a slash command: `name` may have subcommands (`round open`). Returns the interaction's id.

        With `outdated`, send it as a client that has an earlier definition of the command, without limits of lengths.
        """
        member_id, channel_id = self.member(body), int(body["channel_id"])
        command, leaf, nesting = self._command(str(body["name"]), member_id, channel_id)
        typed = dict(body.get("options") or {})
        declared = {option["name"]: option for option in leaf.get("options") or []}
        if body.get("outdated"):
            declared = {name: _without_lengths(option) for name, option in declared.items()}
        if unknown := set(typed) - set(declared):
            raise CannotError(f"/{body['name']} has no option {min(unknown)!r}.")
        missing = [name for name, option in declared.items() if option.get("required") and name not in typed]
        if missing:
            raise CannotError(f"/{body['name']} needs the option {missing[0]!r}.")
        resolved: Payload = {}
        options = [self._option(declared[name], value, member_id, resolved) for name, value in typed.items()]
        data = _command_data(command, nesting, options)
        if resolved:
            data["resolved"] = resolved
        return self._send(COMMAND, member_id, channel_id, data)

    def autocomplete(self, body: Payload) -> int:
        """Type into an option that offers suggestions; `options` holds the values of the other options."""
        member_id, channel_id = self.member(body), int(body["channel_id"])
        command, leaf, nesting = self._command(str(body["name"]), member_id, channel_id)
        declared = {option["name"]: option for option in leaf.get("options") or []}
        focused = declared.get(str(body["focused"]))
        if focused is None or not focused.get("autocomplete"):
            raise CannotError(f"/{body['name']} suggests nothing for {body['focused']!r}.")
        typed = {**dict(body.get("options") or {}), focused["name"]: str(body.get("value", ""))}
        options = [
            {"name": name, "type": declared[name]["type"], "value": value, "focused": name == focused["name"]}
            for name, value in typed.items()
            if name in declared
        ]
        return self._send(AUTOCOMPLETE, member_id, channel_id, _command_data(command, nesting, options))

    def press(self, body: Payload) -> int:
        """Press a button, or choose `values` in a menu.

        With `forged`, press one that is not there, as a hostile client would.
        """
        member_id, channel_id = self.member(body), int(body["channel_id"])
        message = self._message(member_id, channel_id, int(body["message_id"]))
        custom_id = str(body["custom_id"])
        component = next((c for c in walk_components(message.components) if c.get("custom_id") == custom_id), None)
        values = [str(value) for value in body.get("values") or []]
        if not body.get("forged"):
            _check_component(component, custom_id, values)
        kind = component["type"] if component else STRING_SELECT if values else BUTTON
        data: Payload = {"custom_id": custom_id, "component_type": kind}
        if kind != BUTTON:
            data["values"] = values
        if component is not None and component.get("id") is not None:
            data["id"] = component["id"]
        return self._send(COMPONENT, member_id, channel_id, data, message)

    def submit(self, body: Payload) -> int:
        """Fill in and send the modal that an interaction showed; with `forged`, one that no interaction showed."""
        backend = self.world.backend
        member_id = self.member(body)
        values: dict[str, str] = {str(k): str(v) for k, v in dict(body["values"]).items()}
        if body.get("forged"):
            components: list[Payload] = [
                {"type": LABEL, "component": {"type": TEXT_INPUT, "custom_id": key, "value": value}}
                for key, value in values.items()
            ]
            data: Payload = {"custom_id": str(body["custom_id"]), "components": components}
            return self._send(MODAL, member_id, int(body["channel_id"]), data)
        source = backend.interactions.get(int(body["interaction_id"]))
        if source is None or source.modal is None or source.user_id != member_id or source.modal_consumed:
            raise CannotError("That interaction shows this member no modal.")
        filled = copy.deepcopy(source.modal.get("components") or [])
        for component in filled:
            for leaf in [component.get("component"), *component.get("components", [])]:
                if isinstance(leaf, dict) and leaf.get("type") == TEXT_INPUT:
                    _fill(leaf, values)
        if values:
            raise CannotError(f"The modal has no field {min(values)!r}.")
        source.modal_consumed = True
        message = backend.messages.get(source.channel_id, {}).get(source.source_message_id)
        data = {"custom_id": source.modal["custom_id"], "components": filled}
        return self._send(MODAL, member_id, source.channel_id, data, message)

    # ------------------------------------------------------------------ messages and reactions

    def react(self, body: Payload) -> Payload:
        """Put a reaction on a message, or take one's own off with `on` false."""
        backend = self.world.backend
        member_id, channel_id = self.member(body), int(body["channel_id"])
        emoji, on = str(body["emoji"]), bool(body.get("on", True))
        message = self._message(member_id, channel_id, int(body["message_id"]))
        if message.is_ephemeral:
            raise CannotError("Nobody can react to a message that only they see.")
        self._require(member_id, channel_id, *reaction_permissions(message, emoji, reacted=on))
        channel = backend.get_channel(channel_id)
        if channel.is_thread and channel.thread_metadata.archived:
            raise CannotError("That thread is archived.")
        backend.set_reaction(channel_id, message.id, emoji, member_id, on)
        return {}

    def say(self, body: Payload) -> Payload:
        """Write an ordinary message."""
        backend = self.world.backend
        member_id, channel_id = self.member(body), int(body["channel_id"])
        channel, text = backend.get_channel(channel_id), str(body["content"])
        if not text.strip() or len(text) > MOST_TEXT:
            raise CannotError(f"A message has between 1 and {MOST_TEXT} characters.")
        self._require(member_id, channel_id, "send_messages_in_threads" if channel.is_thread else "send_messages")
        if channel.is_thread and channel.thread_metadata.archived:
            if channel.thread_metadata.locked:
                self._require(member_id, channel_id, "manage_threads")
            backend.edit_channel(channel_id, {}, thread_metadata={"archived": False})
        if channel.is_thread:
            backend.add_thread_member(channel_id, member_id)
        return {"message_id": str(backend.create_message(channel_id, member_id, text).id)}

    def delete(self, body: Payload) -> Payload:
        """Delete one's own message, or with Manage Messages anybody's."""
        member_id, channel_id = self.member(body), int(body["channel_id"])
        message = self._message(member_id, channel_id, int(body["message_id"]))
        if message.author_id != member_id:
            self._require(member_id, channel_id, "manage_messages")
        self.world.backend.delete_message(channel_id, message.id)
        return {}

    # ------------------------------------------------------------------ checks

    def _send(
        self, kind: int, member_id: int, channel_id: int, data: Payload, message: models.Message | None = None
    ) -> int:
        interaction_id, payload = self.interactions.open(kind, member_id, channel_id, data, message)
        self.gateway.emit("INTERACTION_CREATE", payload)
        return interaction_id

    def _require(self, member_id: int, channel_id: int, *names: str) -> None:
        self.world.backend.require_permissions(self.world.guild_id, member_id, channel_id, *names)

    def _message(self, member_id: int, channel_id: int, message_id: int) -> models.Message:
        """Return a message that the member sees. Raises CannotError, or BackendError when there is none."""
        message = self.world.backend.get_message(channel_id, message_id)
        if not message.visible_to(member_id) or not channel_accessible(self.world.backend, channel_id, member_id):
            raise CannotError("That member cannot see that message.")
        return message

    def _command(self, name: str, member_id: int, channel_id: int) -> tuple[Payload, Payload, list[str]]:
        """Return a command, its subcommand, and the names that lead there. Raises CannotError for a hidden one."""
        backend = self.world.backend
        self._require(member_id, channel_id, "view_channel")
        root, *path = name.split() or [""]
        command = backend.find_command(root, self.world.guild_id)
        if command is None:
            raise CannotError(f"There is no command /{root}.")
        access = command_access(backend, command, user_id=member_id, channel_id=channel_id)
        if not access.allowed:
            raise CannotError(f"/{root} is hidden from this member: {access.reason}.")
        leaf, nesting = simcord_interactions.walk_to_subcommand(command, path)
        below = [option["name"] for option in leaf.get("options") or [] if option.get("type") in SUBCOMMANDS]
        if below:
            raise CannotError(f"/{name} cannot be run alone; choose one of {', '.join(below)}.")
        return command, leaf, nesting

    def _option(self, option: Payload, value: object, member_id: int, resolved: Payload) -> Payload:
        kind = option["type"]
        if kind == CHANNEL:
            value = self._resolve_channel(option, int(str(value)), member_id, resolved)
        elif kind == USER:
            value = self._resolve_user(value, resolved)
        elif kind == ROLE:
            role = self.world.backend.get_role(self.world.guild_id, int(str(value)))
            resolved.setdefault("roles", {})[str(role.id)] = plain(serializers.role_payload(role))
            value = str(role.id)
        else:
            value = simcord_interactions.validate_option_value(option["name"], option, value)
        return {"name": option["name"], "type": kind, "value": value}

    def _resolve_channel(self, option: Payload, channel_id: int, member_id: int, resolved: Payload) -> str:
        backend = self.world.backend
        channel = backend.get_channel(channel_id)
        if not channel_accessible(backend, channel_id, member_id):
            raise CannotError("That member cannot see that channel.")
        if option.get("channel_types") and channel.type not in option["channel_types"]:
            raise CannotError(f"The option {option['name']!r} takes no channel of that kind.")
        payload = plain(serializers.channel_payload(backend, channel))
        payload["permissions"] = str(backend.compute_permissions(self.world.guild_id, member_id, channel.id))
        resolved.setdefault("channels", {})[str(channel.id)] = payload
        return str(channel.id)

    def _resolve_user(self, value: object, resolved: Payload) -> str:
        """Resolve a user by name or id."""
        backend, guild = self.world.backend, self.world.guild
        user_id = self.world.member_named(str(value)) or (int(str(value)) if str(value).isdigit() else 0)
        if user_id not in guild.members:
            raise CannotError(f"There is no member called {value!r}.")
        member = plain(serializers.member_payload(backend, guild, guild.members[user_id], with_user=False))
        member["permissions"] = str(backend.compute_permissions(guild.id, user_id))
        resolved.setdefault("users", {})[str(user_id)] = plain(serializers.user_payload(backend.users[user_id]))
        resolved.setdefault("members", {})[str(user_id)] = member
        return str(user_id)


def _command_data(command: Payload, nesting: list[str], options: list[Payload]) -> Payload:
    nested = simcord_interactions.nest_options(command, nesting, options)
    data: Payload = {"id": command["id"], "name": command["name"], "type": 1, "options": nested}
    if command.get("guild_id"):
        data["guild_id"] = command["guild_id"]
    return data


def _without_lengths(option: Payload) -> Payload:
    return {key: value for key, value in option.items() if key not in {"min_length", "max_length"}}


def _check_component(component: Payload | None, custom_id: str, values: list[str]) -> None:
    if component is None or component.get("type") not in {BUTTON, STRING_SELECT}:
        raise CannotError(f"There is no button or menu {custom_id!r} on that message.")
    if component.get("disabled"):
        raise CannotError("That button is disabled.")
    if component["type"] == BUTTON:
        if values:
            raise CannotError("A button takes no values.")
        return
    offered = {str(option["value"]) for option in component.get("options") or []}
    if foreign := set(values) - offered:
        raise CannotError(f"The menu does not offer {min(foreign)!r}.")
    if not int(component.get("min_values", 1)) <= len(values) <= int(component.get("max_values", 1)):
        raise CannotError("That is too many or too few choices.")


def _fill(leaf: Payload, values: dict[str, str]) -> None:
    value = values.pop(leaf["custom_id"], str(leaf.get("value") or ""))
    if leaf.get("required", True) and not value:
        raise CannotError(f"The field {leaf['custom_id']!r} must be filled in.")
    shortest = int(leaf.get("min_length") or 0)
    if len(value) > int(leaf.get("max_length") or 4000) or (value and len(value) < shortest):
        raise CannotError(f"The field {leaf['custom_id']!r} is too long or too short.")
    for key in ("label", "placeholder", "style", "max_length", "min_length", "required"):
        leaf.pop(key, None)
    leaf["value"] = value
