"""The embedded Discord and an unmodified bot, each in its own process, and people in their guild."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bot.demo.discord.people import Community, NoAnswerError, Person, wait_for

BOT_TOKEN, CONTROL_TOKEN = "the-bot's", "the-people's"
ROOT = Path(__file__).parents[4]
START_S = 60.0
QUICK = ("--answer-s", "0.4", "--token-s", "1.5", "--heartbeat-s", "0.5")  # deadlines that a test can await


@dataclass
class Process:
    """The server and, where wanted, its bot."""

    state: Path
    options: tuple[str, ...] = ()
    server: subprocess.Popen[str] | None = None
    bot: subprocess.Popen[bytes] | None = None
    port: int = 0
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.state.with_suffix(".log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_server(self) -> None:
        env = {**os.environ, "FLOCK_DEMO_BOT_TOKEN": BOT_TOKEN, "FLOCK_DEMO_CONTROL_TOKEN": CONTROL_TOKEN}
        argv = [sys.executable, "-m", "bot.demo.discord", "--state", str(self.state), "--port", str(self.port)]
        with self.log.open("a") as log:
            self.server = subprocess.Popen(
                [*argv, "--watch-stdin", *self.options],
                cwd=ROOT,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, self.log.read_text()
        self.port = int(json.loads(line)["port"])

    def start_bot(self) -> None:
        env = {
            **os.environ,
            "API": f"{self.url}/api/v10",
            "GATEWAY": f"ws://127.0.0.1:{self.port}/gateway",
            "TOKEN": BOT_TOKEN,
        }
        with self.log.open("a") as log:
            script = Path(__file__).with_name("an_unmodified_bot.py")
            self.bot = subprocess.Popen([sys.executable, "-W", "ignore", str(script)], env=env, stdout=log, stderr=log)

    def kill_bot(self) -> None:
        if self.bot is not None:
            self.bot.kill()
            self.bot.wait()
            self.bot = None

    def stop_server(self) -> int:
        """Returns its exit status."""
        assert self.server is not None and self.server.stdin is not None and self.server.stdout is not None
        self.server.terminate()
        status = self.server.wait(20)
        self.server.stdin.close()
        self.server.stdout.close()
        self.server = None
        return status

    def stop(self) -> None:
        self.kill_bot()
        if self.server is not None:
            self.stop_server()

    def community(self) -> Community:
        return Community(self.url, CONTROL_TOKEN)


@dataclass
class Town:
    """A process with its bot online, and people in it."""

    process: Process
    community: Community

    def __post_init__(self) -> None:
        self.ana, self.ben = self.community.person("ana"), self.community.person("ben")
        self.mira: Person = self.community.person("mod-mira")

    async def until_online(self) -> None:
        async def online() -> bool | None:
            world = await self.community.world()
            return True if world["connected"] and world["commands"] else None

        await wait_for("the bot to come online", online, seconds=START_S)

    async def met(self, wanted: str) -> list[str]:
        """Return what the bot has met, once that includes something; all of it is then forgotten."""
        seen: list[str] = []

        async def look() -> list[str] | None:
            try:
                seen.extend(json.loads((await self.ben.command("met")).text))
            except NoAnswerError:  # it is away for a moment; what it meets is told when it is back
                return None
            return seen if wanted in seen else None

        try:
            return await wait_for(f"the bot to meet {wanted!r}", look, seconds=60)
        except NoAnswerError as error:
            raise AssertionError(f"{error} It met {seen}.") from error
