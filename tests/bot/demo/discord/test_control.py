"""The control plane: who may use it, what it refuses with which sentence, and what watchers are told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import httpx
import pytest

from bot.demo.discord.people import CannotDoError, Community, Person
from tests.bot.demo.discord.town import BOT_TOKEN, CONTROL_TOKEN, Process

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the certificates takes longer than a test
ROUTES = [
    ("GET", "world"),
    ("GET", "commands"),
    ("GET", "messages"),
    ("GET", "interactions/1"),
    ("GET", "events"),
    ("GET", "faults"),
    ("POST", "faults"),
    *(("POST", act) for act in ("gateway", "command", "autocomplete", "press", "modal", "react", "say", "delete")),
]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server without a bot."""
    process = Process(tmp_path_factory.mktemp("discord") / "state")
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
def ana(community: Community) -> Person:
    return community.person("ana")


@pytest.mark.parametrize(
    "token", ["", f"Bearer {CONTROL_TOKEN}x", f"Bot {CONTROL_TOKEN}", f"Bearer {BOT_TOKEN}", "é", "\udcff"]
)
async def test_nothing_without_the_token(process: Process, token: str) -> None:
    """Every route of the control plane asks for its own token; the bot's is not enough."""
    headers = [(b"Authorization", token.encode(errors="surrogateescape"))] if token else []
    async with httpx.AsyncClient(verify=NO_TLS, base_url=f"{process.url}/control/", headers=headers) as client:
        for method, path in ROUTES:
            answer = await client.request(method, path)
            assert answer.status_code == 401, path
            assert CONTROL_TOKEN not in answer.text


async def test_every_route_with_the_token(process: Process) -> None:
    """With the token no route says 401: the twin of the test above."""
    headers = {"Authorization": f"Bearer {CONTROL_TOKEN}"}
    async with httpx.AsyncClient(verify=NO_TLS, base_url=f"{process.url}/control/", headers=headers) as client:
        for method, path in ROUTES:
            assert (await client.request(method, path)).status_code in {200, 400, 422}, path


async def test_requests_that_cannot_be_read(process: Process) -> None:
    """What cannot be read is answered with 400 and a sentence, never with a crash."""
    bodies = (
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"member": "ana", "do": "no-such-fault"}',
        b'{"member": "ana", "channel_id": "x", "name": "ping", "values": 1, "do": 1}',
        b'{"member": "ana", "channel_id": Infinity, "values": [1], "do": null, "interaction_id": Infinity}',
    )
    headers = {"Authorization": f"Bearer {CONTROL_TOKEN}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(verify=NO_TLS, base_url=f"{process.url}/control/", headers=headers) as client:
        for method, act in ROUTES:
            for body in bodies if method == "POST" else ():
                answer = await client.post(act, content=body)
                assert answer.status_code == 400, (act, body)
                assert answer.json()["error"].startswith("That request cannot be read"), (act, body)


@pytest.mark.parametrize("wait", ["x", "nan", "inf", "-1"])
async def test_odd_waits(community: Community, wait: str) -> None:
    """However long somebody wants to wait for what is not there, the answer comes at once."""
    with pytest.raises(CannotDoError, match=r"no such interaction|cannot be read"):
        async with asyncio.timeout(60):
            await community.ask("GET", "interactions/1", params={"wait": wait})


async def test_the_guild(community: Community) -> None:
    """The world names its members, who moderates, and the bot; a bot that is away counts as not connected."""
    world = await community.world()
    members = {member["name"]: member for member in world["members"]}
    assert set(members) == {"owner", "FLock", "mod-mira", "ana", "ben", "chloé", "dmitri", "emi"}
    assert {name for name, member in members.items() if member["moderator"]} >= {"mod-mira", "owner"}
    assert not members["ana"]["moderator"]
    assert [name for name, member in members.items() if member["bot"]] == ["FLock"]
    assert members["FLock"]["id"] == world["bot_id"]
    assert world["connected"] == 0
    assert "token" not in str(world)


async def test_writing_and_deleting(community: Community, ana: Person) -> None:
    """A member writes, others read it; one's own message can be deleted, another's by a moderator alone."""
    general = await community.channel("general")
    ben, mira = community.person("ben"), community.person("mod-mira")
    first = await ben.message(general, await ana.say("mine"))
    second = await ben.message(general, await ana.say("mine too"))
    with pytest.raises(CannotDoError, match="Missing Permissions"):
        await ben.delete(first)
    await ana.delete(first)
    await mira.delete(second)
    left = {message.id for message in await ben.messages(general)}
    assert not left & {first.id, second.id}
    with pytest.raises(CannotDoError, match="Unknown Message"):
        await ana.delete(first)


@pytest.mark.parametrize(("text", "passes"), [("x" * 2000, True), ("x" * 2001, False), ("  \n", False), ("é", True)])
async def test_lengths(ana: Person, text: str, passes: bool) -> None:
    """A message has between 1 and 2,000 characters."""
    if passes:
        assert await ana.say(text)
        return
    with pytest.raises(CannotDoError, match="between 1 and 2000"):
        await ana.say(text)


async def test_who_and_where(community: Community, ana: Person) -> None:
    """Strangers, unknown channels and unknown messages are named in the refusal."""
    with pytest.raises(CannotDoError, match="no member called 'zoe'"):
        await community.person("zoe").say("hello")
    with pytest.raises(LookupError, match="no channel 'attic'"):
        await ana.say("hello", in_channel="attic")
    with pytest.raises(CannotDoError, match="Unknown Channel"):
        await ana.say("hello", in_channel="123456")
    with pytest.raises(CannotDoError, match="no command /nothing"):
        await ana.command("nothing")
    assert await ana.commands() == ()


async def test_reactions_count_once(community: Community, ana: Person) -> None:
    """A member's reaction counts once, another's beside it; taken off it is gone, and no more than gone."""
    general = await community.channel("general")
    message = await ana.message(general, await ana.say("look"))
    ben = community.person("ben")
    for person in (ana, ana, ben):
        await person.react(message, "👍")
    assert (await ana.message(general, message.id)).reactions == {"👍": 2}
    await ana.unreact(message, "👍")
    await ana.unreact(message, "👍")
    assert (await ana.message(general, message.id)).reactions == {"👍": 1}


async def test_a_message_that_vanishes(community: Community, ana: Person) -> None:
    """A message can be made to vanish as if its author had deleted it, once."""
    general = await community.channel("general")
    message_id = await ana.say("soon gone")
    await community.fault("delete_message", channel_id=general, message_id=message_id)
    with pytest.raises(LookupError):
        await ana.message(general, message_id)
    with pytest.raises(CannotDoError, match="Unknown Message"):
        await community.fault("delete_message", channel_id=general, message_id=message_id)


async def test_watchers_come_and_go(process: Process, community: Community, ana: Person) -> None:
    """Each watcher is told everything in order from when they came; one who leaves harms nobody."""
    texts = [str(number) for number in range(50)]
    async with community.events() as staying:
        async with community.events():
            await ana.say("two are watching")
        for text in texts:
            await ana.say(text)
        told: list[Any] = []
        async for event in staying:
            told += [event.data["content"]] if event.name == "MESSAGE_CREATE" else []
            if told and told[-1] == texts[-1]:
                break
    assert told == ["two are watching", *texts]
    with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
        async with Community(process.url, "wrong") as stranger, stranger.events():
            pass


async def test_secrets_stay_secret(community: Community) -> None:
    """The token shows in no representation of the people who use it."""
    assert CONTROL_TOKEN not in repr(community) + repr(community.person("ana"))
