"""The whole bot as a process that kills itself (SIGKILL) at a step, and the Discord that outlives it.

`python -m tests.builders.bot_process`, with one JSON object on standard input: `settings` of the bot, and `death`. A
death is `step`, the name of a workflow's step whose `nth` run (1 unless given) is the last, and `moment`: `done` when
its work is done and nothing is recorded, so that it runs again, or `sent` when Discord has taken the first message of
it. Or it is a `place`, as tests/builders/killed.py has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import discord
import pytest
from pydantic import SecretStr
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import app as app_module
from bot import retry
from bot.app import App
from bot.client import point_at, run_client
from bot.demo.discord import limits, people, world
from bot.demo.discord.people import Community, Message, Person, wait_for
from bot.demo.discord.server import DiscordConfig, EmbeddedDiscord
from bot.demo.discord.world import MODERATOR
from bot.settings import Settings
from bot.store import rounds
from bot.store.learning import choices
from bot.workflows import battle, training
from bot.workflows.learning import release_post
from contracts.signers.keystore import open_key_file
from generation.jobs import TrainingJob
from generation.queue.engine import Engine
from migrations.database import open_database, upgrade_database
from migrations.schema import executor_leases, leases
from tests.builders.battle_town import use_rule
from tests.builders.killed import ROOT, arm, die, have_patience
from tests.builders.live_bot import CONTROL_TOKEN, TOKEN, Town

PEPPER = "a pepper of the tests, 32 bytes long"
PATIENT_S = 600.0  # no test here is about time
KILLED = -9
Death = Mapping[str, Any]
_dying_in: ContextVar[bool] = ContextVar("dying_in", default=False)


@dataclass
class House:
    """A Discord with its people, a database, and the bot, which may die."""

    folder: Path
    server: EmbeddedDiscord
    community: Community
    database: AsyncEngine
    settings: dict[str, Any]
    guild: int = 0
    channel: int = 0
    process: subprocess.Popen[str] | None = None
    died_at: list[str] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def mira(self) -> Person:
        return self.community.person(MODERATOR)

    def start(self, death: Death | None = None) -> None:
        """Start the bot, which lives until it dies at a place, or is stopped."""
        assert self.process is None
        with (self.folder / "bot.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.builders.bot_process"],
                stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, cwd=ROOT,
            )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"settings": self.settings, "death": death}))
        self.process.stdin.close()

    async def online(self) -> None:
        """Wait until the bot that was started can be talked to."""

        async def look() -> bool | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            told = await self.community.world()
            return True if told["connected"] and "prompt" in {each["name"] for each in told["commands"]} else None

        await wait_for("the bot to come online", look, seconds=PATIENT_S, every=0.2)
        if not self.guild:
            self.guild = int((await self.community.world())["guild"]["id"])
            self.channel = int(await self.community.channel("videos"))
            await rounds.set_up_guild(self.database, self.guild, self.channel, 1)
            for member in (await self.community.world())["members"]:
                await choices.record_notice(self.database, self.guild, int(member["id"]))

    async def die_at(self, name: str, death: Death, act: Callable[[], Awaitable[object]] | None = None) -> None:
        """Start the bot, let it die, and let its leases run out.

        `act` is what somebody does once it is online; it returns the answer that they got.
        """
        self.start(death)
        acting = None
        if act is not None:
            await self.online()
            acting = asyncio.create_task(_attempt(act))
        try:
            status = await self._end()
        except subprocess.TimeoutExpired:
            answer = acting.result() if acting is not None and acting.done() else None
            pytest.fail(f"{name}: the bot lived, and answered {answer}")
        if acting is not None:
            acting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await acting
        assert status == KILLED, f"{name}: {self.log()}"
        self.died_at.append(name)

    async def stop(self) -> None:
        """Kill the bot, if it lives."""
        if self.process is not None:
            self.process.kill()
            await self._end()

    async def _end(self) -> int:
        assert self.process is not None
        status = await asyncio.to_thread(self.process.wait, PATIENT_S)
        self.process = None
        await self.forget_leases()

        async def gone() -> bool | None:
            return None if (await self.community.world())["connected"] else True

        await wait_for("Discord to notice", gone, seconds=PATIENT_S)
        return status

    async def forget_leases(self) -> None:
        """Let the leases of a killed bot run out, as time would."""
        async with self.database.begin() as connection:
            await connection.execute(delete(executor_leases).where(executor_leases.c.role == "bot"))
            await connection.execute(delete(leases))

    async def shown(self) -> list[Message]:
        """What a member sees in the channel of rounds."""
        return await self.community.person("ben").messages(str(self.channel), limit=1000)

    def log(self) -> str:
        """The end of what the bots said."""
        return (self.folder / "bot.log").read_text()[-6000:]


async def _attempt(act: Callable[[], Awaitable[object]]) -> object:
    with contextlib.suppress(people.NoAnswerError):
        return await act()
    return None


@asynccontextmanager
async def open_house(folder: Path, **settings: Any) -> AsyncIterator[House]:
    """A house without a bot: `start` starts one. `settings` are the bot's, such as those of a chain."""
    server = EmbeddedDiscord(DiscordConfig(folder / "discord", TOKEN, CONTROL_TOKEN, answer_s=PATIENT_S))
    url = f"sqlite:///{folder / 'flock.db'}"
    await upgrade_database(url)
    database = open_database(url)
    key = folder / "dev.key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (people, "ANSWER_S", PATIENT_S), (world, "SAVE_S", 3600.0), (limits, "_RULES", []),
            (limits, "_DEFAULT", (100_000, 1.0)), (limits, "GLOBAL", (100_000, 1.0)),
        ):  # fmt: skip
            patch.setattr(module, name, value)
        await server.start()
        usual = {
            "database_url": url,
            "data_dir": str(folder / "data"),
            "discord_api_base": f"http://127.0.0.1:{server.port}/api/v10",
            "discord_gateway": f"ws://127.0.0.1:{server.port}/gateway",
            "livepeer_api_base": "http://127.0.0.1:9/api",
            "rpc_url": "http://127.0.0.1:9",
            "ledger_address": "0x" + "11" * 20,
            "keystore": str(key),
            "flush_s": 0.5,
        }
        try:
            async with Community(f"http://127.0.0.1:{server.port}", CONTROL_TOKEN) as community:
                house = House(folder, server, community, database, {**usual, **settings})
                try:
                    yield house
                finally:
                    await house.stop()
        finally:
            await server.close()
            await database.dispose()


# --------------------------------------------------------------------------- the process


def arm_step(step: str, moment: str = "done", nth: int = 1) -> None:
    """Let this process die at the nth run of a step."""
    record, runs = Engine.step, 0

    async def dying(name: str, function: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
        async def body() -> Any:
            nonlocal runs
            runs += name == step
            is_last = name == step and runs == nth
            token = _dying_in.set(is_last and moment == "sent")
            result = await function(*arguments, **named)
            _dying_in.reset(token)
            if is_last and moment == "done":
                die()
            return result

        return await record(name, body)

    Engine.step = staticmethod(dying)  # type: ignore[method-assign]  # in this process alone
    request = discord.http.HTTPClient.request

    async def sent(client: discord.http.HTTPClient, route: discord.http.Route, **options: Any) -> Any:
        answer = await request(client, route, **options)
        if _dying_in.get() and route.method in ("POST", "PATCH"):
            die()
        return answer

    discord.http.HTTPClient.request = sent  # type: ignore[method-assign,assignment]  # likewise


async def main(wanted: dict[str, Any]) -> None:
    """Run the bot until it dies; it waits for short times only."""
    have_patience()
    for module, name, value in (
        (retry, "FIRST_S", 0.05), (retry, "MOST_S", 0.5), (battle, "POLL_S", 0.2), (battle, "AGAIN_S", 0.3),
        (training, "POLL_S", 0.2), (training, "AGAIN_S", 0.3), (release_post, "POLL_S", 0.2),
        (release_post, "AGAIN_S", 0.3), (app_module, "RECOVERY_S", 2.0),
    ):  # fmt: skip
        setattr(module, name, value)
    # Random weights may set the guards off, and these are tried where they are.
    training.TrainingJob = partial(TrainingJob, guard_videos=0)  # type: ignore[misc,assignment]  # in this process alone
    secrets: dict[str, Any] = {
        "discord_token": SecretStr(TOKEN), "livepeer_api_key": SecretStr("none"), "voter_pepper": SecretStr(PEPPER)
    }  # fmt: skip
    settings = Settings(_env_file=None, **secrets, **wanted["settings"])
    database = open_database(settings.database_url)
    point_at(settings)
    assert settings.keystore is not None
    app = App(settings, database, open_key_file(settings.keystore))
    use_rule(cast(Town, SimpleNamespace(app=app)))
    death = wanted["death"]
    if death is not None:
        (arm_step if "step" in death else arm)(**death)
    await run_client(app.client, TOKEN, asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))
