"""Shards, and a bot that is in a hurry, with discord.py's own code on the other side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bot.demo.discord.people import Message, wait_for
from tests.bot.demo.discord.test_on_the_wire import connect
from tests.bot.demo.discord.town import BOT_TOKEN, START_S, Process, Town

SCRIPT = Path(__file__).with_name("a_sharded_bot.py")


def environment(process: Process, token: str = BOT_TOKEN) -> dict[str, str]:
    gateway = f"ws://127.0.0.1:{process.port}/gateway"
    return {**os.environ, "API": f"{process.url}/api/v10", "GATEWAY": gateway, "TOKEN": token}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server, and a bot of two shards."""
    process = Process(tmp_path_factory.mktemp("discord") / "state")
    try:
        process.start_server()
        with process.log.open("a") as log:
            process.bot = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(SCRIPT)], env=environment(process), stdout=log, stderr=log
            )
        yield process
    finally:
        process.stop()
        print(process.log.read_text())  # noqa: T201  # for who reads a failure


@pytest.fixture
async def town(process: Process) -> AsyncIterator[Town]:
    """The server with both shards online."""
    async with process.community() as community:

        async def online() -> bool | None:
            return True if (await community.world())["connected"] == 2 else None

        await wait_for("both shards", online, seconds=START_S)
        yield Town(process, community)


async def test_a_guild_is_on_one_shard(town: Town) -> None:
    """Of two shards one has the guild and its events; without the intent for messages, no message reaches any."""
    await town.ana.say("nobody told the bot")
    told = json.loads((await town.ana.command("where")).text)
    guild_id = int((await town.community.world())["guild"]["id"])
    mine = (guild_id >> 22) % 2
    assert told == {"shards": {str(mine): 1, str(1 - mine): 0}, "here": mine, "messages": 0}


async def test_a_hurried_bot_loses_nothing(town: Town) -> None:
    """Twelve edits, where five fit in two seconds, all arrive in order: discord.py waits as the headers tell it."""
    seen: list[str] = []
    async with town.community.events() as events:
        answer = await town.ana.command("hurry", times=12)
        async for event in events:
            if event.name == "MESSAGE_UPDATE" and event.data["id"] == answer.message.id:
                seen.append(event.data["content"])
                if seen[-1] == "12":
                    break
    assert seen == [str(number) for number in range(1, 13)]
    shown = await town.ben.message(answer.message.channel_id, answer.message.id)
    assert (shown.text, shown.edited) == ("12", True)


async def test_a_reaction_is_answered_by_an_edit(town: Town) -> None:
    """A member reacts, and reads in the message that the bot has seen it; taking the reaction off changes nothing."""
    message = (await town.mira.command("hurry", times=1, in_channel="videos")).message

    async def reads(text: str) -> Message | None:
        now = await town.ben.message(message.channel_id, message.id)
        return now if now.text == text else None

    await wait_for("the edit", lambda: reads("1"), seconds=60)
    await town.ana.react(message, "☔")
    now = await wait_for("the bot's answer", lambda: reads("☔ by ana"), seconds=60)
    assert now.reactions == {"☔": 1}
    await town.ana.unreact(message, "☔")
    await town.ben.react(message, "👍")
    now = await wait_for("the bot's answer", lambda: reads("👍 by ben"), seconds=60)
    assert now.reactions == {"👍": 1}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"op": 8, "d": {"guild_id": "x", "query": "a"}}', 4002),
        ('{"op": 8, "d": {"guild_id": "1", "user_ids": {"a": 1}}}', 4002),
        ('{"op": 8, "d": {"guild_id": [1], "user_ids": ["x"]}}', 4002),
        ('{"op": Infinity}', 4002),
        ('{"op": 6, "d": {"token": "TOKEN", "session_id": "x", "seq": "y"}}', 4005),
        ('{"op": 2, "d": {"token": "\\ud800", "intents": 1}}', 4005),
        ('{"op": 1, "d": "x"}', None),
    ],
)
async def test_frames_that_make_no_sense(process: Process, frame: str, code: int | None) -> None:
    """A frame that cannot be understood closes its own connection with a code; one that can, does not."""
    async with connect(process) as client:
        await client.identify()
        await client.until("GUILD_CREATE")
        await client.ws.send_str(frame.replace("TOKEN", BOT_TOKEN))
        if code is None:
            assert (await client.next())["op"] == 11
        else:
            assert await client.closed() == code
    assert "Traceback" not in process.log.read_text()


@pytest.mark.parametrize("token", ['"\\ud800"', "null", "[]", '""', "1"])
async def test_tokens_that_are_none(process: Process, token: str) -> None:
    """What is no token at all is no token."""
    async with connect(process) as client:
        await client.ws.send_str(f'{{"op": 2, "d": {{"token": {token}, "intents": 1}}}}')
        assert await client.closed() == 4004


def test_a_wrong_token(process: Process) -> None:
    """A bot with another token is turned away at login, and the token is in nobody's log."""
    wrong = "MTIz.a-token-of.another-bot"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT)],
        env=environment(process, wrong),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "LoginFailure" in done.stderr
    assert wrong not in done.stdout + done.stderr + process.log.read_text()
    assert BOT_TOKEN not in process.log.read_text()
