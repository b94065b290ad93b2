"""The process of the embedded Discord: its state outlives a restart, and it refuses what it cannot use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot.demo.discord.people import wait_for
from tests.bot.demo.discord.an_unmodified_bot import CLIP
from tests.bot.demo.discord.test_server import post
from tests.bot.demo.discord.town import ROOT, Process, Town


@pytest.fixture
def own(tmp_path: Path) -> Process:
    return Process(tmp_path / "state")


async def test_the_world_outlives_a_restart(own: Process) -> None:
    """Ids, threads, cards, reactions and files are the same after a restart, on another port too; buttons answer."""
    try:
        own.start_server()
        own.start_bot()
        async with own.community() as community:
            town = Town(own, community)
            await town.until_online()
            posted = await post(town, 1)
            before = await town.ana.message(posted["thread"], posted["message"])
            await town.ana.react(before, "👎")
            await town.ana.command("secret")
            world = await community.world()
            general = await community.channel("general")
            texts = [message.text for message in await town.ben.messages(general)]
        own.kill_bot()
        assert own.stop_server() == 0
        old, own.port = own.port, 0
        own.start_server()
        own.start_bot()
        async with own.community() as community:
            town = Town(own, community)
            await town.until_online()
            for part in ("guild", "bot_id", "members", "channels"):
                assert (await community.world())[part] == world[part]
            after = await town.ana.message(posted["thread"], posted["message"])
            assert after.reactions == {"👍": 1, "👎": 1}
            assert (after.id, after.text, after.buttons) == (before.id, before.text, before.buttons)
            assert after.media == (before.media[0].replace(str(old), str(own.port)),)
            assert (await community.fetch(after.media[0])).content == CLIP
            assert (await town.ana.press(after, "Press")).text.startswith("ana pressed 1")
            # What only ana saw is gone, as from her client.
            assert [message.text for message in await town.ana.messages(general)] == texts
    finally:
        own.stop()


async def test_a_server_that_is_killed(own: Process) -> None:
    """What was saved before a SIGKILL is there afterwards, whole."""
    try:
        own.start_server()
        async with own.community() as community:
            message_id = await community.person("ana").say("hello")

        async def saved() -> bool | None:
            world = own.state / "world.json"  # a quick machine looks before the first saving
            return True if world.exists() and f'"{message_id}"' in world.read_text() else None

        await wait_for("the world to be saved", saved, seconds=60)
        assert own.server is not None
        own.server.kill()
        own.server.communicate()
        own.server = None
        own.start_server()
        async with own.community() as community:
            general = await community.channel("general")
            assert (await community.person("ben").message(general, message_id)).text == "hello"
    finally:
        own.stop()


def start(state: Path, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A server that is expected not to start."""
    tokens = {"FLOCK_DEMO_BOT_TOKEN": "b-secret", "FLOCK_DEMO_CONTROL_TOKEN": "c-secret"}
    argv = [sys.executable, "-m", "bot.demo.discord", "--state", str(state), *options]
    return subprocess.run(
        argv,
        cwd=ROOT,
        env=tokens if env is None else env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_state_that_is_in_use(own: Process) -> None:
    """A second server on the same folder does not start, and says why; the same goes for a port that is taken."""
    try:
        own.start_server()
        second = start(own.state)
        assert (second.returncode, second.stdout) == (1, "")
        assert "Another process uses" in second.stderr
        third = start(own.state.with_name("other"), "--port", str(own.port))
        assert third.returncode == 1
        assert "could not start" in third.stderr
        assert "Traceback" not in second.stderr + third.stderr
    finally:
        own.stop()


def test_a_state_that_is_broken(tmp_path: Path) -> None:
    """A state that cannot be read is left alone, and the sentence says what to do."""
    (tmp_path / "world.json").write_text('{"users": ')
    broken = start(tmp_path)
    assert broken.returncode == 1
    assert "cannot be read. Take another --state folder" in broken.stderr
    assert (tmp_path / "world.json").read_text() == '{"users": '


def test_missing_tokens(tmp_path: Path) -> None:
    """All missing tokens are named at once."""
    bare = start(tmp_path, env={})
    assert (bare.returncode, bare.stderr) == (2, "FLOCK_DEMO_BOT_TOKEN and FLOCK_DEMO_CONTROL_TOKEN must be set.\n")


def test_the_parent_goes(tmp_path: Path) -> None:
    """With --watch-stdin the server ends, orderly, when its parent's pipe closes."""
    done = start(tmp_path, "--watch-stdin")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith('{"ready": true, "port": ')
    assert done.stdout.count("\n") == 1
    assert (tmp_path / "world.json").stat().st_mode & 0o777 == 0o600
    assert "secret" not in (tmp_path / "world.json").read_text()
