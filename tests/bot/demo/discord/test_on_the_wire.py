"""The wire itself, without discord.py: what the gateway and the REST API say to a client that misbehaves."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest

from bot.demo.discord.people import CannotDoError, Community, NoAnswerError, wait_for
from tests.bot.demo.discord.town import BOT_TOKEN, CONTROL_TOKEN, QUICK, Process

GUILDS, MESSAGES, REACTIONS, CONTENT = 1 << 0, 1 << 9, 1 << 10, 1 << 15
ALL = GUILDS | MESSAGES | REACTIONS | CONTENT
PING = {"name": "ping", "description": "Answers", "type": 1, "options": []}


class Client:
    """A gateway connection without any library's manners."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.seq = 0
        self._inflate = zlib.decompressobj()

    async def next(self) -> dict[str, Any]:
        message = await self.ws.receive(timeout=60)
        if message.type is aiohttp.WSMsgType.BINARY:
            assert message.data.endswith(b"\x00\x00\xff\xff")
            message = message._replace(data=self._inflate.decompress(message.data))
        assert isinstance(message.data, str | bytes), f"closed with {self.ws.close_code}"
        read: dict[str, Any] = json.loads(message.data)
        self.seq = read.get("s") or self.seq
        return read

    async def until(self, event: str) -> dict[str, Any]:
        """The data of the next event of that name."""
        while (read := await self.next())["t"] != event:
            assert read["op"] in {0, 11}
        data: dict[str, Any] = read["d"]
        return data

    async def say(self, op: int, data: Any) -> None:
        await self.ws.send_json({"op": op, "d": data})

    async def identify(self, intents: int = ALL, **more: Any) -> dict[str, Any]:
        await self.say(2, {"token": BOT_TOKEN, "intents": intents, "properties": {}, **more})
        return await self.until("READY")

    async def closed(self) -> int | None:
        """The code with which the server closes."""
        while (await self.ws.receive(timeout=60)).type is aiohttp.WSMsgType.TEXT:
            pass
        return self.ws.close_code


@asynccontextmanager
async def connect(process: Process, query: str = "") -> AsyncIterator[Client]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{process.port}/gateway?v=10&encoding=json{query}") as ws,
    ):
        client = Client(ws)
        assert (await client.next())["op"] == 10
        yield client


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server without a bot, with short deadlines."""
    process = Process(tmp_path_factory.mktemp("discord") / "state", QUICK)
    try:
        process.start_server()
        yield process
    finally:
        process.stop()


@pytest.fixture
async def community(process: Process) -> AsyncIterator[Community]:
    async with process.community() as community:
        yield community


@pytest.fixture
async def api(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the REST API with the bot's token."""
    headers = {"Authorization": f"Bot {BOT_TOKEN}"}
    async with httpx.AsyncClient(base_url=f"{process.url}/api/v10", headers=headers) as client:
        yield client


async def sync(api: httpx.AsyncClient, *commands: dict[str, Any]) -> None:
    application = (await api.get("/oauth2/applications/@me")).json()["id"]
    assert (await api.put(f"/applications/{application}/commands", json=commands)).status_code == 200


# ---------------------------------------------------------------------- gateway


@pytest.mark.parametrize(
    ("op", "data", "code"),
    [
        (2, {"token": "wrong", "intents": ALL}, 4004),
        (2, {"token": BOT_TOKEN, "intents": "many"}, 4013),
        (2, {"token": BOT_TOKEN, "intents": ALL, "shard": [2, 2]}, 4010),
        (6, {"token": "wrong", "session_id": "x", "seq": 1}, 4004),
        (3, {"status": "online"}, 4003),
        (99, None, 4001),
    ],
)
async def test_who_may_not_stay(process: Process, op: int, data: Any, code: int) -> None:
    """A connection that does not identify itself as it must is closed with Discord's code for that."""
    async with connect(process) as client:
        await client.say(op, data)
        assert await client.closed() == code


async def test_broken_frames(process: Process) -> None:
    """What is no JSON closes the connection with 4002; a second identify with 4005."""
    async with connect(process) as client:
        await client.ws.send_str("{")
        assert await client.closed() == 4002
    async with connect(process) as client:
        await client.identify()
        await client.say(2, {"token": BOT_TOKEN, "intents": ALL})
        assert await client.closed() == 4005


async def test_heartbeats(process: Process) -> None:
    """A connection whose heart beats goes on; one whose heart does not is closed with 4009 and cannot resume."""
    async with connect(process) as alive, connect(process) as still:
        await alive.identify()
        session = (await still.identify())["session_id"]
        closed = asyncio.create_task(still.closed())
        while not closed.done():
            await alive.say(1, alive.seq)
            while (await alive.next())["op"] != 11:
                pass
            await asyncio.sleep(0.1)
        assert await closed == 4009
        await alive.say(1, alive.seq)
        while (await alive.next())["op"] != 11:
            pass
    async with connect(process) as again:
        await again.say(6, {"token": BOT_TOKEN, "session_id": session, "seq": still.seq})
        assert await again.next() == {"op": 9, "d": False, "s": None, "t": None}


async def test_resume_replays_what_was_missed(process: Process, community: Community) -> None:
    """A resume brings every missed event, once and in order; a later resume does not bring them again."""
    async with connect(process) as client:
        session = (await client.identify())["session_id"]
        await client.until("GUILD_CREATE")
        seq = client.seq
        await community.fault("drop")
        assert await client.closed() == 4000
    for text in ("one", "two", "three"):
        await community.person("ana").say(text)
    for seen, expected in ((seq, ["one", "two", "three"]), (seq + 2, ["three"])):
        async with connect(process) as client:
            await client.say(6, {"token": BOT_TOKEN, "session_id": session, "seq": seen})
            texts = []
            while (read := await client.next())["t"] != "RESUMED":
                texts += [read["d"]["content"]] if read["t"] == "MESSAGE_CREATE" else []
            assert texts == expected
            await client.ws.close(code=4000)


@pytest.mark.parametrize("session", ["unknown", "goodbye"])
async def test_sessions_that_cannot_be_resumed(process: Process, session: str) -> None:
    """An unknown session, and one that said goodbye, get operation 9, after which the client may identify anew."""
    if session == "goodbye":
        async with connect(process) as client:
            session = (await client.identify())["session_id"]
            await client.ws.close(code=1000)
    async with connect(process) as client:
        await client.say(6, {"token": BOT_TOKEN, "session_id": session, "seq": 1})
        assert (await client.next())["op"] == 9
        assert (await client.identify())["v"] == 10


async def test_intents(process: Process, community: Community) -> None:
    """Events come by intents, content by the privileged one, and of the members only the bot itself."""
    async with connect(process) as all_, connect(process) as quiet, connect(process) as blind:
        await all_.identify()
        await quiet.identify(GUILDS | REACTIONS)
        await blind.identify(GUILDS | MESSAGES)
        members = (await blind.until("GUILD_CREATE"))["members"]
        assert [member["user"]["username"] for member in members] == ["FLock"]
        ana = community.person("ana")
        message_id = await ana.say("a secret")
        message = await ana.message(await community.channel("general"), message_id)
        await ana.react(message, "👍")
        assert (await all_.until("MESSAGE_CREATE"))["content"] == "a secret"
        assert (await blind.until("MESSAGE_CREATE"))["content"] == ""
        await quiet.until("GUILD_CREATE")
        assert (await quiet.next())["t"] == "MESSAGE_REACTION_ADD"


async def test_shards(process: Process, community: Community) -> None:
    """A guild's events go to the shard that its id names, and to no other."""
    guild_id = int((await community.world())["guild"]["id"])
    mine = (guild_id >> 22) % 2
    async with connect(process) as one, connect(process) as other:
        assert len((await one.identify(shard=[mine, 2]))["guilds"]) == 1
        assert (await other.identify(shard=[1 - mine, 2]))["guilds"] == []
        await community.person("ana").say("hello")
        await one.until("MESSAGE_CREATE")
        await other.say(1, other.seq)
        assert (await other.next())["op"] == 11  # nothing came before it


async def test_compression(process: Process, community: Community) -> None:
    """Asked for, all frames are one zlib stream; not asked for, they are plain text."""
    async with connect(process, "&compress=zlib-stream") as client:
        await client.identify()
        await community.person("ana").say("compressed")
        assert (await client.until("MESSAGE_CREATE"))["content"] == "compressed"
    async with connect(process) as client:
        await client.say(2, {"token": BOT_TOKEN, "intents": ALL})
        assert (await client.ws.receive(timeout=60)).type is aiohttp.WSMsgType.TEXT


async def test_session_starts_are_counted(process: Process, api: httpx.AsyncClient) -> None:
    """Each identify takes one of the 1,000 of a day."""
    before = (await api.get("/gateway/bot")).json()["session_start_limit"]["remaining"]
    async with connect(process) as client:
        await client.identify()
    after = (await api.get("/gateway/bot")).json()
    assert after["session_start_limit"]["remaining"] == before - 1 < 1000
    assert after["url"] == f"ws://127.0.0.1:{process.port}/gateway"


# ---------------------------------------------------------------------- REST


async def test_tokens(process: Process) -> None:
    """Neither the API nor the control plane answers without its own token."""
    async with httpx.AsyncClient(base_url=process.url) as client:
        for path, token in (("/api/v10/users/@me", f"Bot {BOT_TOKEN}"), ("/control/world", f"Bearer {CONTROL_TOKEN}")):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers={"Authorization": token + "x"})).status_code == 401
            assert (await client.get(path, headers={"Authorization": token})).status_code == 200
        assert (await client.get("/control/events")).status_code == 401


async def test_unknown_routes_are_loud(process: Process, api: httpx.AsyncClient) -> None:
    """What the embedded Discord lacks answers 501 and is written to stderr, never a made-up success."""
    answer = await api.get("/guilds/1/soundboard-sounds-of-tomorrow")
    assert answer.status_code == 501
    assert "The embedded Discord lacks this" in process.log.read_text()
    assert (await api.get("/users/@me")).headers["Content-Type"] == "application/json"


async def test_bodies_that_are_none(api: httpx.AsyncClient, community: Community) -> None:
    """A body that cannot be read gets Discord's 50035; one that is too large 40005."""
    path = f"/channels/{await community.channel('general')}/messages"
    for content in (b"{", b"[]", b'{"content": 1, "components": "x"}'):
        answer = await api.post(path, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, 50035), answer.text
    huge = await api.post(path, files=[("files[0]", ("a.bin", b"x" * (10 * 1024 * 1024 + 1)))])
    assert (huge.status_code, huge.json()["code"]) == (413, 40005)


async def test_the_global_limit(api: httpx.AsyncClient) -> None:
    """The 51st request of a second is refused for the bot as a whole; interaction callbacks are not counted."""
    paths = [f"/users/{number}" for number in range(60)]
    answers = await asyncio.gather(*(api.get(path) for path in paths))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(answer.json()["retry_after"] > 0 for answer in refused)
    assert {answer.headers["X-RateLimit-Scope"] for answer in refused} <= {"global", "user"}
    callback = await api.post("/interactions/1/x/callback", json={"type": 5})
    assert (callback.status_code, callback.json()["code"]) == (404, 10062)

    async def over() -> bool | None:
        return True if (await api.get("/users/@me")).status_code == 200 else None

    await wait_for("the second to end", over, seconds=60)


# ---------------------------------------------------------------------- interactions


async def test_deadlines(process: Process, api: httpx.AsyncClient, community: Community) -> None:
    """The first answer has a deadline (10062 after it), and the token another one (50027); before them all is well."""
    await sync(api, PING)
    async with connect(process) as client:
        await client.identify()
        asked = asyncio.create_task(community.person("ana").command("ping"))
        late = await client.until("INTERACTION_CREATE")
        with pytest.raises(NoAnswerError, match="did not respond"):
            await asked
        path = f"/interactions/{late['id']}/{late['token']}/callback"
        answer = await api.post(path, json={"type": 5})
        assert (answer.status_code, answer.json()["code"]) == (404, 10062)

        asked = asyncio.create_task(community.person("ana").command("ping"))
        in_time = await client.until("INTERACTION_CREATE")
        path = f"/interactions/{in_time['id']}/{in_time['token']}/callback"
        answer = await api.post(path, json={"type": 4, "data": {"content": "pong"}})
        assert answer.status_code == 200
        assert (await asked).text == "pong"
        original = f"/webhooks/{in_time['application_id']}/{in_time['token']}/messages/@original"
        assert (await api.patch(original, json={"content": "edited"})).status_code == 200

        async def expired() -> httpx.Response | None:
            answer = await api.patch(original, json={"content": "too late"})
            return answer if answer.status_code != 200 else None

        answer = await community.wait_for("the token to expire", expired, seconds=60, every=0.5)
        assert (answer.status_code, answer.json()["code"]) == (401, 50027)


async def test_forged_tokens(process: Process, api: httpx.AsyncClient, community: Community) -> None:
    """Nobody answers an interaction without its token, which cannot be guessed from its id."""
    await sync(api, PING)
    async with connect(process) as client:
        await client.identify()
        asked = asyncio.create_task(community.person("ana").command("ping"))
        interaction = await client.until("INTERACTION_CREATE")
        assert interaction["id"] not in interaction["token"]
        answer = await api.post(f"/interactions/{interaction['id']}/guessed/callback", json={"type": 5})
        assert (answer.status_code, answer.json()["code"]) == (404, 10062)
        with pytest.raises(NoAnswerError):
            await asked


async def test_forged_presses(process: Process, community: Community) -> None:
    """A hostile client can press what is not there, and the bot sees it; an honest client cannot."""
    ana = community.person("ana")
    message = await ana.message(await community.channel("general"), await ana.say("no buttons here"))
    with pytest.raises(CannotDoError, match="no button"):
        await ana.press_id(message, "v1:up:42")
    async with connect(process) as client:
        await client.identify()
        pressed = asyncio.create_task(ana.press_id(message, "v1:up:42", forged=True))
        assert (await client.until("INTERACTION_CREATE"))["data"]["custom_id"] == "v1:up:42"
        with pytest.raises(NoAnswerError):
            await pressed
    with pytest.raises(CannotDoError, match="no member called 'eve'"):
        await community.person("eve").say("let me in")
