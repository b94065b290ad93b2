"""The demo's image: its own command, run with its own packages, by the one port that it shows."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.environments import ROOT, images, make
from tests.acceptance.test_demo_command import left_behind
from tests.builders.command_line import free_port
from tests.test_compose import stages

PATIENCE_S = 240.0


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An environment with what the image installs, and nothing else."""
    return make(tmp_path / "environment", *images()["demo"])


@pytest.mark.usefixtures("in_a_long_run")
async def test_the_image_shows_the_demo_by_its_one_port(python: Path, tmp_path: Path) -> None:
    """A browser outside gets the page and a video of it; all that is written lies in the volume and in /tmp."""
    stage, port = stages()["demo"], str(free_port())
    command = json.loads(stage["CMD"][-1])
    volume, scratch, home = tmp_path / "volume", tmp_path / "scratch", tmp_path / "home"
    for folder in (volume, scratch, home):
        folder.mkdir(mode=0o700)
    home.chmod(0o500)
    changes = {stage["VOLUME"][0]: str(volume), stage["EXPOSE"][0]: port}
    for old, new in changes.items():
        command = [word.replace(old, new) for word in command]
    settings = dict(re.findall(r"(FLOCK_\w+)=(\S+)", " ".join(stage["ENV"]).replace("/data", str(volume))))
    process = await asyncio.create_subprocess_exec(
        *(str(python), "-m", "bot", *command),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1", **settings},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        link = await told(process, r"(http://127\.0\.0\.1:\d+/)#(\S+)")
        assert link[1] == f"http://127.0.0.1:{port}/"
        await told(process, "Be a member yourself")
        assert int((await told(process, r"You can join (\d+) s after the start"))[1]) > 0
        await see_a_video(link[1], link[2], port)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]  # or the pipe is reported as leaked
    assert left_behind(volume) == []
    assert (volume / "demo" / "flock.db").is_file()
    assert list(home.iterdir()) == []


async def told(process: asyncio.subprocess.Process, words: str) -> re.Match[str]:
    """Return the words once the demo has printed them."""
    assert process.stderr is not None
    text = ""
    async with asyncio.timeout(PATIENCE_S):
        while not (match := re.search(words, text)):
            line = await process.stderr.readline()
            assert line, text
            text = line.decode()
    return match


async def see_a_video(page: str, token: str, port: str) -> None:
    """Look at a thread, and play its first video from the machine's outer address, for which 127.0.0.2 stands."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        async with session.get(f"{page}api/world") as answer:
            channels = (await answer.json())["channels"]
        [thread] = [channel["id"] for channel in channels if channel["name"].startswith("Round 1")]
        async with session.get(f"{page}api/messages", params={"member": "ana", "channel_id": thread}) as answer:
            videos = re.findall(r"http://127\.0\.0\.1:(\d+)(/attachments/[^\"]+\.mp4)", await answer.text())
        assert {at for at, _ in videos} == {port}
        address = f"http://127.0.0.2:{port}{videos[0][1]}"
        async with session.get(address, headers={"Host": f"127.0.0.1:{port}", "Range": "bytes=0-11"}) as answer:
            assert (answer.status, b"ftyp" in await answer.read()) == (206, True)
