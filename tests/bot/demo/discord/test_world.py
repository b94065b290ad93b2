"""The world of the embedded Discord: what is saved, how, and that nothing grows without bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.demo.discord import interactions
from bot.demo.discord.interactions import COMPONENT, Interactions
from bot.demo.discord.people import wait_for
from bot.demo.discord.world import People, RealClock, World, WorldError, watch
from bot.permissions import PERMISSIONS
from migrations.files import draft_path

URL = "http://127.0.0.1:1"


@contextmanager
def opened(state: Path, url: str = URL, people: People | None = None) -> Iterator[World]:
    world = World.open(state, url, people)
    try:
        yield world
    finally:
        world.close()


def lived_in(world: World) -> dict[str, int]:
    """Uses all that the bot uses: a message, a thread, a card with a file, reactions, an answer for one member."""
    backend, bot = world.backend, world.backend.bot_user.id
    ana, ben = world.member_named("ana"), world.member_named("ben")
    channel = next(c for c in backend.channels.values() if c.name == "general")
    said = backend.create_message(channel.id, ana, "☔ see http://127.0.0.1:1 and \\u00e9")
    thread = backend.create_thread(channel.id, "Round 1", bot, message_id=said.id)
    file = backend.cdn.store_attachment(backend.snowflake(), thread.id, "a clip.mp4", b"clip", "a clip")
    media = {"type": 12, "items": [{"media": {"url": file["url"]}}]}
    card = backend.create_message(thread.id, bot, "", attachments=[file], components=[media], flags=1 << 15)
    for member in (ana, ben):
        backend.set_reaction(thread.id, card.id, "👍", member, True)
    for scope in (None, world.guild_id):
        backend.commands[scope] = {("ping", 1): {"id": "5", "name": "ping", "type": 1, "options": [{"type": 3}]}}
    return {"channel": channel.id, "said": said.id, "thread": thread.id, "card": card.id, "file": int(file["id"])}


def everything(world: World) -> Any:
    world.close()
    return json.loads((world.state / "world.json").read_text())


def test_a_new_guild(tmp_path: Path) -> None:
    """A new state has the guild that was asked for, and its bot may do what docs/setup.md asks for, and no more."""
    with opened(tmp_path, people=People("Gallery", ("max",), ("eva",), ("hall",))) as world:
        backend, guild = world.backend, world.guild
        assert guild.name == "Gallery"
        assert {backend.users[i].name for i in guild.members} == {"owner", "FLock", "max", "eva"}
        assert {c.name for c in backend.channels.values()} >= {"hall"}
        assert world.member_named("max") is not None
        assert world.member_named("ana") is None
        hall = next(c for c in backend.channels.values() if c.name == "hall")
        granted = backend.compute_permissions(guild.id, backend.bot_user.id, hall.id)
        assert granted & PERMISSIONS.value == PERMISSIONS.value
        assert not granted & (1 << 3)  # no administrator
        assert not granted & (1 << 5)  # cannot manage the guild


def test_nothing_is_lost_between_two_runs(tmp_path: Path) -> None:
    """A saved world that is opened and saved again is word for word the same."""
    world = World.open(tmp_path, URL)
    ids = lived_in(world)
    first = everything(world)
    again = World.open(tmp_path, URL)
    backend = again.backend
    card = backend.messages[ids["thread"]][ids["card"]]
    assert backend.find_command("ping", again.guild_id)["options"] == [{"type": 3}]
    assert backend.find_command("pong", again.guild_id) is None
    assert backend.messages[ids["channel"]][ids["said"]].content == "☔ see http://127.0.0.1:1 and \\u00e9"
    assert backend.channels[ids["thread"]].is_thread
    assert card.attachments[0]["filename"] == "a_clip.mp4"
    assert backend.cdn.get(card.attachments[0]["url"]) == b"clip"
    assert backend.cdn.get(card.attachments[0]["url"] + "x") is None
    assert everything(again) == first


def test_a_saved_guild_stays_as_it_is(tmp_path: Path) -> None:
    """Other people asked for at a second start change nothing in a guild that exists."""
    with opened(tmp_path) as world:
        members = dict(world.guild.members)
    with opened(tmp_path, people=People("Other", (), ("eva",), ())) as world:
        assert set(world.guild.members) == set(members)
        assert world.guild.name != "Other"


def test_addresses_move_along(tmp_path: Path) -> None:
    """On another port the saved attachments and cards name the new address, and the file is found there."""
    with opened(tmp_path) as world:
        ids = lived_in(world)
    with opened(tmp_path, "http://127.0.0.1:23") as world:
        card = world.backend.messages[ids["thread"]][ids["card"]]
        address = f"http://127.0.0.1:23/attachments/{ids['thread']}/{ids['file']}/a_clip.mp4"
        assert card.attachments[0]["url"] == address
        assert card.components[0]["items"][0]["media"]["url"] == address
        assert world.backend.cdn.get(address) == b"clip"
        assert f"{URL}/" not in json.dumps(card.attachments)


def test_new_ids_after_a_restart_are_later(tmp_path: Path) -> None:
    """Ids given after a restart never collide with those before it: members sort messages by them."""
    with opened(tmp_path) as world:
        ids = lived_in(world)
    with opened(tmp_path) as world:
        ana = world.member_named("ana")
        assert world.backend.create_message(ids["channel"], ana, "later").id > max(ids.values())


def test_files_are_private(tmp_path: Path) -> None:
    """Nobody else on the machine reads the world, its lock, or what members uploaded."""
    state = tmp_path / "state"
    with opened(state) as world:
        lived_in(world)
    for path in (state, *state.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    assert not list(state.glob(".*"))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A state that is open cannot be opened again until it is closed."""
    with opened(tmp_path), pytest.raises(WorldError, match="Another process uses"):
        World.open(tmp_path, URL)
    with opened(tmp_path) as world:
        assert world.guild.name


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"base_url": "", "users": {}}', "null"])
def test_a_broken_state(tmp_path: Path, text: str) -> None:
    """A world that cannot be read is refused with a sentence, stays on disk, and is not locked for ever."""
    (tmp_path / "world.json").write_text(text)
    for _ in range(2):
        with pytest.raises(WorldError, match="cannot be read"):
            World.open(tmp_path, URL)
    assert (tmp_path / "world.json").read_text() == text


def test_an_older_world_never_replaces_a_newer_one(tmp_path: Path) -> None:
    """Two savings that end in the wrong order leave the newer world."""
    with opened(tmp_path) as world:
        older = world._text()
        ana = world.member_named("ana")
        channel = next(c for c in world.backend.channels.values() if c.name == "general")
        world.backend.create_message(channel.id, ana, "newest")
        world._write(*world._text())
        world._write(*older)
        assert "newest" in (tmp_path / "world.json").read_text()


async def saving(world: World, act: Callable[[], object], saved: Callable[[], bool]) -> None:
    """Runs the saver, acts, and waits until something is saved."""
    changed = asyncio.Event()
    watch(world.backend, changed.set)
    saver = asyncio.create_task(world.keep_saving(changed))

    async def look() -> bool | None:
        return True if saved() else None

    try:
        act()
        await wait_for("the world to be saved", look, seconds=60, every=0.05)
    finally:
        saver.cancel()
        await asyncio.gather(saver, return_exceptions=True)


async def test_changes_are_saved_by_themselves(tmp_path: Path) -> None:
    """A change is on disk shortly after it was made, without anybody closing the world."""
    with opened(tmp_path) as world:
        path = tmp_path / "world.json"
        assert not path.exists()
        await saving(world, lambda: lived_in(world), lambda: path.exists() and "Round 1" in path.read_text())


async def test_a_full_disk_is_not_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where saving fails for a while it is tried again, and the log says so."""
    with opened(tmp_path) as world:
        path = tmp_path / "world.json"
        obstacle = draft_path(path)
        obstacle.mkdir()  # opening it for writing fails, as on a full disk

        def told() -> bool:
            if obstacle.is_dir() and "could not be saved" in caplog.text:
                obstacle.rmdir()
            return path.exists() and "Round 1" in path.read_text()

        await saving(world, lambda: lived_in(world), told)


def test_the_past_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of interactions leave no more behind than are kept; what members see in channels stays."""
    monkeypatch.setattr(interactions, "MOST_KEPT", 20)
    with opened(tmp_path) as world:
        ids = lived_in(world)
        backend, ana = world.backend, world.member_named("ana") or 0
        stack = Interactions(world)
        message = backend.messages[ids["thread"]][ids["card"]]
        first, _ = stack.open(COMPONENT, ana, ids["thread"], {"custom_id": "x"}, message)
        for _ in range(1000):
            stack.open(COMPONENT, ana, ids["thread"], {"custom_id": "x"}, message)
        assert len(backend.interactions) <= 21
        assert len(backend.interaction_tokens) == len(backend.interactions)
        assert len(backend._reserved_ids) <= 20 * 20 + 1
        assert stack.status(first) is None
        assert message.id in backend.messages[ids["thread"]]


async def test_who_waits_in_vain_leaves_nothing_behind(tmp_path: Path) -> None:
    """Waiting for answers that never come, again and again, does not fill the memory."""
    with opened(tmp_path) as world:
        ids = lived_in(world)
        stack = Interactions(world, answer_s=60)
        interaction_id, _ = stack.open(COMPONENT, world.member_named("ana") or 0, ids["thread"], {"custom_id": "x"})
        for _ in range(3):
            status = await stack.wait(interaction_id, 0.01)
            assert status is not None
            assert not status["failed"]
        assert not stack._waiting


def test_the_clock_is_real() -> None:
    """Time passes by itself and cannot be moved."""
    clock = RealClock()
    assert clock.now() <= clock.now()
    with pytest.raises(RuntimeError, match="real time"):
        clock.advance(1)
