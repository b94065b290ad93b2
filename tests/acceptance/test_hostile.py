"""Bad input, tried as a hostile member would: each gets a clear sentence that only they see, and nothing breaks."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.discord.people import Answer, CannotDoError, wait_for
from bot.demo.story import PROMPTS, Story
from migrations.database import open_database
from migrations.schema import videos, votes
from tests.acceptance.conftest import open_story

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    """A stack with an open round and one posted video."""
    async with open_story(tmp_path_factory.mktemp("hostile"), [PROMPTS[0]]) as story:
        database = open_database(story.stack.database_url)
        await story.wait_for_bot(database)
        await story.open_round(database)
        await story.make_videos(database)
        await database.dispose()
        yield story


@pytest_asyncio.fixture(loop_scope="module")
async def database(story: Story) -> AsyncIterator[AsyncEngine]:
    database = open_database(story.stack.database_url)
    yield database
    await database.dispose()


def told(answer: Answer, words: str) -> None:
    """Only they see it, and it is a sentence that says what to do."""
    assert answer.ephemeral
    assert words in answer.text
    assert answer.text.rstrip().endswith((".", "`", '"'))


async def test_who_has_not_voted_has_no_receipt(story: Story) -> None:
    """They read what to do, and nothing that looks like a vote of theirs."""
    told(await story.person("dmitri").command("receipt"), "You haven't voted in round 1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least 3"),
        ("   ", "at least 3"),
        ("\u200b\u200b\u200b\u200b", "at least 3"),
        ("\u202e\u202d\u2066", "at least 3"),
        ("x" * 4000, "4000 characters"),
        ("💥" * 501, "501 characters"),
    ],
)
async def test_a_prompt_that_cannot_be_used(story: Story, database: AsyncEngine, text: str, words: str) -> None:
    """Empty, invisible and endless prompts get a sentence, and no video is queued.

    A client with an earlier definition of the command sends all of them.
    """
    async with database.connect() as connection:
        before = await connection.scalar(select(func.count()).select_from(videos))
    told(await story.person("ben").command("prompt", outdated=True, text=text), words)
    async with database.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(videos)) == before


@pytest.mark.parametrize(
    ("text", "words"), [("", "at least 1"), ("x" * 4000, "at most 500"), ("💥" * 501, "at most 500")]
)
async def test_a_prompt_that_discord_does_not_send(story: Story, text: str, words: str) -> None:
    """The command declares how long a prompt may be: the text never leaves its member's client."""
    with pytest.raises(CannotDoError, match=words):
        await story.person("ben").command("prompt", text=text)


@pytest.mark.parametrize(
    "text",
    [
        "@everyone <@123456789012345678> <#1> look",
        "**bold** __line__ `code` ||spoiler|| # heading",
        "[free nitro](https://evil.example) https://evil.example",
        "مربع أحمر يتحرك إلى اليسار",
        "👩‍🚀🚀✨ in space",
        "'; DROP TABLE videos; --",
        "\x00null\x07bell\x1b[31mred",
    ],
)
async def test_a_prompt_that_is_strange_is_shown_as_plain_text(story: Story, text: str) -> None:
    """Mentions, markup, links, other scripts and control characters: taken, and harmless wherever they are shown."""
    answer = await story.person("ben").command("prompt", text=text)
    assert not answer.ephemeral, answer.text
    shown = answer.text.splitlines()[0]
    for live in ("@everyone", "<@1", "<#1", "https://", "](", "\x00", "\x1b"):
        assert live not in shown.replace("\\<", "<\\").replace("\\]\\(", "")
    told(await story.person("ben").press(answer.message, "Cancel"), "cancelled")


@pytest.mark.parametrize(
    ("custom_id", "words"),
    [
        ("v1:up:999999", "can't find that video"),
        ("v1:up:99999999999999999999", "can't find that video"),
        ("v1:feedback:1", "can't find that video"),
        ("v1:cancel:1", "can't find that video"),
        ("v1:up:abc", "older version"),
        ("v1:delete:1", "older version"),
        ("v9:up:1", "older version"),
        ("v1:up:1'; DROP TABLE votes; --", "older version"),
        ("x" * 100, "older version"),
    ],
)
async def test_a_forged_button(story: Story, custom_id: str, words: str) -> None:
    """A custom id that we did not make is answered with a sentence, and does nothing."""
    told(await story.person("chloé").press_id(story.cards[0], custom_id, forged=True), words)


async def test_a_forged_modal(story: Story) -> None:
    """A modal that nothing showed, for a video that is not there or with nothing in it, is refused."""
    community, channel = story.community, story.cards[0].channel_id
    emi = story.person("emi")
    for custom_id, text, words in (
        ("v1:feedback:999", "hello", "can't find that video"),
        (f"v1:feedback:{story.video_ids[0]}", "\u200b \n", "Nothing was written"),
        ("anything", "hello", "older version"),
    ):
        body = {
            "member": "emi",
            "channel_id": channel,
            "custom_id": custom_id,
            "values": {"text": text},
            "forged": True,
        }
        told(await emi._answer(await community.ask("POST", "modal", json=body)), words)


async def test_only_the_member_who_asked_can_cancel(story: Story) -> None:
    """Somebody else's cancel is refused; the member's own works; a finished video cannot be cancelled."""
    answer = await story.person("ben").command("prompt", text="a video that ben no longer wants")
    told(await story.person("emi").press(answer.message, "Cancel"), "Only the member")
    told(await story.person("ben").press(answer.message, "Cancel"), "being cancelled")

    async def gone() -> bool | None:
        message = await story.person("ben").message(answer.message.channel_id, answer.message.id)
        return True if "You cancelled this video" in message.text and not message.buttons else None

    await wait_for("the cancellation", gone, seconds=60)
    forged = f"v1:cancel:{story.video_ids[0]}"
    told(await story.person("ana").press_id(story.cards[0], forged, forged=True), "already finished")


@pytest.mark.parametrize("command", ["setup", "round open", "round close", "round status"])
async def test_moderators_commands_are_hidden_from_members(story: Story, command: str) -> None:
    """A member's client does not even offer them."""
    with pytest.raises(CannotDoError, match="hidden"):
        await story.person("ana").command(command)


@pytest.mark.parametrize(
    ("task", "duration", "words"),
    [
        ("", "1h", "needs a task"),
        ("x" * 201, "1h", "needs a task"),
        ("lighthouses", "soon", "can't read"),
        ("lighthouses", "1s", "can't read"),
        ("lighthouses", "999999d", "can't read"),
        ("lighthouses", "1h", "still open"),
    ],
)
async def test_a_round_that_cannot_be_opened(story: Story, task: str, duration: str, words: str) -> None:
    """Tasks and durations that cannot be used, or a round beside an open one, get a sentence."""
    told(await story.person("mod-mira").command("round open", task=task, duration=duration), words)


async def test_an_unknown_round_has_no_standings(story: Story) -> None:
    """`/standings round: 999` says what to do instead; without a number it shows the latest."""
    told(await story.person("ana").command("standings", round=999), "no such round")
    assert PROMPTS[0] in (await story.person("ana").command("standings")).text


async def test_a_vote_waits_out_a_locked_database(story: Story, database: AsyncEngine) -> None:
    """While another program holds the database, Discord hears in time; then the vote is recorded."""
    path = Path(story.stack.database_url.removeprefix("sqlite:///"))
    held = threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(path, timeout=30)
        connection.execute("BEGIN IMMEDIATE")
        held.set()
        time.sleep(4)
        connection.rollback()
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    answer = await story.person("dmitri").press(story.cards[0], "Down")
    thread.join()
    told(answer, "is **down**")
    async with database.connect() as connection:
        choices = list((await connection.execute(select(votes.c.choice))).scalars())
    assert 2 in choices


async def test_a_deleted_card_breaks_nothing(story: Story) -> None:
    """When a moderator deletes a card, its press cannot be made any more, and the round still ends with its votes."""
    card = story.cards[0]
    await story.community.fault("delete_message", channel_id=card.channel_id, message_id=card.id)
    with pytest.raises(CannotDoError):
        await story.person("ana").press(card, "Up")
    told(await story.person("mod-mira").command("round close"), "is closed")

    async def decided() -> bool | None:
        channel = await story.community.channel("videos")
        texts = [m.text for m in await story.person("ana").messages(channel)]
        return True if any("is decided" in text and "On the ledger for good" in text for text in texts) else None

    await wait_for("the result", decided, seconds=120)
    told(await story.person("ana").command("prompt", text="too late for this round"), "no open round")
    # Everything that went wrong was answered: nothing unforeseen is in the log.
    assert "Unforeseen" not in story.stack.supervisor.log_path("bot").read_text()


async def test_a_round_closes_at_its_deadline_though_the_bot_was_killed_meanwhile(story: Story) -> None:
    """The shortest round there is: nobody closes it, the bot dies while it sleeps, and the result comes in time."""
    mira, channel = story.person("mod-mira"), await story.community.channel("videos")
    opened = await mira.command("round open", task="a short one", duration="1m")
    told(opened, "is open")
    story.stack.supervisor.kill("bot")

    async def closed() -> bool | None:
        texts = [m.text for m in await story.person("ana").messages(channel)]
        return (
            True
            if any(
                text.startswith("## Round 2 is closed\nNo video was posted") and "On the ledger for good" in text
                for text in texts
            )
            else None
        )

    await wait_for("the round's end", closed, seconds=150, every=0.5)
