"""A worker whose disk is full, really: its videos go to a file system of a few kilobytes."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bot.demo.discord.people import wait_for
from bot.store import videos
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A file system of its own, which only the worker sees: anybody may have that in a user namespace of theirs.
ROOM = "size=512k,nr_inodes=100,mode=700"
NAMESPACE = ["unshare", "--mount", "--map-root-user"]


def refusal() -> str | None:
    """Return the reason why this machine allows no small file system; None where it does."""
    if shutil.which("unshare") is None:
        return "there is no unshare(1)"
    tried = subprocess.run(
        [*NAMESPACE, "mount", "-t", "tmpfs", "-o", ROOM, "tmpfs", "/mnt"], capture_output=True, text=True, check=False
    )
    return tried.stderr.strip().splitlines()[-1] if tried.returncode else None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_scenario(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenario]:
    """Open a stack whose worker has 512 KiB for its videos, and an open round."""
    if (why := refusal()) is not None:
        pytest.skip(f"A full disk cannot be tried here: {why}.")
    state = tmp_path_factory.mktemp("full") / "state"
    async with open_scenario(state) as scenario:
        folder = state / "data" / "videos"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        worker = shlex.join([sys.executable, "-m", "bot", "worker", "--watch-stdin"])
        mounting = f"mount -t tmpfs -o {ROOM} tmpfs {shlex.quote(str(folder))} && exec {worker}"
        await scenario.stack.supervisor.forget("worker")
        argv = [*NAMESPACE, "sh", "-c", mounting]
        await scenario.stack.supervisor.start("worker", argv, scenario.stack.worker_env)
        await scenario.open_round()
        yield scenario


def inside(scenario: Scenario) -> Path:
    """The worker's folder of videos, as it sees it."""
    folder = scenario.stack.state / "data" / "videos"
    return Path(f"/proc/{scenario.stack.supervisor.pid('worker')}/root{folder}")


def fill(folder: Path) -> Path:
    """Takes all room that there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return ballast


async def test_a_full_disk_is_told_and_nothing_is_lost(scenario: Scenario) -> None:
    """The member reads why there is no video and that the prompt does not count; with room again the next is made."""
    card = await scenario.post_card("while there is room.")
    ballast = fill(inside(scenario))
    asked = await scenario.ana.command("prompt", text="while there is none.")

    async def told() -> str | None:
        text = (await scenario.ana.look(asked)).text
        return text if "⚠️" in text else None

    text = await wait_for("the sentence for the member", told, seconds=SETTLED_S)
    assert f"The worker could not write the video ({os.strerror(errno.ENOSPC)})." in text
    assert "It doesn't count towards your limit. Try again with `/prompt`." in text
    video = await videos.get_or_none(scenario.database, asked.interaction_id)
    assert video is not None
    assert video.status == "failed"
    left = {path.name for path in inside(scenario).iterdir() if asked.interaction_id in path.name}
    assert left == set(), "what was half written is gone"

    assert "is **up**" in (await scenario.ben.press(card, "Up")).text, "what was made before can be voted on"
    ballast.unlink()
    again = await scenario.post_card("when there is room again.")
    assert (await scenario.community.fetch(again.media[0], Range="bytes=0-11")).status_code == 206
    assert len(await scenario.cards(card.channel_id)) == 2


async def test_room_for_the_video_and_not_for_a_note(scenario: Scenario) -> None:
    """A disk that is full just after the video was written costs nobody their video."""
    folder, files = inside(scenario), []
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        for number in range(1000):
            (folder / f"ballast-{number}").touch()
            files.append(folder / f"ballast-{number}")
    for path in files[:2]:  # the video and its poster
        path.unlink()
    try:
        card = await scenario.post_card("room for the video alone.")
        assert (await scenario.community.fetch(card.media[0], Range="bytes=0-11")).status_code == 206
    finally:
        for path in files[2:]:
            path.unlink()
    assert "The note on video" in scenario.log("worker")
