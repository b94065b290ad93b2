"""The gateway, version 10: hello, identify, heartbeat, resume, reconnect; events by intents and shard."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import discord
from aiohttp import WSMsgType, web
from simcord import intents as simcord_intents
from simcord.backend import serializers

log = logging.getLogger(__name__)

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE, RESUME = 0, 1, 2, 3, 4, 6
RECONNECT, MEMBERS, INVALID_SESSION, HELLO, ACK = 7, 8, 9, 10, 11
KEPT_EVENTS = 2000  # for a resume
KEPT_S = 180.0  # how long a session may be away


@dataclass
class Session:
    """A bot's (or one of its shards') place in the stream of events, connected or not."""

    id: str
    shard: int
    shards: int
    intents: discord.Intents
    seq: int = 0
    log: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    outgoing: asyncio.Queue[str] | None = None  # of the connection, while there is one
    left_at: float | None = None

    def push(self, event: str, payload: Mapping[str, Any]) -> None:
        """Numbers an event, keeps it for a resume, and sends it if somebody is there."""
        self.seq += 1
        frame = json.dumps({"op": DISPATCH, "t": event, "s": self.seq, "d": payload}, default=str)
        self.log.append((self.seq, frame))
        if self.outgoing is not None:
            self.outgoing.put_nowait(frame)


class Gateway:
    """All sessions, and the events for them."""

    def __init__(self, backend: Any, token: str, url: str, *, heartbeat_s: float = 41.25) -> None:
        self.backend = backend
        self.url = url
        self._token = token
        self._heartbeat_s = heartbeat_s
        self._sessions: dict[str, Session] = {}
        self._sockets: dict[str, web.WebSocketResponse] = {}
        backend.subscribers.append(self.emit)

    # ------------------------------------------------------------------ events

    def emit(self, event: str, payload: Mapping[str, Any]) -> None:
        """Hands an event to every session that may see it."""
        now = time.monotonic()
        for session in list(self._sessions.values()):
            if session.left_at is not None and now - session.left_at > KEPT_S:
                del self._sessions[session.id]
                continue
            shaped = self._shape(session, event, payload)
            if shaped is not None:
                session.push(event, shaped)

    def _shape(self, session: Session, event: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What this session sees of an event: nothing of other shards, nothing beyond its intents."""
        guild_id = payload.get("id") if event.startswith("GUILD_") and "guild_id" not in payload else None
        guild_id = payload.get("guild_id", guild_id)
        if (int(guild_id) >> 22) % session.shards != session.shard if guild_id else session.shard != 0:
            return None
        needed = simcord_intents.required_intent(event, payload)
        if needed is not None and not getattr(session.intents, needed):
            return None
        if session.intents.message_content:
            return payload
        shaped = copy.deepcopy(dict(payload))
        bot_id = self.backend.bot_user.id
        if event in {"MESSAGE_CREATE", "MESSAGE_UPDATE"}:
            simcord_intents.censor_message(shaped, bot_id, backend=self.backend)
        elif event == "GUILD_CREATE":
            simcord_intents.prune_guild_create(shaped, session.intents, bot_id)
        return shaped

    # ------------------------------------------------------------------ faults, for tests and the curious

    async def drop(self) -> None:
        """Cuts every connection without a word; sessions can be resumed."""
        for ws in list(self._sockets.values()):
            await ws.close(code=4000, message=b"Unknown error.")

    async def ask_to_reconnect(self) -> None:
        """Operation 7: please connect again and resume."""
        for ws in list(self._sockets.values()):
            await ws.send_json({"op": RECONNECT, "d": None})

    async def invalidate(self) -> None:
        """Forgets every session: a resume gets operation 9 and the bot must identify anew."""
        self._sessions.clear()
        await self.drop()

    # ------------------------------------------------------------------ connections

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One websocket connection."""
        ws = web.WebSocketResponse(max_msg_size=1 << 20)
        await ws.prepare(request)
        await ws.send_json({"op": HELLO, "d": {"heartbeat_interval": int(self._heartbeat_s * 1000)}})
        session: Session | None = None
        writer: asyncio.Task[None] | None = None
        try:
            while True:
                message = await ws.receive(timeout=self._heartbeat_s * 2)
                if message.type is not WSMsgType.TEXT:
                    break
                op, data = _read(message.data)
                if op == HEARTBEAT:
                    # discord.py notes the time only after it has sent: an answer that is quicker than any network
                    # would look to it like one that took a whole interval.
                    await asyncio.sleep(0.02)
                    await ws.send_json({"op": ACK})
                elif op in {IDENTIFY, RESUME} and session is None:
                    if not isinstance(data, dict) or not secrets.compare_digest(str(data.get("token")), self._token):
                        await ws.close(code=4004, message=b"Authentication failed.")
                        break
                    session = self._identify(data) if op == IDENTIFY else self._resume(data)
                    if session is None:
                        await ws.send_json({"op": INVALID_SESSION, "d": False})
                        continue
                    writer = asyncio.create_task(_write(ws, session.outgoing))
                    self._sockets[session.id] = ws
                elif op in {IDENTIFY, RESUME}:
                    await ws.close(code=4005, message=b"Already authenticated.")
                    break
                elif op == MEMBERS and session is not None and isinstance(data, dict):
                    self._members(session, data)
                elif op not in {PRESENCE, VOICE, MEMBERS}:
                    await ws.close(code=4001, message=b"Unknown opcode.")
                    break
        except TimeoutError:
            await ws.close(code=4009, message=b"Session timed out.")
        except ConnectionError:
            pass
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            if session is not None and self._sockets.get(session.id) is ws:
                del self._sockets[session.id]
                session.outgoing, session.left_at = None, time.monotonic()
                if ws.close_code in {1000, 1001}:  # a clean goodbye ends the session
                    self._sessions.pop(session.id, None)
        return ws

    def _identify(self, data: dict[str, Any]) -> Session:
        shard, shards = data.get("shard") or (0, 1)
        session = Session(
            id=secrets.token_hex(16),
            shard=int(shard),
            shards=int(shards),
            intents=discord.Intents._from_value(int(data.get("intents", 0))),
        )
        session.outgoing = asyncio.Queue()
        self._sessions[session.id] = session
        backend = self.backend
        mine = [guild for guild in backend.guilds.values() if (guild.id >> 22) % session.shards == session.shard]
        session.push(
            "READY",
            {
                "v": 10,
                "user": dict(serializers.user_payload(backend.bot_user)),
                "guilds": [{"id": str(guild.id), "unavailable": True} for guild in mine],
                "session_id": session.id,
                "resume_gateway_url": self.url,
                "shard": [session.shard, session.shards],
                "application": {"id": str(backend.application_id), "flags": 0},
                "private_channels": [],
                "relationships": [],
                "presences": [],
            },
        )
        for guild in mine:
            payload = self._shape(session, "GUILD_CREATE", serializers.guild_create_payload(backend, guild))
            if payload is not None:
                session.push("GUILD_CREATE", payload)
        return session

    def _resume(self, data: dict[str, Any]) -> Session | None:
        session = self._sessions.get(str(data.get("session_id")))
        seen = int(data.get("seq") or 0)
        if session is None or (session.log and session.log[0][0] > seen + 1):
            return None
        session.outgoing, session.left_at = asyncio.Queue(), None
        for seq, frame in session.log:
            if seq > seen:
                session.outgoing.put_nowait(frame)
        session.push("RESUMED", {})
        return session

    def _members(self, session: Session, data: dict[str, Any]) -> None:
        guild = self.backend.guilds.get(int(data.get("guild_id") or 0))
        if guild is None:
            return
        wanted = {int(user_id) for user_id in data.get("user_ids") or []}
        found = [m for m in guild.members.values() if not wanted or m.user_id in wanted]
        session.push(
            "GUILD_MEMBERS_CHUNK",
            {
                "guild_id": str(guild.id),
                "members": [dict(serializers.member_payload(self.backend, guild, member)) for member in found],
                "chunk_index": 0,
                "chunk_count": 1,
                "not_found": [],
                **({"nonce": data["nonce"]} if data.get("nonce") else {}),
            },
        )


def _read(text: str) -> tuple[int, Any]:
    try:
        message = json.loads(text)
        return int(message["op"]), message.get("d")
    except (ValueError, KeyError, TypeError):
        return -1, None


async def _write(ws: web.WebSocketResponse, outgoing: asyncio.Queue[str] | None) -> None:
    while outgoing is not None:
        await ws.send_str(await outgoing.get())
