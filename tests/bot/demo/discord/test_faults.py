"""Faults on demand: what an unmodified bot and plain HTTP clients meet, and that nothing happens unasked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import httpx
import pytest
from discord.utils import snowflake_time

from bot.demo.discord.people import CannotDoError, NoAnswerError, wait_for
from tests.bot.demo.discord.town import BOT_TOKEN, Process, Town

MESSAGES = "/channels/*/messages"


@pytest.fixture
async def town(process: Process) -> AsyncIterator[Town]:
    """The shared server with its bot online; what a test has put out of order is put in order again."""
    async with process.community() as community:
        town = Town(process, community)
        await town.until_online()
        await community.faults(off=True)
        yield town
        await community.faults(off=True)


def wire(town: Town) -> httpx.AsyncClient:
    """A client with the bot's token, without discord.py's patience."""
    return httpx.AsyncClient(base_url=f"{town.process.url}/api/v10", headers={"Authorization": f"Bot {BOT_TOKEN}"})


async def done(town: Town) -> dict[str, int]:
    found: dict[str, int] = (await town.community.faults())["done"]
    return found


# ------------------------------------------------------------------ the switch


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"fault": "earthquake"}, "'earthquake' found using 'fault' does not match any of the expected tags"),
        ({"fault": "error", "rate": 1.5}, "rate: Input should be less than or equal to 1"),
        ({"fault": "error", "rate": 0}, "rate: Input should be greater than 0"),
        ({"fault": "error", "count": 0}, "count: Input should be greater than or equal to 1"),
        ({"fault": "error", "count": "3"}, "count: Input should be a valid integer"),
        ({"fault": "error", "status": 418}, "status: Input should be 500, 502, 503 or 504"),
        ({"fault": "refuse", "status": 500}, "status: Input should be less than or equal to 429"),
        ({"fault": "garble", "seconds": 1.0}, "seconds: Extra inputs are not permitted"),
        ({"fault": "slow", "seconds": float("1e9")}, "seconds: Input should be less than or equal to 60"),
        ({"fault": "cut", "event": "READY"}, "event: Extra inputs are not permitted"),
        ({"fault": "drop", "path": "*"}, "path: Extra inputs are not permitted"),
        ({"fault": "rate_limit", "after": True}, "makes no sense"),
        ({"fault": "error", "everywhere": True}, "only a rate_limit can be everywhere"),
        ({"fault": "too_large", "after": True}, "makes no sense"),
        ({"fault": "too_large", "code": 50035}, "code: Input should be 0, 40005 or 50045"),
        ({"off": 999}, "There is no fault with that id"),
        ({"off": False}, "There is no fault with that id"),
        ({"off": []}, "There is no fault with that id"),
        ({"clock_s": "tomorrow"}, "clock_s is a number of seconds"),
        ({"clock_s": 1e12}, "of a year at most"),
        ({"nothing": "known"}, "Unable to extract tag"),
    ],
)
async def test_what_cannot_be_read_is_a_sentence(town: Town, wanted: dict[str, Any], words: str) -> None:
    """A fault that there is not is refused with a sentence, and changes nothing."""
    with pytest.raises(CannotDoError) as refused:
        await town.community.faults(**wanted)
    assert words in str(refused.value)
    assert (await town.community.faults())["faults"] == []


async def test_what_is_no_object_is_refused(town: Town) -> None:
    """A list is no request, and neither is what is no JSON."""
    with pytest.raises(CannotDoError, match="want an object"):
        await town.community.ask("POST", "faults", json=[])
    with pytest.raises(CannotDoError, match="cannot be read"):
        await town.community.ask("POST", "faults", data="{")


async def test_nothing_happens_unasked(town: Town) -> None:
    """Without a fault, and after one is switched off, requests pass, and nothing is counted."""
    before = await done(town)
    added = await town.community.faults(fault="error", method="GET", path="/users/@me", count=5)
    await town.community.faults(off=added["id"])
    async with wire(town) as client:
        assert [(await client.get("/users/@me")).status_code for _ in range(3)] == [200] * 3
    assert (await town.ana.command("ping")).text == "pong"
    told = await town.community.faults()
    assert (told["done"], told["faults"], told["clock_s"]) == (before, [], 0.0)


async def test_a_rate_is_the_same_run_again(town: Town) -> None:
    """A fault with a rate and a seed strikes the same requests each time; another seed strikes others; GET counts."""
    runs = []
    async with wire(town) as client:
        for seed in (7, 7, 8):
            await town.community.faults(fault="error", path="/users/@me", rate=0.5, seed=seed, status=502)
            runs.append([(await client.get("/users/@me")).status_code for _ in range(8)])
            [rule] = (await town.community.faults())["faults"]
            assert (rule["met"], rule["done"], rule["spent"]) == (8, runs[-1].count(502), False)
            await town.community.faults(off=True)
            await asyncio.sleep(0.5)  # fifty requests a second pass
    assert runs[0] == runs[1] != runs[2]
    assert 0 < runs[0].count(502) < 8


async def test_a_count_and_a_filter(town: Town) -> None:
    """The next two requests that match fail, others pass, and so does the third."""
    await town.community.faults(fault="error", method="GET", path="/gateway/*", count=2, status=500)
    async with wire(town) as client:
        assert (await client.get("/gateway")).status_code == 200
        found = [await client.get("/gateway/bot") for _ in range(3)]
    assert [answer.status_code for answer in found] == [500, 500, 200]
    assert found[0].json() == {"message": "500: Internal Server Error", "code": 0}
    [rule] = (await town.community.faults())["faults"]
    assert (rule["met"], rule["done"], rule["spent"]) == (2, 2, True)


@pytest.mark.parametrize(("code", "status"), [(40005, 413), (50045, 400), (0, 413)])
async def test_files_above_a_size_are_refused_and_all_else_passes(town: Town, code: int, status: int) -> None:
    """As Discord says it, or as a page of a proxy; nothing of a refused one stays."""
    channel = await town.community.channel("general")
    await town.community.faults(fault="too_large", bytes=10, code=code, path=MESSAGES, count=9)
    before = len(await town.community.person("ana").messages(channel))
    async with wire(town) as client:

        async def post(**body: Any) -> httpx.Response:
            while (answer := await client.post(f"/channels/{channel}/messages", **body)).status_code == 429:
                await asyncio.sleep(float(answer.json()["retry_after"]))
            return answer

        refused = await post(files={"files[0]": ("a.bin", b"x" * 11)})
        small = await post(files={"files[0]": ("a.bin", b"x" * 10)})
        plain = await post(json={"content": "x" * 100})
    assert (refused.status_code, small.status_code, plain.status_code) == (status, 200, 200)
    if code:
        assert (refused.headers["Content-Type"], refused.json()["code"]) == ("application/json", code)
    else:
        assert refused.headers["Content-Type"].startswith("text/html")
    assert len(await town.community.person("ana").messages(channel)) == before + 2


# ------------------------------------------------------------------ REST


async def test_a_rate_limit_of_a_route(town: Town) -> None:
    """The bucket is empty for a while, with Discord's headers and body; discord.py waits, and does it then."""
    message = (await town.ana.command("ping", text="first")).message
    other = (await town.ana.command("ping", text="other", in_channel="videos")).message
    await town.community.faults(fault="rate_limit", method="PATCH", path=f"{MESSAGES}/*", seconds=1.5)
    async with wire(town) as client:
        path = f"/channels/{message.channel_id}/messages/{message.id}"
        refused = await client.patch(path, json={"content": "no"})
        passed = await client.patch(f"/channels/{other.channel_id}/messages/{other.id}", json={"content": "yes"})
    assert (refused.status_code, passed.status_code) == (429, 200)
    assert refused.json()["global"] is False
    assert 0 < refused.json()["retry_after"] <= 1.5
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["X-RateLimit-Scope"] == "user"
    assert refused.headers["Via"]
    answer = await town.ana.command("edit", message=message.id, text="last")
    assert answer.text == "edited"
    assert (await town.ana.message(message.channel_id, message.id)).text == "last"
    assert (await done(town))["rate_limit"] >= 1


async def test_a_rate_limit_everywhere(town: Town) -> None:
    """The global limit refuses all routes for a while; discord.py waits for all of them, and does it then."""
    message = (await town.ana.command("ping", text="first")).message
    await town.community.faults(fault="rate_limit", path=f"{MESSAGES}/*", method="PATCH", everywhere=True, seconds=1.2)
    answer = await town.ana.command("edit", message=message.id, text="last")
    assert answer.text == "edited"
    assert "Global rate limit has been hit" in town.process.log.read_text()
    await town.community.faults(fault="rate_limit", path="/users/@me", everywhere=True, seconds=1.0)
    async with wire(town) as client:
        first, second = await client.get("/users/@me"), await client.get("/gateway")
        assert (first.status_code, second.status_code) == (429, 429)
        assert (second.json()["global"], second.headers["X-RateLimit-Scope"]) == (True, "global")
        await asyncio.sleep(second.json()["retry_after"])
        assert (await client.get("/gateway")).status_code == 200


async def test_interactions_are_not_limited(town: Town) -> None:
    """Discord limits no callback of an interaction, and neither does the fault."""
    await town.community.faults(fault="rate_limit", path="*", count=1)
    assert (await town.ana.command("ping")).text == "pong"
    [rule] = (await town.community.faults())["faults"]
    assert rule["done"] == 0


@pytest.mark.parametrize(("status", "after"), [(500, False), (502, True)])
async def test_a_nonce_posts_once_in_spite_of_errors(town: Town, status: int, after: bool) -> None:
    """discord.py sends a message again after an error; done before the error or not, it stands there once."""
    wanted: dict[str, Any] = {"fault": "error", "status": status, "after": after}
    posted = json.loads((await town.mira.command("post", in_channel="general", number=status)).text)
    await town.community.faults(**wanted, method="POST", path=f"/channels/{posted['thread']}/messages", count=1)
    answer = await town.ana.command("nonce", in_channel=posted["thread"])
    assert json.loads(answer.text) == [True, False]
    texts = [message.text for message in await town.ana.messages(posted["thread"])]
    assert texts.count("only once") == 2
    [rule] = (await town.community.faults())["faults"]
    assert (rule["done"], rule["spent"]) == (1, True)
    await asyncio.sleep(2)  # the next parameter's cards need room in this channel's bucket


async def test_errors_without_a_nonce_post_twice(town: Town) -> None:
    """The twin: a message without a nonce, done and then answered with an error, stands there twice."""
    channel = await town.community.channel("videos")
    await town.community.faults(fault="error", method="POST", path=f"/channels/{channel}/messages", after=True)
    async with wire(town) as client:
        codes = [(await client.post(f"/channels/{channel}/messages", json={"content": "hm"})).status_code]
        codes.append((await client.post(f"/channels/{channel}/messages", json={"content": "hm"})).status_code)
    assert codes == [503, 200]
    assert [message.text for message in await town.ana.messages(channel)].count("hm") == 2


async def test_a_cut_connection(town: Town) -> None:
    """Cut before, nothing was done; cut after, all was done, and half an answer came."""
    channel = await town.community.channel("videos")
    path = f"/channels/{channel}/messages"
    async with wire(town) as client:
        for after, text, error in ((False, "before", httpx.TransportError), (True, "after", httpx.RemoteProtocolError)):
            await town.community.faults(fault="cut", method="POST", path=path, after=after)
            with pytest.raises(error):
                await client.post(path, json={"content": text})
        texts = [message.text for message in await town.ana.messages(channel)]
    assert (texts.count("before"), texts.count("after")) == (0, 1)
    assert (await done(town))["cut"] >= 2


@pytest.mark.parametrize("after", [False, True])
async def test_a_slow_answer(town: Town, after: bool) -> None:
    """Slow, it is done late; slow afterwards, it is done at once and told late. Either way it is told."""
    channel = await town.community.channel("general" if after else "videos")
    path, text = f"/channels/{channel}/messages", f"slow {after}"
    await town.community.faults(fault="slow", method="POST", path=path, seconds=2, after=after)
    async with wire(town) as client:
        posting = asyncio.create_task(client.post(path, json={"content": text}))
        await wait_for("the fault to strike", lambda: _struck(town), seconds=60, every=0.02)
        seen = text in [message.text for message in await town.ana.messages(channel)]
        assert (seen, posting.done()) == (after, False)
        assert (await posting).status_code == 200
    assert text in [message.text for message in await town.ana.messages(channel)]


async def _struck(town: Town) -> bool | None:
    return True if any(rule["spent"] for rule in (await town.community.faults())["faults"]) else None


async def test_an_answer_that_is_too_slow(town: Town) -> None:
    """A callback that arrives after the deadline is refused: a person sees that the application did not respond."""
    await town.community.faults(fault="slow", path="/interactions/*/callback", seconds=4)
    with pytest.raises(NoAnswerError, match="did not respond"):
        await town.ana.command("ping")
    assert (await town.ana.command("ping")).text == "pong"


# ------------------------------------------------------------------ gateway


async def card(town: Town, number: int) -> Any:
    posted = json.loads((await town.mira.command("post", in_channel="videos", number=number)).text)
    return await town.ana.message(posted["thread"], posted["message"])


async def test_an_event_told_twice(town: Town) -> None:
    """A duplicated event reaches the bot twice, the next one once."""
    message = await card(town, 1)
    await town.community.faults(fault="duplicate", event="MESSAGE_REACTION_ADD")
    await town.ana.react(message, "🌧️")
    await town.ana.react(message, "🌞")
    met = await town.met("+🌞 ana")
    assert (met.count("+🌧️ ana"), met.count("+🌞 ana")) == (2, 1)


async def test_events_out_of_order(town: Town) -> None:
    """An event is told after the one that followed it; alone, it is told a little later."""
    message = await card(town, 2)
    await town.community.faults(fault="reorder", event="MESSAGE_REACTION_ADD", seconds=30)
    await town.ana.react(message, "1️⃣")
    await town.ana.react(message, "2️⃣")
    met = await town.met("+1️⃣ ana")
    assert met.index("+2️⃣ ana") < met.index("+1️⃣ ana")
    await town.community.faults(fault="reorder", event="MESSAGE_REACTION_REMOVE", seconds=0.2)
    await town.ana.unreact(message, "2️⃣")
    assert "-2️⃣" in await town.met("-2️⃣")


@pytest.mark.parametrize("fault", ["drop", "reconnect"])
async def test_a_connection_that_ends_with_an_event(town: Town, fault: str) -> None:
    """The bot resumes its session, and is told the event then."""
    message = await card(town, 3)
    await town.community.faults(fault=fault, event="MESSAGE_REACTION_ADD")
    await town.ana.react(message, "🌧️")
    met = await town.met("resumed 0")
    assert met.count("+🌧️ ana") == 1
    assert "ready 0" not in met


async def test_a_session_that_ends_with_an_event(town: Town) -> None:
    """The bot identifies anew; what happened in between it is never told."""
    message = await card(town, 4)
    await town.community.faults(fault="invalidate", event="MESSAGE_REACTION_ADD")
    await town.ana.react(message, "🌧️")
    met = await town.met("ready 0")
    assert "+🌧️ ana" not in met
    assert "resumed 0" not in met


# ------------------------------------------------------------------ the clock


@pytest.mark.parametrize("shift", [86_400.0, -86_400.0])
async def test_a_clock_that_is_wrong(town: Town, shift: float) -> None:
    """Ids and timestamps are a day off; commands are answered in time, and what is late is late."""
    await town.community.faults(clock_s=shift)
    answer = await town.ana.command("ping", text="what time is it?")
    expected = datetime.now(UTC) + timedelta(seconds=shift)
    assert abs(snowflake_time(int(answer.message.id)) - expected) < timedelta(minutes=5)
    assert abs(snowflake_time(int(answer.interaction_id)) - expected) < timedelta(minutes=5)
    with pytest.raises(NoAnswerError, match="did not respond"):
        await town.ana.command("late", seconds=4)
    await town.community.faults(clock_s=0)
    answer = await town.ana.command("ping", text="and now?")
    assert abs(snowflake_time(int(answer.message.id)) - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_clock_that_jumps_over_a_deadline(town: Town) -> None:
    """An interaction whose deadline is jumped over has failed; the next one is answered."""
    waiting = asyncio.create_task(town.ana.command("late", seconds=2))
    await asyncio.sleep(0.5)
    await town.community.faults(clock_s=60)
    with pytest.raises(NoAnswerError, match="did not respond"):
        await waiting
    assert (await town.ana.command("ping")).text == "pong"


async def test_a_clock_that_jumps_over_a_nonce(town: Town) -> None:
    """A nonce holds for a few minutes of the server's time: after a jump the same one posts again."""
    channel = await town.community.channel("videos")
    body = {"content": "timely", "nonce": "n-1", "enforce_nonce": True}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {BOT_TOKEN}"}) as session:
        ids = []
        for shift in (0, 60, 660):
            await town.community.faults(clock_s=shift)
            url = f"{town.process.url}/api/v10/channels/{channel}/messages"
            async with session.post(url, json=body) as answer:
                ids.append((await answer.json())["id"])
    assert ids[0] == ids[1] != ids[2]


# ------------------------------------------------------------------ answers that a client would not have got


async def test_a_request_is_refused_with_discords_words_or_a_page(town: Town) -> None:
    """JSON with a code, or the page of an edge that knows none; and once it is over, what it would have got."""
    await town.community.faults(
        fault="refuse", status=403, code=50013, message="Missing Permissions", path="/users/@me"
    )
    await town.community.faults(fault="refuse", status=403, page=True, path="/users/@me")
    await town.community.faults(fault="garble", body="[]", path="/users/@me")
    async with wire(town) as client:
        refused, page, garbled, well = [await client.get("/users/@me") for _ in range(4)]
    assert (refused.status_code, refused.json()) == (403, {"message": "Missing Permissions", "code": 50013})
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (403, "text/html")
    assert (garbled.status_code, garbled.json()) == (200, [])
    assert well.json()["id"]


async def test_what_is_refused_may_have_been_done(town: Town) -> None:
    """With `after`; without it nothing is posted."""
    channel = await town.community.channel("general")
    before = len(await town.ben.messages(channel))
    async with wire(town) as client:
        for after, count in ((False, 0), (True, 1)):
            await town.community.faults(fault="refuse", after=after, method="POST", path="/channels/*/messages")
            answer = await client.post(f"/channels/{channel}/messages", json={"content": "hm"})
            assert answer.status_code == 400
            assert len(await town.ben.messages(channel)) == before + count


async def test_moderators_deny_the_bot_permissions_and_delete_channels(town: Town) -> None:
    """It is refused what they deny, and no more; and a channel that is deleted is unknown."""
    channel = await town.community.channel("videos")
    async with wire(town) as client:
        for permissions, status in ((["send_messages"], 403), ([], 200)):
            await town.community.fault("deny", channel_id=channel, permissions=permissions)
            assert (await client.post(f"/channels/{channel}/messages", json={"content": "hm"})).status_code == status
        await town.community.fault("delete_channel", channel_id=channel)
        gone = await client.get(f"/channels/{channel}")
    assert (gone.status_code, gone.json()["code"]) == (404, 10003)
    with pytest.raises(CannotDoError):
        await town.community.fault("deny", channel_id=channel, permissions=["no such permission"])
