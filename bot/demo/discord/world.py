"""The demo's guild, and how it is kept: members, channels, threads, messages and attachments outlive a restart."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import mimetypes
import os
import re
import types
import typing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import discord
from simcord._clock import Clock
from simcord.backend import Backend
from simcord.backend.models import Channel, Guild, Message, User

log = logging.getLogger(__name__)

GUILD_NAME = "FLock Demo"
MODERATOR = "mod-mira"
MEMBERS = ("ana", "ben", "chloé", "dmitri", "emi")
CHANNELS = ("general", "videos")

# What the bot asks for when it is invited: nothing more (README.md gives the reasons).
BOT_PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_public_threads=True,
    manage_threads=True,
    attach_files=True,
    embed_links=True,
    read_message_history=True,
    add_reactions=True,
)


class RealClock(Clock):  # type: ignore[misc]  # simcord ships no types
    """Time passes by itself."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        raise RuntimeError("The embedded Discord lives in real time.")


class Attachments:
    """Uploaded files, on disk; their addresses are on this server and good for ever."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.base_url = base_url
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def store_attachment(
        self, attachment_id: int, channel_id: int, filename: str, data: bytes, description: str | None
    ) -> dict[str, Any]:
        """Stores a file and returns its attachment object, as Discord describes one."""
        name = re.sub(r"[^A-Za-z0-9._-]", "_", filename).lstrip(".")[-100:] or "file"
        path = self.folder / f"{attachment_id}-{name}"
        path.write_bytes(data)
        url = f"{self.base_url}/attachments/{channel_id}/{attachment_id}/{name}"
        return {
            "id": str(attachment_id),
            "filename": name,
            "description": description,
            "size": len(data),
            "url": url,
            "proxy_url": url,
            "content_type": mimetypes.guess_type(name)[0] or "application/octet-stream",
        }

    def path(self, attachment_id: str, name: str) -> Path | None:
        """Where a file lies, if there is one of that name."""
        if not attachment_id.isdigit() or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
            return None
        path = self.folder / f"{attachment_id}-{name}"
        return path if path.is_file() else None

    def get(self, url: str) -> bytes | None:
        """The bytes behind one of our addresses (simcord asks)."""
        attachment_id, _, name = url.removeprefix(f"{self.base_url}/attachments/").partition("/")[2].partition("/")
        path = self.path(attachment_id, name)
        return path.read_bytes() if path else None


@dataclass
class World:
    """simcord's backend, with the one guild in it."""

    backend: Any
    state: Path
    guild_id: int

    @classmethod
    def open(cls, state: Path, base_url: str) -> World:
        """The world of an earlier run, or a new one."""
        backend = Backend(clock=RealClock())
        backend.cdn = Attachments(state / "attachments", base_url)
        saved = state / "world.json"
        if saved.exists():
            _restore(backend, json.loads(saved.read_text()), base_url)
            return cls(backend, state, next(iter(backend.guilds)))
        guild_id = _create(backend)
        return cls(backend, state, guild_id)

    @property
    def guild(self) -> Any:
        return self.backend.guilds[self.guild_id]

    def member_named(self, name: str) -> int | None:
        """A member's id, by name."""
        for user_id in self.guild.members:
            if self.backend.users[user_id].name == name:
                return int(user_id)
        return None

    def save(self) -> None:
        """Replaces the saved world at once or not at all."""
        path = self.state / "world.json"
        new = path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(_dump(self.backend), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def forget_the_past(self) -> None:
        """Lets go of the requests and events that simcord keeps for tests: a server runs for days."""
        backend = self.backend
        backend.http_requests.clear()
        backend.transcript.clear()
        while len(backend.interactions) > 5000:
            record = backend.interactions.pop(next(iter(backend.interactions)))
            backend.interaction_tokens.pop(record.token, None)


def _create(backend: Any) -> int:
    backend.bot_user.name = "FLock"
    owner = backend.make_user("owner")
    guild = backend.create_guild(GUILD_NAME, owner_id=owner.id)
    for role in guild.roles.values():
        if role.managed:
            role.name, role.permissions = "FLock", BOT_PERMISSIONS.value
    # Members may do what members usually may; what the bot may do comes from its own role alone.
    moderators = backend.create_role(
        guild.id, "Moderator", permissions=discord.Permissions(manage_guild=True, manage_messages=True).value
    )
    backend.add_member(guild.id, backend.make_user(MODERATOR).id, roles=[moderators.id])
    for name in MEMBERS:
        backend.add_member(guild.id, backend.make_user(name).id)
    for name in CHANNELS:
        backend.create_channel(guild.id, name)
    return int(guild.id)


# --------------------------------------------------------------------------- JSON, never pickle


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value


def _typed(kind: Any, value: Any) -> Any:
    """The reverse of `_plain`, by the type hints of simcord's dataclasses."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        inner = [arg for arg in args if arg is not type(None)]
        return None if value is None else _typed(inner[0], value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _typed(hints[name], item) for name, item in value.items() if name in hints})
    if origin is dict:
        return {_typed(args[0], key): _typed(args[1], item) for key, item in value.items()}
    if origin in {list, set, frozenset}:
        return origin(_typed(args[0], item) for item in value)
    if origin is tuple:
        return tuple(value)
    if isinstance(kind, type) and (kind is int or issubclass(kind, enum.Enum)) and not isinstance(value, bool):
        return kind(value)
    return value


def _dump(backend: Any) -> dict[str, Any]:
    lasting = {
        channel_id: {m.id: m for m in messages.values() if not m.is_ephemeral}
        for channel_id, messages in backend.messages.items()
    }
    return {
        "base_url": backend.cdn.base_url,
        "application_id": backend.application_id,
        "bot_user_id": backend.bot_user.id,
        "users": _plain(backend.users),
        "guilds": _plain(backend.guilds),
        "channels": _plain(backend.channels),
        "messages": _plain(lasting),
        "commands": [[scope, list(commands.values())] for scope, commands in backend.commands.items()],
    }


def _restore(backend: Any, saved: dict[str, Any], base_url: str) -> None:
    if saved["base_url"] != base_url:  # another port this time: the addresses of attachments move along
        saved = json.loads(json.dumps(saved).replace(saved["base_url"], base_url))
    backend.application_id = saved["application_id"]
    backend.users = _typed(dict[int, User], saved["users"])
    backend.bot_user = backend.users[saved["bot_user_id"]]
    backend.guilds = _typed(dict[int, Guild], saved["guilds"])
    backend.channels = _typed(dict[int, Channel], saved["channels"])
    backend.messages = _typed(dict[int, dict[int, Message]], saved["messages"])
    backend.commands = {
        scope: {(command["name"], command["type"]): command for command in commands}
        for scope, commands in saved["commands"]
    }
