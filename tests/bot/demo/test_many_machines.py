"""Bot and worker on two machines, with nothing between them but PostgreSQL: what is posted is what was rendered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import insert, select, text

from bot.demo.discord.people import Answer, Message, wait_for
from bot.demo.stack import House
from bot.domain.videos import Video
from bot.files.attachments import brought_path
from bot.store import videos
from generation.video import c2pa_manifest as manifest
from migrations.schema import original_parts, originals
from tests.builders.stack import QUICK_MODEL, SETTLED_S, Trouble, open_trouble
from tests.conftest import empty_postgresql
from tests.generation.render.red_guard import make

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = "Watch on Livepeer"
AWAY = {"fault": "error", "status": 503, "path": "/api/*", "count": 1_000_000}


class TwoMachines(House):
    """The worker's data folder is not the bot's."""

    @property
    def worker_env(self) -> dict[str, str]:
        return {**super().worker_env, "FLOCK_DATA_DIR": str(self.state / "far")}

    @property
    def bot_env(self) -> dict[str, str]:
        return {**super().bot_env, "FLOCK_DATA_DIR": str(self.state / "data")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trouble]:
    """One house for all of these tests, whose bot waits a second for the host, with an open round."""
    folder = tmp_path_factory.mktemp("machines") / "state"
    url = await asyncio.to_thread(empty_postgresql, postgres_server)
    async with open_trouble(folder, url, TwoMachines, FLOCK_HOST_PATIENCE_S="1") as trouble:
        await trouble.open_round()
        yield trouble


@pytest_asyncio.fixture(loop_scope="module")
async def trouble(house: Trouble) -> AsyncIterator[Trouble]:
    """In order before a test and after it."""
    await house.put_in_order()
    yield house
    await house.put_in_order()


async def asked(trouble: Trouble, prompt: str) -> str:
    return (await trouble.insist(trouble.ana, "prompt", text=prompt)).interaction_id


def rendered(trouble: Trouble, video: Video) -> bytes:
    """The worker's own file, which the bot's machine has no way to."""
    path = Path(video.video_path or "")
    assert path == trouble.house.state / "far" / "videos" / f"{video.id}.mp4"
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == video.sha256
    return data


async def is_the_original(trouble: Trouble, message: Message, video: Video, folder: Path) -> None:
    """Byte for byte, with the manifest that says where it comes from."""
    [url] = message.attachments
    data = (await trouble.community.fetch(url)).content
    assert data == rendered(trouble, video)
    copy = folder / "copy.mp4"
    copy.write_bytes(data)
    found = manifest.read(copy)
    assert found is not None
    assert found["state"] == "Valid"


async def wished(trouble: Trouble, video_id: str) -> str:
    """Waits until the bot has asked for a file; its hash."""

    async def so() -> str | None:
        query = select(originals.c.sha256).where(originals.c.video_id == video_id)
        async with trouble.database.connect() as connection:
            sha256: str | None = await connection.scalar(query)
        return sha256

    return await wait_for("the bot to ask for the file", so, seconds=SETTLED_S)


async def parts(trouble: Trouble) -> int:
    async with trouble.database.connect() as connection:
        return len((await connection.execute(select(original_parts.c.part))).all())


async def nothing_is_left(trouble: Trouble, video: Video) -> None:
    """Neither in the database nor on the bot's disk; the worker's file stays where it is."""

    async def so() -> bool | None:
        async with trouble.database.connect() as connection:
            wishes = (await connection.execute(select(originals))).all()
        here = brought_path(video.id, trouble.house.state / "data")
        files = list(here.parent.glob(f"*{video.id}*"))
        return True if (wishes, await parts(trouble), files) == ([], 0, []) else None

    await wait_for("the parts and the bot's copy to be deleted", so, seconds=SETTLED_S)
    assert Path(video.video_path or "").is_file()


async def hosted_too(trouble: Trouble, video: Video) -> Video:
    """The video, once its link is on the card."""

    async def so() -> Video | None:
        return await videos.get(trouble.database, video.id) if LINK in (await trouble.card_of(video)).text else None

    return await wait_for("the link on the card", so, seconds=SETTLED_S)


async def test_a_card_shows_the_original_and_not_the_hosts_copy(trouble: Trouble, tmp_path: Path) -> None:
    """With the host in order: the file that was rendered, and the link beside it."""
    video = await trouble.published(await asked(trouble, "a lighthouse"))
    await is_the_original(trouble, await trouble.card_of(video), video, tmp_path)
    await nothing_is_left(trouble, video)
    video = await hosted_too(trouble, video)
    hosted = (await trouble.community.fetch(video.playback_url or "")).content
    assert hosted != rendered(trouble, video)  # the host was given a longer copy, which says nothing of its origin


async def test_it_is_posted_while_its_host_is_away(trouble: Trouble, tmp_path: Path) -> None:
    """More of them than uploads that a machine has at once: those that wait for the host hold up none."""
    await trouble.switch("host", **AWAY)
    ids = [await asked(trouble, f"a ship number {number}") for number in range(3)]
    posted = [await trouble.published(video_id) for video_id in ids]
    for video in posted:
        card = await trouble.card_of(video)
        assert LINK not in card.text
        await is_the_original(trouble, card, video, tmp_path)
    await trouble.put_in_order()
    for video in posted:
        await hosted_too(trouble, video)
        await is_the_original(trouble, await trouble.card_of(video), video, tmp_path)
        await nothing_is_left(trouble, video)


async def test_death_on_the_way_loses_nothing_and_posts_once(trouble: Trouble, tmp_path: Path) -> None:
    """Both are killed while the file is on its way, the host being away."""
    await trouble.switch("host", **AWAY)
    async with trouble.database.begin() as locking:
        await locking.execute(text("LOCK TABLE original_parts IN EXCLUSIVE MODE"))  # nobody can write a part
        video_id = await asked(trouble, "a storm")

        await wished(trouble, video_id)
        await asyncio.sleep(1)
        for name in ("worker", "bot"):
            trouble.house.supervisor.kill(name)
    video = await trouble.published(video_id)
    await is_the_original(trouble, await trouble.card_of(video), video, tmp_path)
    texts = await trouble.cards(str(video.thread_id))
    assert sum(video.prompt in text for text in texts) == 1
    await nothing_is_left(trouble, video)


async def test_other_bytes_are_refused(trouble: Trouble) -> None:
    """What comes under the file's name and is not it is never posted: the card shows what the host has."""
    async with trouble.database.begin() as locking:
        await locking.execute(text("LOCK TABLE original_parts IN EXCLUSIVE MODE"))
        video_id = await asked(trouble, "a forgery")

        sha256 = await wished(trouble, video_id)
        forged = b"\0\0\0\x20ftypisom and other bytes"
        await locking.execute(insert(original_parts).values(video_id=video_id, sha256=sha256, part=0, data=forged))
    video = await trouble.published(video_id)
    [url] = (await trouble.card_of(video)).attachments
    data = (await trouble.community.fetch(url)).content
    assert data == (await trouble.community.fetch(video.playback_url or "")).content
    assert f"The original of video {video_id} is not brought here" in trouble.log("bot")
    await nothing_is_left(trouble, video)


async def test_moderators_watch_what_is_held(trouble: Trouble, tmp_path: Path) -> None:
    """It is neither at the host nor posted; approved while the host is away, it is posted as it was watched."""
    guard = make(tmp_path / "guard", bias=50.0)
    models = Path(trouble.house.settings["FLOCK_MODELS_FILE"])
    models.write_text(f'[classifier]\nsource = "{guard}"\nlabels = {{ red = 0.9 }}\nframes = 2\n{QUICK_MODEL}')
    trouble.house.supervisor.kill("worker")
    await trouble.switch("host", **AWAY)
    video_id = await asked(trouble, "a quiet lake")

    async def listed() -> Answer | None:
        answer = await trouble.mira.command("review list")
        return answer if "a quiet lake" in answer.text else None

    held = await wait_for("the video to be held", listed, seconds=3 * SETTLED_S)  # its worker has to start again
    video = await videos.get(trouble.database, video_id)
    assert (video.asset_id, video.message_id) == (None, None)
    assert await parts(trouble) == 0
    watched = await trouble.mira.press(held.message, "Watch")
    assert watched.ephemeral
    await is_the_original(trouble, watched.messages[-1], video, tmp_path)
    assert "Approved" in (await trouble.mira.submit(await trouble.mira.press(held.message, "Approve"), text="")).text
    video = await trouble.published(video_id)
    await is_the_original(trouble, await trouble.card_of(video), video, tmp_path)
    await nothing_is_left(trouble, video)

    rejected = await asked(trouble, "a loud lake")

    async def listed_too() -> Answer | None:
        answer = await trouble.mira.command("review list")
        return answer if "a loud lake" in answer.text else None

    held = await wait_for("the video to be held", listed_too, seconds=SETTLED_S)
    here = brought_path(rejected, trouble.house.state / "data")
    assert here.is_file()
    await trouble.mira.submit(await trouble.mira.press(held.message, "Reject"), text="No.")

    async def deleted() -> bool | None:
        return None if here.exists() else True

    await wait_for("the bot's copy to be deleted", deleted, seconds=SETTLED_S)
