"""The post of a result plays the winner's video, wherever its file still is; where it is gone it is posted without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.demo.discord.people import Message, wait_for
from bot.domain.rounds import Round
from bot.domain.videos import Video
from tests.builders.live_bot import ALWAYS, Town, post_video

pytestmark = pytest.mark.asyncio(loop_scope="module")

MP4 = b"\0\0\0\x18ftypisom of a test"


async def a_decided_round(town: Town) -> tuple[Round, Video, Video]:
    """An open round with two videos, of which the first is ahead of the second."""
    assert "is open" in (await town.open()).text
    round_ = await town.latest()
    first, second = [await post_video(town, round_, prompt, data=MP4 + prompt.encode()) for prompt in ("one", "two")]
    for name, video in (("ben", first), ("emi", first), ("ben", second)):
        person = town.community.person(name)
        await person.press(await person.message(str(video.thread_id), str(video.message_id)), "Up")
    return round_, first, second


async def result(town: Town, round_: Round) -> Message:
    """The post of the result, as a member sees it."""
    after = await town.until("the result", lambda one: one.result_message_id is not None, round_.id)
    return await town.community.person("ben").message(str(after.channel_id), str(after.result_message_id))


async def data_of(town: Town, message: Message) -> bytes:
    [url] = message.media
    return (await town.community.fetch(url)).content


async def test_the_result_plays_the_winners_video(town: Town) -> None:
    """From the file that was rendered; without hash, address or command for everybody: those are behind a button."""
    round_, first, _ = await a_decided_round(town)
    await town.close()
    posted = await result(town, round_)
    assert "is decided\n🏆 **\u2068one\u2069**" in posted.text
    assert "with 👍 2 and 👎 0" in posted.text
    assert posted.media == posted.attachments
    assert await data_of(town, posted) == MP4 + b"one"
    assert not re.search("0x[0-9a-f]{40}|flock audit", posted.text, re.IGNORECASE)
    details = await town.community.person("emi").press(posted, "Details")
    assert details.ephemeral
    assert f"Round {round_.number} on the ledger" in details.text
    assert first.prompt in posted.text


async def test_nobody_reads_details_of_another_server(town: Town) -> None:
    """A forged press of the button names a round that is not there."""
    round_, _, _ = await a_decided_round(town)
    await town.close()
    posted = await result(town, round_)
    for forged in ("s1:details:999999", "s1:details:", "s1:other:1"):
        said = (await town.community.person("emi").press_id(posted, forged, forged=True)).text
        assert "no such round" in said or "older version" in said


async def test_a_file_that_is_gone_here_comes_from_the_card(town: Town) -> None:
    round_, first, _ = await a_decided_round(town)
    Path(first.video_path or "").unlink()
    await town.close()
    assert await data_of(town, await result(town, round_)) == MP4 + b"one"


async def test_a_video_that_is_gone_everywhere_is_named_and_linked(town: Town) -> None:
    """The result is posted all the same."""
    round_, first, _ = await a_decided_round(town)
    Path(first.video_path or "").unlink()
    mira = town.mira
    await mira.delete(await mira.message(str(first.thread_id), str(first.message_id)))
    await town.close()
    posted = await result(town, round_)
    assert "🏆 **\u2068one\u2069**" in posted.text
    assert posted.media == ()
    assert "The video can't be played here. See [its card](https://discord.com/channels/" in posted.text


@pytest.mark.parametrize("refusal", [{"status": 413, "code": 40005}, {"status": 403, "code": 50013}])
async def test_a_file_that_discord_refuses_is_left_out(town: Town, refusal: dict[str, int]) -> None:
    """Too large, or without the permission to attach files: the result is posted without it."""
    round_, _, _ = await a_decided_round(town)
    await town.fault(fault="refuse", method="POST", path=f"/channels/{town.channel}/messages", count=1, **refusal)
    await town.close()
    posted = await result(town, round_)
    assert posted.media == ()
    assert "🏆 **\u2068one\u2069**" in posted.text
    town.app.video_posts._refused.clear()


async def test_a_result_that_is_refused_altogether_is_posted_later_with_its_video(town: Town) -> None:
    round_, _, _ = await a_decided_round(town)
    await town.fault(fault="refuse", code=999999, method="POST", path=f"/channels/{town.channel}/messages", **ALWAYS)
    await town.close()
    assert (await town.latest()).result_message_id is None
    await town.fault(off=True)
    assert await data_of(town, await result(town, round_)) == MP4 + b"one"


async def test_where_the_winner_is_removed_the_next_ones_video_is_shown(town: Town) -> None:
    """Its file replaces the other one; where nobody else has votes, no video is left."""
    round_, first, second = await a_decided_round(town)
    await town.close()
    before = await result(town, round_)
    assert await data_of(town, before) == MP4 + b"one"
    await town.mira.command("video remove", video=first.id, reason="It is loud.")

    async def now_shows(words: str) -> Message | None:
        message = await result(town, round_)
        return message if words in message.text else None

    after = await wait_for("the next one", lambda: now_shows("🏆 **\u2068two\u2069**"), seconds=60)
    assert await data_of(town, after) == MP4 + b"two"
    assert len(after.attachments) == 1
    await town.mira.command("video remove", video=second.id, reason="It is loud too.")
    last = await wait_for("no winner", lambda: now_shows("A moderator removed the winner"), seconds=60)
    assert (last.media, last.attachments) == ((), ())


async def test_an_edit_keeps_the_file(town: Town) -> None:
    """As when the result becomes final on the ledger."""
    round_, _, _ = await a_decided_round(town)
    await town.close()
    before = await result(town, round_)
    await town.app.rounds._posts.show_result(round_.id)
    after = await result(town, round_)
    assert after.attachments == before.attachments
    assert after.media == before.media


async def test_a_round_without_votes_or_videos_has_no_video(town: Town) -> None:
    assert "is open" in (await town.open()).text
    round_ = await town.latest()
    await town.close()
    posted = await result(town, round_)
    assert "No video was posted in this round" in posted.text
    assert (posted.media, posted.attachments) == ((), ())
    assert [each.label for each in posted.buttons] == ["Details"]
    assert "is open" in (await town.open()).text
    round_ = await town.latest()
    await post_video(town, round_, "three", data=MP4)
    await town.close()
    posted = await result(town, round_)
    assert "Nobody voted, so there is no winner." in posted.text
    assert (posted.media, posted.attachments) == ((), ())
