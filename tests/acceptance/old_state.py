"""Makes a demo's state as this release leaves it, for later ones to go on from: `python -m tests.acceptance.old_state`.

Services, bot and worker are real processes. A round is open in it, with two posted videos, votes that are final on the
ledger and one that is not sent yet, a prompt that waits for a worker, and one that waits for a moderator. Then every
process is killed, and what is on disk becomes `state/VERSION.tar.xz`. Such a file is made once, by the release that it
is named after, and never again.

Every secret in it was made for it, and is one of services that listened on loopback and are no more: tokens of the
embedded Discord and host, the key of an embedded chain's account. It holds the path of the folder that it was made in
(`videos.video_path` and `poster_path`, and the note beside each video), where nothing is any more: a later bot takes
such a video for one of another machine. Ports are zero, so that tests beside each other do not ask for the same ones.
Left out are logs, the embedded model, which each worker has, the worker's certificate, which ends and is made anew, and
the host's copies for its watch pages.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tarfile
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from bot.demo.discord.people import wait_for
from bot.demo.stack import Keys, Stack
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

FOLDER = Path(__file__).with_name("state")
POSTED = ("a red circle rolls over a blue field", "a green square jumps at night")
QUEUED = "a yellow star spins in the rain"
HELD = "the president dances"
RULES = '[[rules]]\naction = "review"\nwords = ["president"]\n'
LEFT_OUT = ("logs", "data/models", "data/certificate.pem", "host/media", "models.toml", "rules.toml")
LONG = "36500d"  # the round is to be open whenever somebody runs the test; members may ask for 30 days at most
RUN = """\
import runpy
from bot.domain import policy
policy.LONGEST_ROUND_S = 10**10
runpy.run_module("bot", run_name="__main__", alter_sys=True)
"""


class LongRounds(Stack):
    """A stack whose bot opens rounds that are longer than members may ask for; nothing else of it differs."""

    async def open_bot_and_worker(self) -> None:
        await super().open_bot_and_worker()
        await self.supervisor.forget("bot")
        await self.supervisor.start("bot", [sys.executable, "-c", RUN, "run", "--watch-stdin"], self.bot_env)


async def live(folder: Path) -> None:
    """Lives until the middle of a round, and kills everything there."""
    folder.mkdir()
    (folder / "rules.toml").write_text(RULES)
    settings = {"FLOCK_PROMPT_RULES": str(folder / "rules.toml")}
    async with open_scenario(folder, kind=LongRounds, **settings) as scenario:
        await scenario.open_round(LONG)
        first, second = [await scenario.post_card(prompt) for prompt in POSTED]
        ana, ben, chloé, dmitri, emi = [scenario.community.person(n) for n in ("ana", "ben", "chloé", "dmitri", "emi")]
        for person, card, label in (
            *((ben, first, "Up"), (chloé, first, "Up"), (emi, first, "Down")),
            (ana, second, "Down"),
        ):
            assert f"is **{label.lower()}**" in (await person.press(card, label)).text
        await dmitri.react(first, "👍")
        await ben.react(second, "👎")
        await scenario.wait_for_choices((await scenario.video_on(first)).id, ben=1, chloé=1, emi=2, dmitri=1)
        await scenario.wait_for_choices((await scenario.video_on(second)).id, ana=2, ben=2)
        await count(scenario, "6 final votes", "SELECT count(*) FROM outbox WHERE kind = 'vote' AND state = 'final'", 6)
        supervisor = scenario.stack.supervisor
        await supervisor.forget("worker")
        assert (await emi.command("prompt", text=HELD)).ephemeral
        await ben.command("prompt", text=QUEUED)
        queued = "SELECT count(*) FROM workflow_status WHERE name = 'render_video' AND status = 'ENQUEUED'"
        await count(scenario, "the prompt to be queued", queued, 1)
        assert "is **up**" in (await dmitri.press(second, "Up")).text
        await supervisor.forget("bot")  # at once: its vote is not sent yet
        await asyncio.sleep(2)  # the embedded Discord writes its world down twice a second
        for service in ("discord", "host", "chain"):
            await supervisor.forget(service)
        assert len(rows(folder / "flock.db", "SELECT 1 FROM outbox WHERE kind = 'vote' AND state = 'pending'")) == 1


async def count(scenario: Scenario, what: str, query: str, number: int) -> None:
    async def so() -> bool | None:
        return True if rows(scenario.stack.state / "flock.db", query)[0] == (number,) else None

    await wait_for(what, so, seconds=SETTLED_S)


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(database, timeout=30)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def pack(folder: Path, file: Path) -> None:
    """Writes the state into an archive, without owners and times."""
    keys = Keys.load(folder / "demo.json")
    replace(keys, discord_port=0, host_port=0, chain_port=0, page_port=0, signing_port=0).save(folder / "demo.json")
    for database in folder.rglob("*.db"):
        rows(database, "PRAGMA wal_checkpoint(TRUNCATE)")

    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = member.name.removeprefix("./")
        if name.endswith(("-wal", "-shm")) or any(name == left or name.startswith(f"{left}/") for left in LEFT_OUT):
            return None
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "x:xz", preset=9) as archive:
        archive.add(folder, ".", filter=kept)


def unpack(file: Path, folder: Path) -> None:
    """Lays an archived state into a folder."""
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    assert json.loads((folder / "demo.json").read_text())["bot_token"]


def main() -> None:
    file = FOLDER / f"{version('flock')}.tar.xz"
    assert not file.exists(), f"{file} is there. A state of a release is made once."
    with tempfile.TemporaryDirectory(prefix="flock-") as folder:
        asyncio.run(live(Path(folder) / "state"))
        pack(Path(folder) / "state", file)


if __name__ == "__main__":
    main()
