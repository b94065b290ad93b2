"""A closed round looks closed wherever a member looks, whatever Discord refuses, and an open one looks open."""

from __future__ import annotations

import pytest

from bot.demo.discord.people import Message, wait_for
from bot.domain.rounds import Round
from bot.domain.videos import Video
from bot.store import rounds, videos
from bot.workflows import closing
from bot.workflows.closing import workflow_id
from generation.jobs import BOT_QUEUE
from tests.builders.live_bot import ALWAYS, Town, post_video

pytestmark = pytest.mark.asyncio(loop_scope="module")

VOTES = ["Up", "Down", "Feedback", "Report"]
CLOSED = ["Feedback", "Report"]


async def a_round(town: Town, posted: int = 2) -> tuple[Round, list[Video]]:
    """An open round with posted videos."""
    assert "is open" in (await town.open()).text
    round_ = await town.latest()
    return round_, [await post_video(town, round_, f"a storm, number {number}") for number in range(posted)]


async def card(town: Town, video: Video) -> Message:
    return await town.community.person("ben").message(str(video.thread_id), str(video.message_id))


async def labels(town: Town, video: Video) -> list[str]:
    return [button.label for button in (await card(town, video)).buttons]


async def progress(town: Town, video: Video) -> str:
    shown = await town.community.person("ben").message(str(video.progress_channel_id), str(video.progress_message_id))
    return shown.text


async def announcement(town: Town, round_: Round) -> str:
    channel = town.backend.channels[round_.thread_id].parent_id
    return (await town.community.person("ben").message(str(channel), str(round_.announcement_id))).text


async def last_words(town: Town, round_: Round) -> list[str]:
    shown = await town.shown(round_.thread_id or 0)
    return [message.text for message in shown if "is closed.**" in message.text]


def thread_state(town: Town, round_: Round) -> tuple[bool, bool]:
    """Whether a round's thread is locked, and archived."""
    metadata = town.backend.channels[round_.thread_id].thread_metadata
    return bool(metadata.locked), bool(metadata.archived)


def edited_at(town: Town, video: Video) -> str:
    """The time of the last edit of a card, as Discord writes it."""
    return str(town.backend.get_message(video.thread_id, video.message_id).edited_timestamp)


async def closed(town: Town, round_: Round) -> Round:
    """The round, once its closing is done."""

    async def done() -> bool | None:
        return True if (await town.workflows()).get(workflow_id(round_.id)) == "SUCCESS" else None

    await wait_for("everything to look closed", done, seconds=60)
    return await rounds.get(town.database, round_.id)


def link_of(round_: Round) -> str:
    return f"https://discord.com/channels/{round_.guild_id}/{round_.channel_id}/{round_.result_message_id}"


async def test_an_open_round_looks_open(town: Town) -> None:
    """The announcement says what to do, cards take votes, and nobody is told that anything is over."""
    round_, (video, _) = await a_round(town)
    assert "Use `/prompt`" in await announcement(town, round_)
    assert await labels(town, video) == VOTES
    assert "is up for votes" in await progress(town, video)
    assert await last_words(town, round_) == []
    assert thread_state(town, round_) == (False, False)
    assert workflow_id(round_.id) not in await town.workflows()


async def test_a_closed_round_looks_closed_everywhere(town: Town) -> None:
    """Announcement, thread, cards and progress messages say so, with a link to the result; the videos stay."""
    round_, posted = await a_round(town)
    assert "is posted in <#" in (await town.close()).text
    round_ = await closed(town, round_)
    announced = await announcement(town, round_)
    assert "Use `/prompt`" not in announced
    assert "closes" not in announced
    assert "🏁 This round closed <t:" in announced
    assert link_of(round_) in announced
    [word] = await last_words(town, round_)
    assert f"Round {round_.number} is closed" in word
    assert link_of(round_) in word
    assert thread_state(town, round_) == (True, True)
    for video in posted:
        shown = await card(town, video)
        assert [button.label for button in shown.buttons] == CLOSED
        assert shown.media == shown.attachments
        assert len(shown.attachments) == 1
        assert f"🏁 Round {round_.number} is closed · [See the result]({link_of(round_)})" in shown.text
        assert "up for votes" not in await progress(town, video)
        assert f"Round {round_.number} is closed. Your video took part: https://discord.com/" in await progress(
            town, video
        )


async def test_a_card_that_looks_closed_already_is_not_edited_again(town: Town) -> None:
    """Close and vote counts both want to show the same; where anything differs, its card is edited, and it alone."""
    round_, posted = await a_round(town)
    await town.close()
    await closed(town, round_)
    await town.app.video_posts.close_card(posted[0].id)  # whatever came late, such as the link to the result
    before, edited, other = await card(town, posted[0]), edited_at(town, posted[0]), edited_at(town, posted[1])
    await town.app.video_posts.close_card(posted[0].id)
    assert edited_at(town, posted[0]) == edited
    await videos.change(town.database, posted[0].id, playback_id="abc", playback_url="https://host.example/abc")
    await town.app.video_posts.close_card(posted[0].id)
    after = await card(town, posted[0])
    assert after.text != before.text
    assert edited_at(town, posted[0]) > edited
    assert edited_at(town, posted[1]) == other
    assert (after.media, after.attachments, after.buttons) == (before.media, before.attachments, before.buttons)


async def test_reactions_on_a_closed_round_do_not_count(town: Town) -> None:
    """Neither one that comes before the thread is archived, nor a press of a button that is no longer there."""
    round_, (video, _) = await a_round(town)
    ben = town.community.person("ben")
    await town.fault(
        fault="refuse", code=50013, status=403, method="PATCH", path=f"/channels/{round_.thread_id}*", **ALWAYS
    )
    await town.close()
    await closed(town, round_)
    await ben.react(await card(town, video), "👍")
    late = await ben.press_id(await card(town, video), f"v1:up:{video.id}", forged=True)
    assert "is closed" in late.text
    entries = await videos.entries(town.database, round_.id)
    assert {entry.tally.up for entry in entries} == {0}
    await town.fault(off=True)


@pytest.mark.parametrize("refused", ["a card", "the announcement", "the word in the thread", "a progress message"])
async def test_what_is_refused_for_good_holds_up_nothing_else(town: Town, refused: str) -> None:
    """Everything else looks closed, and the workflow ends."""
    round_, (first, second) = await a_round(town)
    method, path = {
        "a card": ("PATCH", f"/channels/{first.thread_id}/messages/{first.message_id}"),
        "the announcement": ("PATCH", f"/channels/{round_.channel_id}/messages/{round_.announcement_id}"),
        "the word in the thread": ("POST", f"/channels/{round_.thread_id}/messages"),
        "a progress message": ("PATCH", f"/channels/{first.progress_channel_id}/messages/{first.progress_message_id}"),
    }[refused]
    await town.fault(fault="refuse", status=403, code=50013, method=method, path=path, **ALWAYS)
    await town.close()
    round_ = await closed(town, round_)
    looks = {
        "a card": await labels(town, first) == CLOSED,
        "the announcement": "This round closed" in await announcement(town, round_),
        "the word in the thread": len(await last_words(town, round_)) == 1,
        "a progress message": "took part" in await progress(town, first),
    }
    assert looks == {what: what != refused for what in looks}
    assert await labels(town, second) == CLOSED
    assert "took part" in await progress(town, second)
    assert thread_state(town, round_) == (True, True)


async def test_an_outage_is_waited_out(town: Town) -> None:
    """Cards that Discord did not take for a while are closed afterwards."""
    round_, posted = await a_round(town)
    path = f"/channels/{round_.thread_id}/messages/*"
    await town.fault(fault="error", status=503, method="PATCH", path=path, count=12)
    await town.close()
    await closed(town, round_)
    assert [await labels(town, video) for video in posted] == [CLOSED, CLOSED]


async def test_it_goes_on_after_a_restart_and_says_its_last_word_once(town: Town) -> None:
    """A second run of every step changes nothing that anybody sees."""
    round_, posted = await a_round(town)
    await town.close()
    round_ = await closed(town, round_)
    for number in (1, 2):
        again = f"{workflow_id(round_.id)}-twice-{number}"
        async with town.database.begin() as connection:
            await town.app.engine.submit(connection, "closing_life", again, {"round_id": round_.id}, queue=BOT_QUEUE)

        async def done(again: str = again) -> bool | None:
            return True if (await town.workflows())[again] == "SUCCESS" else None

        await wait_for("a second run", done, seconds=60)
    assert len(await last_words(town, round_)) == 1
    assert [await labels(town, video) for video in posted] == [CLOSED, CLOSED]
    assert thread_state(town, round_) == (True, True)


async def test_a_closing_that_died_is_begun_again_at_the_start(town: Town) -> None:
    """As recovery does with removals."""
    round_, (video, _) = await a_round(town)
    await town.fault(fault="refuse", status=403, code=50013, method="PATCH", path="/channels/*/messages/*", **ALWAYS)
    await town.close()
    await closed(town, round_)
    assert await labels(town, video) == VOTES
    await town.fault(off=True)
    await town.mark(workflow_id(round_.id), "ERROR")
    await town.app.recovery.start()

    async def done() -> bool | None:
        return True if await labels(town, video) == CLOSED else None

    await wait_for("the card to be closed", done, seconds=60)


async def test_a_result_that_comes_later_is_linked_then(town: Town) -> None:
    """Until then the announcement says where the result is shown; the last word in the thread is edited."""
    round_, (video, _) = await a_round(town)
    await town.fault(fault="refuse", code=999999, method="POST", path=f"/channels/{town.channel}/messages", **ALWAYS)
    await town.close()

    async def archived() -> bool | None:
        return True if thread_state(town, round_) == (True, True) else None

    await wait_for("the thread to be archived", archived, seconds=60)
    assert "`/standings` shows the result." in await announcement(town, round_)
    assert await labels(town, video) == CLOSED
    await town.fault(off=True)
    round_ = await closed(town, round_)
    assert link_of(round_) in await announcement(town, round_)
    [word] = await last_words(town, round_)
    assert link_of(round_) in word
    assert thread_state(town, round_) == (True, True)


async def test_a_removed_video_stays_removed(town: Town) -> None:
    """Its card is not drawn again."""
    round_, (first, second) = await a_round(town)
    await town.mira.command("video remove", video=first.id, reason="It is loud.")

    async def removed() -> bool | None:
        return True if "removed this video" in (await card(town, first)).text else None

    await wait_for("the card to be emptied", removed, seconds=60)
    await town.close()
    await closed(town, round_)
    assert "removed this video" in (await card(town, first)).text
    assert await labels(town, first) == []
    assert await labels(town, second) == CLOSED


async def test_many_cards_are_edited_one_after_the_other(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pause between two edits, each card once; a step holds no more than a few."""
    monkeypatch.setattr(closing, "AT_ONCE", 3)
    round_, posted = await a_round(town, 7)
    await town.close()
    await closed(town, round_)
    assert [await labels(town, video) for video in posted] == [CLOSED] * 7
    async with town.database.connect() as connection:
        steps = await connection.exec_driver_sql(
            "SELECT function_name FROM operation_outputs WHERE workflow_uuid = ?", (workflow_id(round_.id),)
        )
        assert [row[0] for row in steps].count("close cards") == 3


async def test_a_thread_that_is_archived_in_the_middle_keeps_no_button_alive(town: Town) -> None:
    """Another editor archives it between a look at a card and its edit: the card is tried again, and closed."""
    round_, (video, _) = await a_round(town)
    path = f"/channels/{round_.thread_id}/messages/{video.message_id}"
    await town.fault(fault="refuse", code=50083, method="PATCH", path=path, count=1)
    await town.close()
    await closed(town, round_)
    assert await labels(town, video) == CLOSED


async def test_a_round_that_was_over_before_costs_nothing(town: Town) -> None:
    """What an earlier version closed is left as it is: no workflow is begun for it."""
    round_, _ = await a_round(town, 0)
    await rounds.close(town.database, round_.id, "It is over.")
    await rounds.change(town.database, round_.id, result_message_id=1, finalized_tx="0x" + "ab" * 32)
    await town.app.recovery.start()
    await town.app.recovery.tick()
    assert workflow_id(round_.id) not in await town.workflows()
