"""The gateway, version 10: hello, identify, heartbeat, resume, reconnect; events by intents and shard.

https://discord.com/developers/docs/events/gateway
"""

from __future__ import annotations

import asyncio
import copy
import json
import secrets
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import discord
from aiohttp import WSMessage, WSMsgType, web
from simcord import intents as simcord_intents
from simcord.backend import Backend, serializers

from bot.demo.discord.faults import GatewayFault
from bot.demo.discord.messages import Payload

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE, RESUME = 0, 1, 2, 3, 4, 6
RECONNECT, MEMBERS, INVALID_SESSION, HELLO, ACK = 7, 8, 9, 10, 11
KEPT_EVENTS = 2000  # for a resume
KEPT_S = 180.0  # how long a session may be away
IDENTIFIES_A_DAY = 1000
DAY_S = 86_400.0
LAST_WORD_S = 2.0  # for the other side to take note of a close


@dataclass
class Session:
    """The place of a bot, or of one of its shards, in the stream of events, connected or not."""

    id: str
    shard: int
    shards: int
    intents: discord.Intents
    seq: int = 0
    log: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    connection: Connection | None = None
    left_at: float | None = None
    delayed: list[tuple[str, Payload]] = field(default_factory=list)  # events that are to come after the next one

    def release(self) -> None:
        """Send the delayed events."""
        delayed, self.delayed = self.delayed, []
        for event, payload in delayed:
            self.push(event, payload)

    def push(self, event: str, payload: Payload) -> None:
        """Number an event, keep it for a resume, and send it if the session is connected."""
        self.seq += 1
        frame = json.dumps({"op": DISPATCH, "t": event, "s": self.seq, "d": payload}, default=str)
        self.log.append((self.seq, frame))
        if self.connection is not None:
            self.connection.send(frame)


class Connection:
    """One websocket. Frames leave in the order in which they were queued, as one zlib stream where asked for."""

    def __init__(self, ws: web.WebSocketResponse, *, compress: bool, heartbeat_s: float) -> None:
        self.ws = ws
        self._loop = asyncio.get_running_loop()
        self._heartbeat_s = heartbeat_s
        self._beat = self._loop.time()
        self.said_goodbye = False  # a clean close by the other side, which ends its session
        self._outgoing: asyncio.Queue[str | CloseError] = asyncio.Queue()
        self._ended: asyncio.Future[CloseError] = self._loop.create_future()
        self._deflate = zlib.compressobj() if compress else None

    def send(self, frame: str) -> None:
        """Queue a frame."""
        self._outgoing.put_nowait(frame)

    def say(self, op: int, data: object = None) -> None:
        """Queue an operation that is not an event."""
        self.send(json.dumps({"op": op, "d": data, "s": None, "t": None}))

    def end(self, code: int, reason: str) -> None:
        """Close the connection after all that was queued before."""
        self._outgoing.put_nowait(CloseError(code, reason))

    async def next(self) -> tuple[int, object] | None:
        """Return the next operation, or None at the end; answers heartbeats. Raises CloseError when they stay away."""
        while True:
            remaining = self._beat + 2 * self._heartbeat_s - self._loop.time()
            message = await self._receive(remaining)
            if message.type is not WSMsgType.TEXT:
                self.said_goodbye = message.type is WSMsgType.CLOSE and message.data in {1000, 1001}
                return None
            op, data = _read(message)
            if op != HEARTBEAT:
                return op, data
            self._beat = self._loop.time()
            # discord.py notes the time only after it has sent: an answer that is quicker than any network
            # would look to it like one that took a whole interval.
            self._loop.call_later(0.02, self.say, ACK)

    async def _receive(self, seconds: float) -> WSMessage:
        """Return the next message. Raises CloseError when none comes, or when the connection is to end."""
        receiving = asyncio.ensure_future(self.ws.receive())
        either: set[asyncio.Future[WSMessage] | asyncio.Future[CloseError]] = {receiving, self._ended}
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            return receiving.result()
        # Nobody may read while the connection is closed, or the other side's goodbye gets lost.
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        raise self._ended.result() if self._ended.done() else CloseError(4009, "Session timed out.")

    async def write(self) -> None:
        """Send the queued frames, until the connection ends."""
        while True:
            frame = await self._outgoing.get()
            if isinstance(frame, CloseError):
                self._ended.set_result(frame)
                return
            if self._deflate is None:
                await self.ws.send_str(frame)
            else:
                data = self._deflate.compress(frame.encode()) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
                await self.ws.send_bytes(data)


class CloseError(Exception):
    """The end of a connection, with one of Discord's close codes."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Gateway:
    """The sessions of the bot, and the events for them."""

    def __init__(
        self,
        backend: Backend,
        token: str,
        url: str,
        *,
        heartbeat_s: float = 41.25,
        fault: Callable[[str], GatewayFault | None] = lambda _: None,
    ) -> None:
        """`fault` is asked about each event on its way to a session."""
        self.backend = backend
        self._fault = fault
        self.url = url
        self._token = token
        self._heartbeat_s = heartbeat_s
        self._sessions: dict[str, Session] = {}
        self._identified: deque[float] = deque(maxlen=IDENTIFIES_A_DAY)
        backend.subscribers.append(self.emit)

    @property
    def connected(self) -> int:
        """The number of connected sessions."""
        return sum(session.connection is not None for session in self._sessions.values())

    def describe(self) -> Payload:
        """Return the answer to /gateway/bot."""
        now = time.monotonic()
        while self._identified and now - self._identified[0] > DAY_S:
            self._identified.popleft()
        reset = DAY_S - (now - self._identified[0]) if self._identified else 0.0
        limit = {
            "total": IDENTIFIES_A_DAY,
            "remaining": IDENTIFIES_A_DAY - len(self._identified),
            "reset_after": int(reset * 1000),
            "max_concurrency": 1,
        }
        return {"url": self.url, "shards": 1, "session_start_limit": limit}

    # ------------------------------------------------------------------ events

    def emit(self, event: str, payload: Payload) -> None:
        """Send an event to every session that may see it."""
        for session in list(self._sessions.values()):
            if self._is_over(session):
                del self._sessions[session.id]
                continue
            visible = self._visible(session, event, payload)
            if visible is not None:
                self._send(session, event, visible)

    def _send(self, session: Session, event: str, payload: Payload) -> None:
        """Send an event to a session, as the fault of the moment will have it."""
        rule = self._fault(event)
        if rule is not None and rule.fault == "reorder":
            session.delayed.append((event, payload))
            asyncio.get_running_loop().call_later(rule.seconds, session.release)
            return
        if rule is not None and session.connection is not None:
            if rule.fault in {"drop", "invalidate"}:
                session.connection.end(4000, "Unknown error.")
            elif rule.fault == "reconnect":
                session.connection.say(RECONNECT)
        if rule is not None and rule.fault == "invalidate":
            self._sessions.pop(session.id, None)
            return
        session.push(event, payload)
        if rule is not None and rule.fault == "duplicate":
            session.push(event, payload)
        session.release()

    def _visible(self, session: Session, event: str, payload: Payload) -> Payload | None:
        """Return what this session sees of an event: nothing of other shards, nothing beyond its intents."""
        guild_id = payload.get("id") if event.startswith("GUILD_") and "guild_id" not in payload else None
        guild_id = payload.get("guild_id", guild_id)
        if (int(guild_id) >> 22) % session.shards != session.shard if guild_id else session.shard != 0:
            return None
        needed = simcord_intents.required_intent(event, payload)
        if needed is not None and not getattr(session.intents, needed):
            return None
        bot_id = self.backend.bot_user.id
        if event == "GUILD_CREATE":
            visible = copy.deepcopy(dict(payload))
            simcord_intents.prune_guild_create(visible, session.intents, bot_id)
            return visible
        if event in {"MESSAGE_CREATE", "MESSAGE_UPDATE"} and not session.intents.message_content:
            visible = copy.deepcopy(dict(payload))
            simcord_intents.censor_message(visible, bot_id, backend=self.backend)
            return visible
        return payload

    def _is_over(self, session: Session) -> bool:
        return session.left_at is not None and time.monotonic() - session.left_at > KEPT_S

    # ------------------------------------------------------------------ faults, for tests and curious people

    def drop(self) -> None:
        """Close every connection; sessions can be resumed."""
        for connection in self._connections():
            connection.end(4000, "Unknown error.")

    def ask_to_reconnect(self) -> None:
        """Ask every bot to connect again and resume (operation 7)."""
        for connection in self._connections():
            connection.say(RECONNECT)

    def invalidate(self) -> None:
        """Forget every session: a resume gets operation 9, and the bot must identify anew."""
        self.drop()
        self._sessions.clear()

    def _connections(self) -> list[Connection]:
        return [s.connection for s in self._sessions.values() if s.connection is not None]

    # ------------------------------------------------------------------ connections

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one websocket connection until its end."""
        # Without per-message compression: frames of one zlib stream must not overtake each other.
        ws = web.WebSocketResponse(timeout=LAST_WORD_S, max_msg_size=1 << 16, compress=False)
        await ws.prepare(request)
        compress = request.query.get("compress") == "zlib-stream"
        connection = Connection(ws, compress=compress, heartbeat_s=self._heartbeat_s)
        writer = asyncio.create_task(connection.write(), name="gateway writer")
        connection.say(HELLO, {"heartbeat_interval": int(self._heartbeat_s * 1000)})
        session: Session | None = None
        try:
            while (received := await connection.next()) is not None:
                session = self._act(connection, session, *received)
        except CloseError as error:
            if error.code == 4009 and session is not None:
                self._sessions.pop(session.id, None)
            await ws.close(code=error.code, message=str(error).encode())
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            if session is not None and session.connection is connection:
                session.connection, session.left_at = None, time.monotonic()
                if connection.said_goodbye:
                    self._sessions.pop(session.id, None)
        return ws

    def _act(self, connection: Connection, session: Session | None, op: int, data: object) -> Session | None:
        if op in {IDENTIFY, RESUME}:
            if session is not None:
                raise CloseError(4005, "Already authenticated.")
            fields: Payload = data if isinstance(data, dict) else {}
            token = str(fields.get("token"))
            if not secrets.compare_digest(token.encode(errors="replace"), self._token.encode()):
                raise CloseError(4004, "Authentication failed.")
            return self._identify(connection, fields) if op == IDENTIFY else self._resume(connection, fields)
        if op not in {PRESENCE, VOICE, MEMBERS}:
            raise CloseError(4001, "Unknown opcode.")
        if session is None:
            raise CloseError(4003, "Not authenticated.")
        if op == MEMBERS and isinstance(data, dict):
            self._members(session, data)
        return session

    def _identify(self, connection: Connection, data: Payload) -> Session:
        try:
            shard, shards = (int(number) for number in data.get("shard") or (0, 1))
            intents = discord.Intents._from_value(int(data["intents"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise CloseError(4013, "Invalid intent(s) or shard.") from None
        if not 0 <= shard < shards:
            raise CloseError(4010, "Invalid shard.")
        session = Session(secrets.token_hex(16), shard, shards, intents, connection=connection)
        self._sessions[session.id] = session
        self._identified.append(time.monotonic())
        backend = self.backend
        mine = [guild for guild in backend.guilds.values() if (guild.id >> 22) % shards == shard]
        session.push(
            "READY",
            {
                "v": 10,
                "user": dict(serializers.user_payload(backend.bot_user)),
                "guilds": [{"id": str(guild.id), "unavailable": True} for guild in mine],
                "session_id": session.id,
                "resume_gateway_url": self.url,
                "shard": [shard, shards],
                "application": {"id": str(backend.application_id), "flags": 0},
                "private_channels": [],
                "relationships": [],
                "presences": [],
            },
        )
        for guild in mine:
            payload = self._visible(session, "GUILD_CREATE", serializers.guild_create_payload(backend, guild))
            if payload is not None:
                session.push("GUILD_CREATE", payload)
        return session

    def _resume(self, connection: Connection, data: Payload) -> Session | None:
        """Return the session after sending what it missed; None, and operation 9, where that is no longer kept."""
        session = self._sessions.get(str(data.get("session_id")))
        last = data.get("seq")
        if session is None or not isinstance(last, int) or self._is_over(session):
            connection.say(INVALID_SESSION, False)
            return None
        if last > session.seq:
            raise CloseError(4007, "Invalid seq.")
        if session.log[0][0] > last + 1:
            connection.say(INVALID_SESSION, False)
            return None
        session.connection, session.left_at = connection, None
        for seq, frame in session.log:
            if seq > last:
                connection.send(frame)
        session.push("RESUMED", {})
        session.log.pop()  # a later resume need not send it again
        return session

    def _members(self, session: Session, data: Payload) -> None:
        """Send a chunk of members: by ids, by the beginning of a name, or all."""
        ids = data.get("user_ids") or []
        try:
            guild = self.backend.guilds.get(int(data.get("guild_id") or 0))
            user_ids = {int(user_id) for user_id in (ids if isinstance(ids, list) else [ids])}
        except (TypeError, ValueError, OverflowError):
            raise CloseError(4002, "Decode error.") from None
        if guild is None:
            return
        query = str(data.get("query") or "").lower()
        if not user_ids and not query and not session.intents.members:
            raise CloseError(4014, "Disallowed intent(s).")
        members = [
            member
            for member in guild.members.values()
            if (member.user_id in user_ids if user_ids else self.backend.users[member.user_id].name.startswith(query))
        ]
        session.push(
            "GUILD_MEMBERS_CHUNK",
            {
                "guild_id": str(guild.id),
                "members": [dict(serializers.member_payload(self.backend, guild, member)) for member in members],
                "chunk_index": 0,
                "chunk_count": 1,
                "not_found": [str(user_id) for user_id in user_ids - {member.user_id for member in members}],
                **({"nonce": data["nonce"]} if data.get("nonce") else {}),
            },
        )


def _read(message: WSMessage) -> tuple[int, object]:
    try:
        read = json.loads(message.data)
        return int(read["op"]), read.get("d")
    except (ValueError, KeyError, TypeError, OverflowError):
        raise CloseError(4002, "Decode error.") from None
