"""The demo's guild and its saved state: members, channels, threads, messages and commands outlive a restart."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import fcntl
import json
import logging
import os
import threading
import time
import types
import typing
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import discord
from simcord._clock import Clock
from simcord.backend import Backend
from simcord.backend.models import Channel, Guild, Message, Overwrite, User
from simcord.enums import OverwriteType

from bot.demo.discord.attachments import Attachments
from bot.demo.discord.messages import Payload
from bot.permissions import PERMISSIONS
from migrations.files import write_private

log = logging.getLogger(__name__)

GUILD_NAME = "FLock Demo"
MODERATOR = "mod-mira"
MEMBERS = ("ana", "ben", "chloé", "dmitri", "emi")
CROWD = (  # more members, for those who ask for a larger community
    "adam", "aiko", "amina", "anders", "aisha", "bela", "bruno", "carla", "cem", "chidi", "clara", "cosmin",
    "daria", "diego", "dunja", "ela", "elio", "emre", "esra", "farid", "fatou", "femi", "finn", "freya", "gita",
    "goran", "greta", "hana", "hugo", "ida", "ilja", "imani", "ines", "ivo", "jana", "jin", "jonas", "juna", "kai",
    "kaya", "keiko", "kofi", "lale", "lara", "leon", "lin", "luca", "maja", "malik", "marta", "mateo", "mei",
    "milo", "mina", "musa", "nadia", "nael", "nils", "nora", "noor", "olga", "omar", "otto", "paula", "pia",
    "priya", "quinn", "rafa", "remi", "rosa", "sami", "sara", "selma", "sven", "tala", "tariq", "theo", "timo",
    "tuva", "uma", "vera", "viktor", "wanda", "xenia", "yara", "yusuf", "zara", "zoe",
)  # fmt: skip
CHANNELS = ("general", "videos")

CROWD_DAYS = 30  # in the guild

SAVE_S = 0.5  # between two savings; longer where saving itself takes long
_KEPT_CALLS = 100  # of simcord's own records, which are made for tests


class WorldError(Exception):
    """The saved world cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class People:
    """The members and channels of a new guild. A saved guild stays as it is, but for a crowd that it does not have."""

    guild: str = GUILD_NAME
    moderators: tuple[str, ...] = (MODERATOR,)
    members: tuple[str, ...] = MEMBERS
    channels: tuple[str, ...] = CHANNELS
    crowd: tuple[str, ...] = ()  # members who joined long ago

    @classmethod
    def with_crowd(cls, count: int) -> People:
        """Return the usual people and so many more, who have been in the guild for a month. Raises ValueError."""
        if not 0 <= count <= len(CROWD):
            raise ValueError(f"A crowd has at most {len(CROWD)} members.")
        return cls(crowd=CROWD[:count])


class RealClock(Clock):  # type: ignore[misc]  # simcord ships no types
    """The clock of the machine, which `shift_s` seconds can put wrong."""

    shift_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.shift_s)

    def advance(self, seconds: float) -> None:
        raise RuntimeError("The embedded Discord lives in real time.")


@dataclass
class World:
    """simcord's backend, with the one guild in it."""

    backend: Backend
    state: Path
    guild_id: int
    _lock: IO[str]
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _version: int = 0  # of the latest text
    _saved_version: int = 0

    @classmethod
    def open(cls, state: Path, base_url: str, people: People | None = None) -> World:
        """Open the world of an earlier run, or a new one.

        Raises WorldError when it cannot be read, or when another process has it open.
        """
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(state)
        try:
            backend = Backend(clock=RealClock())
            backend.cdn = Attachments(state / "attachments", base_url)
            backend.http_requests = deque(maxlen=_KEPT_CALLS)
            backend.transcript = deque(maxlen=_KEPT_CALLS)
            saved = state / "world.json"
            is_old = saved.exists()
            people = people or People()
            guild_id = _open_saved(backend, saved, base_url) if is_old else _create(backend, people)
            _welcome(backend, guild_id, people.crowd)
        except BaseException:
            lock.close()
            raise
        return cls(backend, state, guild_id, lock)

    def close(self) -> None:
        """Save, and let other processes have the folder."""
        try:
            self._write(*self._text())
        finally:
            self._lock.close()

    def shift_clock(self, seconds: float) -> None:
        """Put the clock of timestamps, ids and deadlines wrong by so many seconds."""
        self.backend.clock.shift_s = seconds

    def seconds(self) -> float:
        """Return the world's time, in seconds since 1970."""
        return float(self.backend.clock.now().timestamp())

    @property
    def guild(self) -> Guild:
        return self.backend.guilds[self.guild_id]

    def member_named(self, name: str) -> int | None:
        """Return a member's id, by name."""
        for user_id in self.guild.members:
            if self.backend.users[user_id].name == name:
                return int(user_id)
        return None

    def deny(self, channel_id: int, permissions: Sequence[str]) -> None:
        """Deny the bot these permissions in a channel, by discord.py's names, and no others; the bot is told."""
        denied = discord.Permissions(**dict.fromkeys(permissions, True))
        bot_id = self.backend.bot_user.id
        self.backend.set_overwrite(
            channel_id, Overwrite(target_id=bot_id, type=OverwriteType.MEMBER, deny=denied.value)
        )

    async def keep_saving(self, changed: asyncio.Event) -> None:
        """Save after changes, for ever: a process killed by force loses at most the changes of `SAVE_S`."""
        while True:
            await changed.wait()
            changed.clear()
            began = time.monotonic()
            try:
                await asyncio.to_thread(self._write, *self._text())
            except OSError as error:  # a full disk may have room again
                log.error("The world could not be saved: %s. It is tried again.", error)
                changed.set()
            # A large world takes long to serialize, which may hold up everybody else for a tenth of the time at most.
            await asyncio.sleep(max(SAVE_S, 9 * (time.monotonic() - began)))

    def _text(self) -> tuple[int, str]:
        self._version += 1
        return self._version, json.dumps(_dump(self.backend))

    def _write(self, version: int, text: str) -> None:
        """Replace the saved world at once or not at all; an older one never replaces a newer one."""
        path = self.state / "world.json"
        with self._writing:
            if version < self._saved_version:
                return
            write_private(path, text.encode())
            self._saved_version = version


def _lock(state: Path) -> IO[str]:
    lock = os.fdopen(os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise WorldError(f"Another process uses {state}. Stop it, or take another --state folder.") from None
    return lock


def _create(backend: Backend, people: People) -> int:
    backend.bot_user.name = "FLock"
    owner = backend.make_user("owner")
    guild = backend.create_guild(people.guild, owner_id=owner.id)
    for role in guild.roles.values():
        if role.managed:
            role.name, role.permissions = "FLock", PERMISSIONS.value
    moderators = backend.create_role(
        guild.id, "Moderator", permissions=discord.Permissions(manage_guild=True, manage_messages=True).value
    )
    for name in people.moderators:
        backend.add_member(guild.id, backend.make_user(name).id, roles=[moderators.id])
    for name in people.members:
        backend.add_member(guild.id, backend.make_user(name).id)
    for name in people.channels:
        backend.create_channel(guild.id, name)
    return int(guild.id)


def _welcome(backend: Backend, guild_id: int, crowd: Sequence[str]) -> None:
    """Let those of a crowd whom the guild does not have be members of it, who joined a month ago."""
    here = {backend.users[user_id].name for user_id in backend.guilds[guild_id].members}
    joined = backend.clock.now() - timedelta(days=CROWD_DAYS)
    for name in crowd:
        if name not in here:
            member = backend.add_member(guild_id, backend.make_user(name).id)
            member.joined_at = joined.isoformat()


# --------------------------------------------------------------------------- JSON, never pickle


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value


def _typed(kind: Any, value: Any) -> Any:  # simcord's classes are untyped for us
    """Reverse `_plain`, by the type hints of simcord's dataclasses."""
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


def _dump(backend: Backend) -> Payload:
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
        "dm_channels": _plain(backend.dm_channels),
        "messages": _plain(lasting),
        "commands": [[scope, list(commands.values())] for scope, commands in backend.commands.items()],
    }


def _open_saved(backend: Backend, path: Path, base_url: str) -> int:
    try:
        saved = json.loads(path.read_text())
        if saved["base_url"] != base_url:  # another port this time: the addresses of attachments move along
            saved = json.loads(path.read_text().replace(f"{saved['base_url']}/", f"{base_url}/"))
        _restore(backend, saved)
        return int(next(iter(backend.guilds)))
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise WorldError(f"{path} cannot be read. Take another --state folder, or remove this one.") from error


def _restore(backend: Backend, saved: Payload) -> None:
    backend.application_id = saved["application_id"]
    backend.users = _typed(dict[int, User], saved["users"])
    backend.bot_user = backend.users[saved["bot_user_id"]]
    backend.guilds = _typed(dict[int, Guild], saved["guilds"])
    backend.channels = _typed(dict[int, Channel], saved["channels"])
    backend.dm_channels = _typed(dict[int, int], saved.get("dm_channels", {}))
    backend.messages = _typed(dict[int, dict[int, Message]], saved["messages"])
    backend.commands = {
        scope: {(command["name"], command["type"]): command for command in commands}
        for scope, commands in saved["commands"]
    }


def watch(backend: Backend, changed: Callable[[], None]) -> None:
    """Call back at every event of the world."""
    backend.subscribers.append(lambda _event, _payload: changed())
