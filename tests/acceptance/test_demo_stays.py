"""`flock demo` as a visitor meets it: a link once there is a video to see, a round to try, and nothing left behind."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bot.demo.story import VISITORS_PROMPT
from tests.acceptance.test_demo_command import left_behind

LINK = re.compile(r"▶ (http://127\.0\.0\.1:\d+/)#(\S+)")


class Demo:
    """A running `flock demo`, and what its terminal shows."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def until(self, wanted: re.Pattern[str] | str, seconds: float = 240) -> re.Match[str]:
        assert self.process.stderr is not None
        async with asyncio.timeout(seconds):
            while not (found := re.search(wanted, self.said)):
                line = await self.process.stderr.readline()
                assert line, self.said
                self.said += line.decode()
        return found


@asynccontextmanager
async def demo(state: Path, *options: str) -> AsyncIterator[Demo]:
    argv = [sys.executable, "-m", "bot", "demo", "--state", str(state), "--prompt", "a red circle", *options]
    process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
    try:
        yield Demo(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]  # or the pipe is reported as leaked


async def test_the_demo_stays_up_and_its_members_go_on_while_things_break(tmp_path: Path) -> None:
    """The link works before the story is over; then a round is open for the visitor. Each mishap is told, members
    still get their answers, and Ctrl-C leaves nothing broken and nothing behind."""
    async with demo(tmp_path / "state", "--chaos", "3") as running:
        link = await running.until(LINK)
        assert "posted" in running.said, "the link comes when there is a video to see"
        assert "presses" not in running.said, "and before the story is over"
        assert "No GPU worker" not in running.said
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {link[2]}"}) as session:
            async with session.get(link[1]) as answer:
                assert "FLock demo" in await answer.text()
            await running.until("Be a member yourself")
            assert len(LINK.findall(running.said)) == 1
            assert f"posted “{VISITORS_PROMPT}”" in running.said, "a visitor finds a video to vote on"
            async with session.get(f"{link[1]}api/world") as answer:
                channels = [channel["name"] for channel in (await answer.json())["channels"]]
        assert any(name.startswith("Round 2: your turn") for name in channels)
        assert len(left_behind(tmp_path / "state")) >= 5
        await running.until("Things break from now on")
        for _ in range(3):
            running.said = ""
            await running.until(r"chaos  \w+")
        running.said = ""
        await running.until("Recorded: your vote|Round 2: ")
        running.process.send_signal(signal.SIGINT)
        await running.until("All faults are switched off")
        assert await asyncio.wait_for(running.process.wait(), 60) == 130
        assert left_behind(tmp_path / "state") == []


async def test_nothing_is_left_of_a_demo_that_is_ended_early(tmp_path: Path) -> None:
    """Ctrl-C before the story has begun."""
    async with demo(tmp_path / "state") as running:
        await running.until("is online")
        running.process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(running.process.wait(), 60) == 130
        assert left_behind(tmp_path / "state") == []


async def test_nothing_is_left_of_a_demo_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the supervisor while a video is rendered: every process ends by itself."""
    async with demo(tmp_path / "state") as running:
        await running.until("🎬|posted|next in the queue")
        assert left_behind(tmp_path / "state")
        running.process.kill()
        await running.process.wait()
        async with asyncio.timeout(60):
            while left_behind(tmp_path / "state"):
                await asyncio.sleep(0.1)


async def test_chaos_needs_a_demo_that_stays(tmp_path: Path) -> None:
    """It begins after the story: asked to end there, the demo says so and starts nothing."""
    async with demo(tmp_path / "state", "--once", "--chaos") as running:
        await running.until("leave --once out")
        assert await asyncio.wait_for(running.process.wait(), 60) == 1
        assert not (tmp_path / "state" / "logs").exists()
